"""Replacing ranks whose process died: the hub starts a new one on the same host, which takes over the share.

It decides which rank is replaced and how often, and knows no MPI: starting a rank is handed in. To the hub
it is a transport: the new rank says hello like any other, under a number that nobody had before. Which
numbers were given in whose place is on file (``storage/roster.py``), so that a hub goes on where the one
before it left off.
"""

import os
import queue
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from typing_extensions import Buffer

from mpiexec_runner.app.absent import Absent
from mpiexec_runner.core.state import RunState
from mpiexec_runner.errors import StorageError
from mpiexec_runner.execute.environment import OUTSIDE
from mpiexec_runner.model.workers import WorkerInfo
from mpiexec_runner.runtime.settings import WorkerSettings
from mpiexec_runner.storage.lease import Lease
from mpiexec_runner.storage.roster import Newcomer, Roster
from mpiexec_runner.transport.port import DIED, Packet, Transport

NEWCOMER_COMMAND = "newcomer"
"""The command, not shown to users, with which a new rank takes its place."""
FAILURES_OF_A_HOST = 3
"""A host on which this many new ranks in a row could not be started is not tried again."""

START_WITHIN_S = 60.0
"""How long a new rank may take to arrive. MPI offers no way to give up one that does not: none is started
after it."""

Note = Callable[[int, str], None]
"""Told of a rank, and what is worth saying of it."""


class Berth(msgspec.Struct, frozen=True):
    """What a new rank is told when it is started.

    ``place`` is the first rank whose share it takes over, ``neighbours`` are the ranks that divided its host
    among them when the job began, and ``settings`` those of the workers, as JSON;
    ``founders`` is how many ranks there were. The run is in ``run_dir`` and was
    started in ``directory``; ``outside`` is what the ranks know of the environment there.
    """

    rank: int
    hub: int
    place: int
    neighbours: tuple[int, ...]
    settings: str
    founders: int = 1
    run_dir: str = ""
    directory: str = ""
    outside: str | None = None


class _Order(NamedTuple):
    berth: Berth
    host: str


class _Arrival(NamedTuple):
    order: _Order
    link: Any
    why_not: str


class Posting(NamedTuple):
    """Where a hub that replaces ranks stands: who it is, and what came before.

    Attributes
    ----------
    run_dir
        Of the run.
    roster
        Who joined later.
    founders
        How many ranks there were when the job began.
    greet
        Calls a rank that has arrived.
    """

    run_dir: str
    roster: Roster
    founders: int
    greet: Callable[[int], None]


class ReplacingTransport:
    """The hub's transport, which replaces the ranks that die.

    Parameters
    ----------
    outer
        Leads to the other ranks.
    add
        Lets it lead to one more: a number, and what ``spawn`` returned.
    spawn
        Starts a rank on a host; called in a thread, and may take its time.
    settings
        Of the workers.
    hosts
        Where each rank is, for those that said hello.
    note
        Is told what was done.
    posting
        Where the hub stands.
    """

    def __init__(
        self,
        outer: Transport,
        add: Callable[[int, Any], None],
        spawn: Callable[[Berth, str], Any],
        settings: WorkerSettings,
        hosts: Callable[[], dict[int, str]],
        note: Note,
        posting: Posting,
    ) -> None:
        self._outer, self._add, self._spawn = outer, add, spawn
        self._settings, self._hosts, self._note, self._posting = settings, hosts, note, posting
        self.rank, self.threaded = outer.rank, outer.threaded
        self.neighbours, self.groups = outer.neighbours, outer.groups
        self.size = outer.size  # with the ranks that are on their way
        self._absent = Absent({})
        self._former = -1
        self._places: dict[int, int] = {}
        self._times: Counter[int] = Counter()
        self._failures: Counter[str] = Counter()
        self._waiting: dict[int, list[tuple[Buffer, Sequence[Buffer]]]] = {}
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._begun: deque[tuple[_Order, float]] = deque(maxlen=1)
        self._arrivals: deque[_Arrival] = deque()
        self._starter: threading.Thread | None = None
        self._stuck = False

    def take_stock(self, gone: Collection[int], former: int, known: Mapping[int, WorkerInfo | None]) -> None:
        """Go on where the hub before this one left off.

        Parameters
        ----------
        gone
            Ranks whose process died.
        former
            The hub before this one.
        known
            Ranks on record, with what is known of them; ``None`` for those that are known to be gone.
        """
        self._former = former
        for newcomer in self._posting.roster.read():
            self._places[newcomer.rank] = newcomer.place
            self._times[newcomer.place] += 1
            self.size = max(self.size, newcomer.rank + 1)
        awaited = {rank: info for rank, info in known.items() if info is not None and rank not in gone}
        never_heard = set(self._places) - known.keys() - set(gone)
        self._absent = Absent(awaited | dict.fromkeys(never_heard))
        for rank in sorted(gone):
            self._replace(rank)

    def leads_to(self, rank: int) -> bool:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        return rank in self._waiting or self._outer.leads_to(rank)

    def send(self, dest: int, body: Buffer, buffers: Sequence[Buffer] = ()) -> None:
        """See :class:`~mpiexec_runner.transport.port.Transport`; a rank on its way gets it later."""
        if dest in self._waiting:
            self._waiting[dest].append((body, buffers))
        else:
            self._outer.send(dest, body, buffers)

    def receive(self) -> list[Packet]:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        if self._waiting:
            self._look_for_arrivals()
        return self._outer.receive()

    def unsent(self) -> int:
        """See :class:`~mpiexec_runner.transport.port.Transport`; what waits for a rank on its way counts."""
        if self._waiting:
            self._look_for_arrivals()
        return self._outer.unsent() + len(self._waiting)

    def gone(self) -> list[tuple[int, str]]:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        found = self._outer.gone()
        found += self._absent.gone(self._outer.leads_to)
        for rank, why in found:
            if why == DIED:
                self._replace(rank)
        return found

    def close(self, *, orderly: bool) -> None:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        self._outer.close(orderly=orderly)

    # --- replacing

    def _replace(self, dead: int) -> None:
        """See to it that as many work as before."""
        if self._settings.hub_works is not True:
            if dead == self._former:  # it did not work; this one did, and steps aside
                self._fill(self.rank, dead)
            if dead == 0:
                return
        self._fill(dead, dead)

    def _fill(self, vacant: int, dead: int) -> None:
        """Order a new rank for the place of one, since another is dead, unless that was done too often."""
        hosts, place = self._hosts(), self._places.get(vacant, vacant)
        if self._newest(place) != vacant:
            return  # it has been done
        host = hosts.get(vacant, "")
        if why_not := self._why_not(place, host):
            self._note(dead, f"is not replaced: {why_not}")
            return
        try:
            rank = self._enter(place, host)
        except StorageError as error:
            self._note(dead, f"is not replaced: {error}")
            return
        founders = {one for one, where in hosts.items() if where == host and one < self._posting.founders}
        settings = self._settings.model_dump_json()
        neighbours = tuple(sorted(founders | {place}))
        berth = Berth(
            rank=rank,
            hub=self.rank,
            place=place,
            neighbours=neighbours,
            settings=settings,
            founders=self._posting.founders,
            run_dir=self._posting.run_dir,
            directory=str(Path.cwd()),
            outside=os.environ.get(OUTSIDE),
        )
        self._waiting[rank] = []
        self._note(dead, f"is replaced by rank {rank}")
        self._orders.put(_Order(berth, host))
        if self._starter is None:
            # One after the other: MPI would start them so in any case.
            self._starter = threading.Thread(target=self._start_all, name="spawn", daemon=True)
            self._starter.start()

    def _newest(self, place: int) -> int:
        """Whoever took a place last."""
        return max((rank for rank, whose in self._places.items() if whose == place), default=place)

    def _enter(self, place: int, host: str) -> int:
        """Find a number that nobody has, and give it away."""
        rank = self.size
        while not self._posting.roster.enter(Newcomer(rank, place, host)):
            rank += 1
        self.size = rank + 1
        self._times[place] += 1
        self._places[rank] = place
        return rank

    def _why_not(self, place: int, host: str) -> str:
        """What speaks against one more rank in a place; empty for nothing."""
        if not host:
            return "it never said on which host it was"
        if self._stuck:
            return "a rank that was started before has never arrived"
        if self._failures[host] >= FAILURES_OF_A_HOST:
            return f"{FAILURES_OF_A_HOST} ranks in a row could not be started on {host}"
        if self._times[place] >= self._settings.max_replacements:
            return f"workers.max_replacements ({self._settings.max_replacements}) is reached"
        return ""

    def _start_all(self) -> None:
        """Start what is ordered; in a thread, since it takes about a second each."""
        while True:
            order = self._orders.get()
            self._begun.append((order, time.monotonic()))
            link, why_not = None, ""
            try:
                link = self._spawn(order.berth, order.host)
            except Exception as error:  # noqa: BLE001 - told, and the next one is tried
                why_not = str(error) or repr(error)
            self._arrivals.append(_Arrival(order, link, why_not))

    def _look_for_arrivals(self) -> None:
        while self._arrivals:
            self._take_in(self._arrivals.popleft())
        if not self._stuck and self._begun:
            order, since = self._begun[0]
            if order.berth.rank in self._waiting and time.monotonic() > since + START_WITHIN_S:
                self._stuck = True
                for rank in self._waiting:
                    self._note(rank, f"has not arrived within {START_WITHIN_S:g} s, and is not waited for")
                self._waiting.clear()

    def _take_in(self, arrival: _Arrival) -> None:
        (berth, host), link, why_not = arrival
        waiting = self._waiting.pop(berth.rank, [])
        if why_not:
            self._failures[host] += 1
            self._note(berth.rank, f"could not be started: {why_not}")
            return
        self._failures[host] = 0
        self._add(berth.rank, link)
        self._posting.greet(berth.rank)
        for body, buffers in waiting:
            self._outer.send(berth.rank, body, buffers)


def replacing(
    transport: Transport,
    members: Transport,
    settings: WorkerSettings,
    state: RunState,
    note: Note,
    warn: Callable[[str], None],
    lease: Lease,
    greet: Callable[[int], None],
) -> Transport:
    """The hub's transport, with replacement where it is asked for and possible.

    Parameters
    ----------
    transport
        Leads to all workers.
    members
        Leads to those in other processes.
    settings
        Of the workers.
    state
        Of the run, to look up where workers are; only read.
    note
        Is told what was done, by rank.
    warn
        Is told why it is not possible.
    lease
        Of this hub.
    greet
        Calls a rank that has arrived.
    """
    if not settings.replace or members.size == 1:
        return transport
    from mpiexec_runner.transport import mpi, mpi_spawn  # noqa: PLC0415 - loading it needs an MPI library

    if not isinstance(members, mpi.MpiTransport) or (why_not := mpi_spawn.why_not()):
        warn(f"warning: workers.replace: a rank that dies will not be replaced: {why_not}")
        return transport

    def spawn(berth: Berth, host: str) -> Any:
        return mpi_spawn.spawn(argv(berth), host, (berth.hub, berth.rank))

    def hosts() -> dict[int, str]:
        return {rank: worker.info.host for rank, worker in state.workers.items()}

    roster = Roster(lease.directory, lease.life)
    posting = Posting(str(lease.directory), roster, members.founders, greet)
    return ReplacingTransport(transport, members.add, spawn, settings, hosts, note, posting)


def argv(berth: Berth) -> list[str]:
    """The command line of a new rank."""
    told = msgspec.json.encode(berth).decode()
    return [sys.executable, "-m", "mpiexec_runner", NEWCOMER_COMMAND, told]
