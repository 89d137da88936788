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
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from typing_extensions import Buffer

from mpiexec_runner.app.absent import Absent, family_words
from mpiexec_runner.core.state import RunState
from mpiexec_runner.errors import StorageError
from mpiexec_runner.execute.environment import OUTSIDE, TERMINAL
from mpiexec_runner.execute.machine import host_name
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
"""How long a new rank may take to arrive; where one dies before on this machine, that is seen sooner."""
LOOK_EVERY_S = 0.5

Note = Callable[[int, str], None]
"""Told of a rank, and what is worth saying of it."""


class Berth(msgspec.Struct, frozen=True):
    """What a new rank is told when it is started.

    ``place`` is the first rank whose share it takes over, ``neighbours`` are the ranks that divided its host
    among them when the job began, and ``settings`` those of the workers, as JSON; ``founders`` is how many
    ranks there were, and ``gone`` are those that need not be waited for. The run is in ``run_dir``;
    ``epoch`` is that of ``hub``, and ``life`` that of the first one of this job.
    """

    rank: int
    hub: int
    epoch: int
    life: int
    place: int
    neighbours: tuple[int, ...]
    settings: str
    founders: int
    run_dir: str
    gone: tuple[int, ...] = ()

    @property
    def argv(self) -> list[str]:
        """The command line of the new rank."""
        told = msgspec.json.encode(self).decode()
        return [sys.executable, "-m", "mpiexec_runner", NEWCOMER_COMMAND, told]


class _Coming:
    """A rank on its way, and what it is to get when it is here."""

    __slots__ = ("berth", "host", "packets", "seen", "since", "why_not")

    def __init__(self, berth: Berth, host: str, since: float) -> None:
        self.berth, self.host, self.since = berth, host, since
        self.packets: list[tuple[Buffer, Sequence[Buffer]]] = []
        self.seen = False
        """Whether its process was seen on this machine."""
        self.why_not = ""
        """Why it could not be started."""


class Posting(NamedTuple):
    """Where a hub that replaces ranks stands: who it is, and what came before.

    Attributes
    ----------
    run_dir
        Of the run.
    roster
        Who joined later.
    epoch, life
        Of the hub, and of the first one of this job.
    founders
        How many ranks there were when the job began.
    """

    run_dir: str
    roster: Roster
    epoch: int
    life: int
    founders: int


class ReplacingTransport:
    """The hub's transport, which replaces the ranks that die.

    Parameters
    ----------
    outer
        Leads to the other ranks.
    spawn
        Starts a rank on a host, which comes by a door; called in a thread.
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
        spawn: Callable[[Berth, str], None],
        settings: WorkerSettings,
        hosts: Callable[[], dict[int, str]],
        note: Note,
        posting: Posting,
    ) -> None:
        self._outer, self._spawn = outer, spawn
        self._settings, self._hosts, self._note, self._posting = settings, hosts, note, posting
        self.rank, self.threaded = outer.rank, outer.threaded
        self.neighbours, self.groups = outer.neighbours, outer.groups
        self.size = outer.size  # with the ranks that are on their way
        self._absent = Absent({})
        self._former = -1
        self._gone: set[int] = set()
        self._sent_to: dict[int, str] = {}
        """Where ranks were started that may never have said anything."""
        self._places: dict[int, int] = {}
        self._times: Counter[int] = Counter()
        self._failures: Counter[str] = Counter()
        self._coming: dict[int, _Coming] = {}
        self._look_at = 0.0
        self._orders: queue.SimpleQueue[_Coming] = queue.SimpleQueue()
        self._starter: threading.Thread | None = None

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
        self._gone |= set(gone) | {rank for rank, info in known.items() if info is None and rank != self.rank}
        for newcomer in self._posting.roster.read():
            self._places[newcomer.rank] = newcomer.place
            self._times[newcomer.place] += 1
            self._sent_to[newcomer.rank] = newcomer.host
            self.size = max(self.size, newcomer.rank + 1)
        awaited = {rank: info for rank, info in known.items() if info is not None and rank not in gone}
        never_heard = set(self._places) - known.keys() - set(gone)
        self._absent = Absent(awaited | dict.fromkeys(never_heard))
        for rank in sorted(gone):
            self._replace(rank)

    def leads_to(self, rank: int) -> bool:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        return rank in self._coming or self._outer.leads_to(rank)

    def send(self, dest: int, body: Buffer, buffers: Sequence[Buffer] = ()) -> None:
        """See :class:`~mpiexec_runner.transport.port.Transport`; a rank on its way gets it later."""
        if dest in self._coming:
            self._coming[dest].packets.append((body, buffers))
        else:
            self._outer.send(dest, body, buffers)

    def receive(self) -> list[Packet]:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        self._look_for_arrivals()
        return self._outer.receive()

    def unsent(self) -> int:
        """See :class:`~mpiexec_runner.transport.port.Transport`.

        A rank on its way is not waited for: it finds the run directory given back, and leaves.
        """
        return self._outer.unsent()

    def gone(self) -> list[tuple[int, str]]:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        found = self._outer.gone()
        found += self._absent.gone(self._outer.leads_to)
        self._gone |= {rank for rank, _ in found}
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

    def _fill(self, vacant: int, dead: int, host: str = "") -> None:
        """Order a new rank for the place of one, since another is dead, unless that was done too often."""
        hosts, place = self._hosts(), self._places.get(vacant, vacant)
        if self._newest(place) != vacant:
            return  # it has been done
        host = host or hosts.get(vacant) or self._sent_to.get(vacant, "")
        if why_not := self._why_not(place, host):
            self._note(dead, f"is not replaced: {why_not}")
            return
        try:
            rank = self._enter(place, host)
        except StorageError as error:
            self._note(dead, f"is not replaced: {error}")
            return
        founders = {one for one, where in hosts.items() if where == host and one < self._posting.founders}
        posting = self._posting
        berth = Berth(
            rank=rank,
            hub=self.rank,
            epoch=posting.epoch,
            life=posting.life,
            place=place,
            neighbours=tuple(sorted(founders | {place})),
            settings=self._settings.model_dump_json(),
            founders=posting.founders,
            run_dir=posting.run_dir,
            gone=tuple(sorted(self._gone)),
        )
        self._coming[rank] = coming = _Coming(berth, host, time.monotonic())
        self._note(dead, f"is replaced by rank {rank}")
        self._orders.put(coming)
        if self._starter is None:
            # The launcher is asked for one after the other, and may be slow to answer.
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
        if self._failures[host] >= FAILURES_OF_A_HOST:
            return f"{FAILURES_OF_A_HOST} ranks in a row could not be started on {host}"
        if self._times[place] >= self._settings.max_replacements:
            return f"workers.max_replacements ({self._settings.max_replacements}) is reached"
        return ""

    def _start_all(self) -> None:
        """Start what is ordered; in a thread."""
        while True:
            coming = self._orders.get()
            try:
                self._spawn(coming.berth, coming.host)
            except Exception as error:  # noqa: BLE001 - told, and the next one is tried
                coming.why_not = str(error) or repr(error)

    def _look_for_arrivals(self) -> None:
        """See who of those on their way is here, and who will never be."""
        if not self._coming:
            return
        for rank in [rank for rank in self._coming if self._outer.leads_to(rank)]:
            coming = self._coming.pop(rank)
            self._failures[coming.host] = 0
            for body, buffers in coming.packets:
                self._outer.send(rank, body, buffers)
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        beside = family_words() if any(one.host == host_name() for one in self._coming.values()) else set()
        for rank, coming in list(self._coming.items()):
            is_there = coming.berth.argv[-1] in beside
            coming.seen |= is_there
            if coming.why_not:
                self._failures[coming.host] += 1
                self._give_up(rank, f"could not be started: {coming.why_not}")
            elif coming.seen and not is_there and not self._outer.leads_to(rank):
                self._give_up(rank, "died before it arrived")
            elif now >= coming.since + START_WITHIN_S:
                self._failures[coming.host] += 1
                self._give_up(rank, f"has not arrived within {START_WITHIN_S:g} s, and is not waited for")

    def _give_up(self, rank: int, why: str) -> None:
        """One that was to come does not: another one may."""
        coming = self._coming.pop(rank)
        self._note(rank, why)
        self._fill(rank, rank, coming.host)


def replacing(
    transport: Transport,
    members: Transport,
    settings: WorkerSettings,
    state: RunState,
    note: Note,
    warn: Callable[[str], None],
    lease: Lease,
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
    """
    if not settings.replace or members.size == 1:
        return transport
    from mpiexec_runner.transport import mpi, mpi_spawn  # noqa: PLC0415 - loading it needs an MPI library

    if not isinstance(members, mpi.MpiTransport) or (why_not := mpi_spawn.why_not()):
        warn(f"warning: workers.replace: a rank that dies will not be replaced: {why_not}")
        return transport

    def spawn(berth: Berth, host: str) -> None:
        known = {name: os.environ[name] for name in (OUTSIDE, TERMINAL) if name in os.environ}
        mpi_spawn.spawn(berth.argv, host, str(Path.cwd()), known)

    def hosts() -> dict[int, str]:
        return {rank: worker.info.host for rank, worker in state.workers.items()}

    roster = Roster(lease.directory, lease.life)
    posting = Posting(str(lease.directory), roster, lease.epoch, lease.life, members.founders)
    return ReplacingTransport(transport, spawn, settings, hosts, note, posting)
