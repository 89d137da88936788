"""Ranks in one process: for tests, for rank 0 working beside its hub, and for runs without MPI.

Packets are handed over by reference; there is no network to lose them.
"""

from collections import deque
from collections.abc import Callable, Sequence

from typing_extensions import Buffer

from mpiexec_runner.transport.port import Groups, Packet, Transport


class LoopbackTransport:
    """One rank's post box; ``send`` puts packets into those of the others."""

    threaded = True
    groups: Groups | None = None

    def __init__(self, rank: int, boxes: Sequence[deque[Packet]], wake: Callable[[int], None]) -> None:
        self.rank = rank
        self.size = len(boxes)
        self.neighbours: dict[int, bytes] = {rank: b""}
        self._boxes = boxes
        self._wake = wake

    def leads_to(self, rank: int) -> bool:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        return rank < self.size

    def send(self, dest: int, body: Buffer, buffers: Sequence[Buffer] = ()) -> None:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        self._boxes[dest].append(Packet(self.rank, body, [memoryview(part).cast("B") for part in buffers]))
        self._wake(dest)

    def receive(self) -> list[Packet]:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        return _empty(self._boxes[self.rank])

    def unsent(self) -> int:
        """Nothing is ever on its way."""
        return 0

    def gone(self) -> list[tuple[int, str]]:
        """Nobody dies alone here."""
        return []

    def close(self, *, orderly: bool) -> None:
        """Nothing to do."""


def loopback(size: int, wake: Callable[[int], None] = lambda _: None) -> list[LoopbackTransport]:
    """Connect ``size`` ranks; ``wake`` is called with the receiver's rank after each delivery."""
    boxes: list[deque[Packet]] = [deque() for _ in range(size)]
    return [LoopbackTransport(rank, boxes, wake) for rank in range(size)]


class SharedRank:
    """The hub's transport where its rank also works: packets to the own rank go to :attr:`worker_end`.

    Parameters
    ----------
    outer
        Leads to the other ranks.
    """

    def __init__(self, outer: Transport) -> None:
        self._outer = outer
        self.rank, self.size, self.threaded = outer.rank, outer.size, outer.threaded
        self.neighbours, self.groups = outer.neighbours, outer.groups
        self._inner, inner_end = loopback(2)
        # Both ends speak for the same rank: box 0 is the hub's, box 1 the worker's.
        self.worker_end = WorkerEnd(outer, inner_end)

    def leads_to(self, rank: int) -> bool:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        return rank == self.rank or self._outer.leads_to(rank)

    def send(self, dest: int, body: Buffer, buffers: Sequence[Buffer] = ()) -> None:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        if dest == self.rank:
            self._inner.send(1, body, buffers)
        else:
            self._outer.send(dest, body, buffers)

    def receive(self) -> list[Packet]:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        mine = [packet._replace(source=self.rank) for packet in self._inner.receive()]
        return [*mine, *self._outer.receive()]

    def unsent(self) -> int:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        return self._outer.unsent()

    def gone(self) -> list[tuple[int, str]]:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        return self._outer.gone()

    def close(self, *, orderly: bool) -> None:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        self._outer.close(orderly=orderly)


class WorkerEnd:
    """The worker's transport where its rank also leads: all that it sends goes to the hub beside it.

    Parameters
    ----------
    outer
        The rank's transport, for what a worker does with others directly.
    inner
        Leads to the hub, which is rank 0 there.
    """

    def __init__(self, outer: Transport, inner: LoopbackTransport) -> None:
        self.rank, self.size, self.threaded = outer.rank, outer.size, outer.threaded
        self.neighbours, self.groups = outer.neighbours, outer.groups
        self._inner = inner

    def leads_to(self, rank: int) -> bool:
        """To the hub, which passes for all."""
        return rank == self.rank

    def send(self, dest: int, body: Buffer, buffers: Sequence[Buffer] = ()) -> None:  # noqa: ARG002
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        self._inner.send(0, body, buffers)

    def receive(self) -> list[Packet]:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        return [packet._replace(source=self.rank) for packet in self._inner.receive()]

    def unsent(self) -> int:
        """Nothing is ever on its way."""
        return 0

    def gone(self) -> list[tuple[int, str]]:
        """The hub lives and dies with the worker."""
        return []

    def close(self, *, orderly: bool) -> None:
        """The hub's end does that."""


def _empty(box: deque[Packet]) -> list[Packet]:
    packets = []
    while box:
        packets.append(box.popleft())
    return packets
