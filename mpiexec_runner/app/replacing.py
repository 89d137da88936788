"""Replacing ranks whose process died: the hub starts a new one on the same host, which takes over the share.

It decides which rank is replaced and how often, and knows no MPI: starting a rank is handed in. To the hub
it is a transport: the new rank says hello like any other, under a number that nobody had before.
"""

import os
import queue
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from typing_extensions import Buffer

from mpiexec_runner.core.state import RunState
from mpiexec_runner.execute.environment import OUTSIDE
from mpiexec_runner.model.messages import RollCall
from mpiexec_runner.runtime.settings import WorkerSettings
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.port import DIED, Packet, Transport

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
    ``founders`` is how many ranks there were. The run was
    started in ``directory``; ``outside`` is what the ranks know of the environment there.
    """

    rank: int
    hub: int
    place: int
    neighbours: tuple[int, ...]
    settings: str
    founders: int = 1
    directory: str = ""
    outside: str | None = None


class _Order(NamedTuple):
    berth: Berth
    host: str


class _Arrival(NamedTuple):
    order: _Order
    link: Any
    why_not: str


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
    """

    def __init__(
        self,
        outer: Transport,
        add: Callable[[int, Any], None],
        spawn: Callable[[Berth, str], Any],
        settings: WorkerSettings,
        hosts: Callable[[], dict[int, str]],
        note: Note,
    ) -> None:
        self._outer, self._add, self._spawn = outer, add, spawn
        self._settings, self._hosts, self._note = settings, hosts, note
        self.rank, self.threaded = outer.rank, outer.threaded
        self.neighbours, self.groups = outer.neighbours, outer.groups
        self._founders = outer.size
        self.size = outer.size  # with the ranks that are on their way
        self._places: dict[int, int] = {}
        self._times: Counter[int] = Counter()
        self._failures: Counter[str] = Counter()
        self._waiting: dict[int, list[tuple[Buffer, Sequence[Buffer]]]] = {}
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._begun: deque[tuple[_Order, float]] = deque(maxlen=1)
        self._arrivals: deque[_Arrival] = deque()
        self._starter: threading.Thread | None = None
        self._stuck = False

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
        for rank, why in found:
            if why == DIED:
                self._replace(rank)
        return found

    def close(self, *, orderly: bool) -> None:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        self._outer.close(orderly=orderly)

    # --- replacing

    def _replace(self, dead: int) -> None:
        """Order a new rank, unless that has been tried often enough."""
        hosts, place = self._hosts(), self._places.get(dead, dead)
        host = hosts.get(dead, "")
        if why_not := self._why_not(place, host):
            self._note(dead, f"is not replaced: {why_not}")
            return
        self._times[place] += 1
        rank, self.size = self.size, self.size + 1
        self._places[rank] = place
        founders = {one for one, where in hosts.items() if where == host and one < self._founders}
        settings = self._settings.model_dump_json()
        neighbours = tuple(sorted(founders | {place}))
        here, outside = str(Path.cwd()), os.environ.get(OUTSIDE)
        berth = Berth(rank, self.rank, place, neighbours, settings, self._founders, here, outside)
        self._waiting[rank] = [(codec.encode([RollCall()]), ())]
        self._note(dead, f"is replaced by rank {rank}")
        self._orders.put(_Order(berth, host))
        if self._starter is None:
            # One after the other: MPI would start them so in any case.
            self._starter = threading.Thread(target=self._start_all, name="spawn", daemon=True)
            self._starter.start()

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
        for body, buffers in waiting:
            self._outer.send(berth.rank, body, buffers)


def replacing(
    transport: Transport, settings: WorkerSettings, state: RunState, note: Note, warn: Callable[[str], None]
) -> Transport:
    """The hub's transport, with replacement where it is asked for and possible.

    Parameters
    ----------
    transport
        Leads to the other ranks.
    settings
        Of the workers.
    state
        Of the run, to look up where workers are; only read.
    note
        Is told what was done, by rank.
    warn
        Is told why it is not possible.
    """
    if not settings.replace or transport.size == 1:
        return transport
    from mpiexec_runner.transport import mpi, mpi_spawn  # noqa: PLC0415 - loading it needs an MPI library

    if not isinstance(transport, mpi.MpiTransport) or (why_not := mpi_spawn.why_not()):
        warn(f"warning: workers.replace: a rank that dies will not be replaced: {why_not}")
        return transport

    def spawn(berth: Berth, host: str) -> Any:
        return mpi_spawn.spawn(argv(berth), host, (berth.hub, berth.rank))

    def hosts() -> dict[int, str]:
        return {rank: worker.info.host for rank, worker in state.workers.items()}

    return ReplacingTransport(transport, transport.add, spawn, settings, hosts, note)


def argv(berth: Berth) -> list[str]:
    """The command line of a new rank."""
    told = msgspec.json.encode(berth).decode()
    return [sys.executable, "-m", "mpiexec_runner.app.newcomer", told]
