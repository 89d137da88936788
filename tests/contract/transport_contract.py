"""What every transport must do. Adapters' tests inherit :class:`TransportContract` and say who is here.

Written for one process that has all ranks (loopback) as for many that have one each (MPI): each step is done
by whoever has the rank that it belongs to.
"""

import time
from collections.abc import Callable

import pytest

from mpiexec_runner.transport.port import Packet, Transport

TIMEOUT_S = 200.0


class World:
    """The ranks that are in this process, and the number of all."""

    def __init__(self, here: dict[int, Transport], size: int, barrier: Callable[[], None]) -> None:
        self.here, self.size, self.barrier = here, size, barrier
        self.last = size - 1

    def receive(self, rank: int, count: int) -> list[Packet]:
        """Wait for so many packets; others keep their own packets moving meanwhile."""
        arrived: list[Packet] = []
        give_up = time.monotonic() + TIMEOUT_S
        while len(arrived) < count:
            for other, transport in self.here.items():
                if other == rank:
                    arrived += transport.receive()
                else:
                    transport.unsent()
            assert time.monotonic() < give_up, f"{len(arrived)} of {count} packets came"
        return arrived

    def drain(self) -> None:
        """Wait until all that was sent from here is through."""
        give_up = time.monotonic() + TIMEOUT_S
        while any(transport.unsent() for transport in self.here.values()):
            assert time.monotonic() < give_up, "packets are stuck"


class TransportContract:
    """Inherit, and give a fixture ``world``."""

    @pytest.fixture
    def world(self) -> World:
        raise NotImplementedError

    def test_knows_its_rank_and_size(self, world):
        for rank, transport in world.here.items():
            assert (transport.rank, transport.size) == (rank, world.size)

    def test_knows_the_ranks_of_its_host_itself_among_them(self, world):
        for rank, transport in world.here.items():
            assert rank in transport.neighbours
            assert set(transport.neighbours) <= set(range(world.size))

    def test_a_packet_arrives_as_it_was_sent(self, world):
        if 0 in world.here:
            world.here[0].send(world.last, b"body", [b"one", bytearray(b"three"), memoryview(b"")])
        if world.last in world.here:
            (packet,) = world.receive(world.last, 1)
            assert packet.source == 0
            assert bytes(packet.body) == b"body"
            assert [bytes(part) for part in packet.buffers] == [b"one", b"three", b""]
        world.drain()
        world.barrier()

    def test_nothing_there_is_no_packet(self, world):
        world.barrier()
        for transport in world.here.values():
            assert transport.receive() == []
            assert transport.gone() == []
        world.barrier()

    def test_order_is_kept_among_small_and_large(self, world):
        sizes = [0, 10, 5_000_000, 1, 100_000, 3, 70_000, 12]
        if 0 in world.here:
            for number, size in enumerate(sizes):
                body = f"{number}".encode() + bytes(size % 1000)
                world.here[0].send(world.last, body, [bytes(size)] if size > 10 else [])
        if world.last in world.here:
            packets = world.receive(world.last, len(sizes))
            assert [bytes(packet.body[:1]) for packet in packets] == [b"%d" % n for n in range(len(sizes))]
            assert [sum(map(len, packet.buffers)) for packet in packets] == [
                s if s > 10 else 0 for s in sizes
            ]
        world.drain()
        world.barrier()

    def test_sending_never_waits_for_the_receiver(self, world):
        # Nobody receives before the barrier: a send that waited would never reach it.
        for rank, transport in world.here.items():
            for number in range(200):
                transport.send((rank + 1) % world.size, bytes([number]) * 20_000)
        world.barrier()
        for rank in world.here:
            packets = world.receive(rank, 200)
            assert [packet.body[0] for packet in packets] == list(range(200))
            assert {packet.source for packet in packets} == {(rank - 1) % world.size}
        world.drain()
        world.barrier()

    def test_every_rank_can_talk_to_every_other(self, world):
        for rank, transport in world.here.items():
            for dest in range(world.size):
                transport.send(dest, b"%d" % rank)
        for rank in world.here:
            packets = world.receive(rank, world.size)
            assert sorted(int(bytes(packet.body)) for packet in packets) == list(range(world.size))
        world.drain()
        world.barrier()

    def test_what_is_received_can_be_written_to(self, world):
        if 0 in world.here:
            world.here[0].send(world.last, b"x", [bytearray(b"abc")])
        if world.last in world.here:
            (packet,) = world.receive(world.last, 1)
            packet.buffers[0][0:1] = b"z"
            assert bytes(packet.buffers[0]) == b"zbc"
        world.drain()
        world.barrier()
