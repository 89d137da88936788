"""The virtual network: packets take their time, stay in order per link, and are lost with whoever dies.

It is the transport port's world as MPI promises it (no loss, no duplicate, no reordering between two ranks),
with all that MPI does not promise: how long anything takes, and who is told of a death, and when.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from loop_threads import Stage

from mpiexec_runner.transport.port import Packet

LOOK_S = 0.01
POLLS_WITHIN_S = 0.005
"""A rank that waits finds a packet within this time."""


@dataclass
class Cut:
    """From ``begins`` to ``ends`` nothing passes between these ranks and the others."""

    ranks: frozenset[int]
    begins: float
    ends: float


@dataclass
class Delays:
    """How long packets take: mostly ``usual_s``, and now and then up to ``longest_s``."""

    usual_s: float = 0.001
    longest_s: float = 0.001
    rare: float = 0.0

    def draw(self, draws: random.Random) -> float:
        if self.rare and draws.random() < self.rare:
            return draws.uniform(self.usual_s, self.longest_s)
        return self.usual_s * draws.uniform(0.5, 2.0)


@dataclass
class _Link:
    free_at: float = 0.0
    in_flight: deque["_Flight"] = field(default_factory=deque)


@dataclass
class _Flight:
    packet: Packet
    lost: bool = False


class Network:
    """Connects ranks.

    Parameters
    ----------
    stage
        Has the time.
    size
        How many ranks.
    delays
        Of each rank's links to and from those below it.
    cuts
        When who is cut off.
    seed
        Decides every delay.
    """

    def __init__(self, stage: Stage, size: int, delays: Sequence[Delays], cuts: list[Cut], seed: str) -> None:
        self.stage, self.size, self.cuts = stage, size, cuts
        self.draws = random.Random(seed)
        self.dead: set[int] = set()
        self.posts = [VirtualTransport(self, rank) for rank in range(size)]
        self.meetings: dict[tuple[int, int], set[int]] = {}
        self.complete: set[tuple[int, int]] = set()
        self.broken: set[tuple[int, int]] = set()
        self._delays = delays
        self._links: dict[tuple[int, int], _Link] = {}
        self.wakes: dict[int, Callable[[float], None]] = {}

    def send(self, source: int, dest: int, packet: Packet) -> None:
        if source in self.dead or dest in self.dead:
            return
        link = self._links.setdefault((source, dest), _Link())
        delay_s = self._delays[max(source, dest)].draw(self.draws)
        arrives = max(link.free_at, self.stage.now + delay_s)
        while (cut := self._cut_at(source, dest, arrives)) is not None:
            arrives = cut.ends + delay_s
        link.free_at = arrives
        flight = _Flight(packet)
        link.in_flight.append(flight)
        self.posts[source].flying += 1
        self.stage.at(arrives, lambda: self._arrive(source, dest, link))

    def _cut_at(self, source: int, dest: int, when: float) -> Cut | None:
        for cut in self.cuts:
            if cut.begins <= when < cut.ends and (source in cut.ranks) != (dest in cut.ranks):
                return cut
        return None

    def _arrive(self, source: int, dest: int, link: _Link) -> None:
        flight = link.in_flight.popleft()
        self.posts[source].flying -= 1
        if not flight.lost and dest not in self.dead:
            self.posts[dest].box.append(flight.packet)
            self._wake(dest)

    def _wake(self, rank: int) -> None:
        if rank in self.wakes:
            self.wakes[rank](self.draws.uniform(0.0, POLLS_WITHIN_S))

    def die(self, rank: int, told_s: float | None) -> None:
        """A rank dies: the last of what it sent is lost, and the others are told of it, or never."""
        self.dead.add(rank)
        for (source, _), link in self._links.items():
            if source == rank and link.in_flight:
                flights = list(link.in_flight)
                for flight in flights[self.draws.randint(0, len(flights)) :]:
                    flight.lost = True
        if told_s is None:
            return
        for other in range(self.size):
            if other not in self.dead:
                when = self.stage.now + self.draws.uniform(0.2, 1.0) * told_s
                self.stage.at(when, lambda other=other: self._tell(other, rank))

    def _tell(self, rank: int, dead: int) -> None:
        self.posts[rank].news.append((dead, "its process died"))
        self._wake(rank)


class VirtualTransport:
    """See :class:`~mpiexec_runner.transport.port.Transport`."""

    threaded = True

    def __init__(self, network: Network, rank: int) -> None:
        self._network = network
        self.rank, self.size = rank, network.size
        self.neighbours: dict[int, bytes] = {rank: b""}
        self.groups = VirtualGroups(network, rank)
        self.box: deque[Packet] = deque()
        self.news: list[tuple[int, str]] = []
        self.flying = 0
        self.before_send: Callable[[], None] = lambda: None

    def leads_to(self, rank: int) -> bool:
        return rank < self.size

    def send(self, dest: int, body: object, buffers: Sequence[object] = ()) -> None:
        self.before_send()
        copies = [memoryview(bytes(memoryview(part).cast("B"))) for part in buffers]
        self._network.send(self.rank, dest, Packet(self.rank, bytes(body), copies))

    def receive(self) -> list[Packet]:
        packets = list(self.box)
        self.box.clear()
        return packets

    def unsent(self) -> int:
        return self.flying

    def gone(self) -> list[tuple[int, str]]:
        news, self.news = self.news, []
        return news

    def close(self, *, orderly: bool) -> None:
        pass


class VirtualGroups:
    """See :class:`~mpiexec_runner.transport.port.Groups`."""

    def __init__(self, network: Network, rank: int) -> None:
        self._network, self._rank = network, rank
        self._ranks: tuple[int, ...] = ()
        self.key = (0, 0)

    def follow(self, hub: int) -> None:
        """Here all ranks hear each other directly."""

    def meet(
        self, ranks: tuple[int, ...], key: tuple[int, int], stopped: Callable[[], bool]
    ) -> object | None:
        network = self._network
        here = network.meetings.setdefault(key, set())
        here.add(self._rank)
        while key not in network.complete:
            if here >= set(ranks):
                network.complete.add(key)
                break
            if stopped():
                here.discard(self._rank)
                return None
            network.stage.pause(network.stage.now + LOOK_S, deaf=True)
        self._ranks, self.key = ranks, key
        return key

    def revoke(self) -> bool:
        self._network.broken.add(self.key)
        return True

    def lost(self) -> list[int]:
        return [rank for rank in self._ranks if rank in self._network.dead]

    @property
    def is_broken(self) -> bool:
        return self.key in self._network.broken

    def part(self, *, clean: bool) -> None:
        if not clean:
            self._network.broken.add(self.key)
        self._ranks = ()
