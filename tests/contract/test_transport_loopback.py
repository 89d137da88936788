"""The loopback transport keeps the contract."""

import pytest
from transport_contract import TransportContract, World

from mpiexec_runner.transport.loopback import SharedRank, loopback


class TestLoopback(TransportContract):
    @pytest.fixture(params=[1, 2, 5])
    def world(self, request):
        ends = loopback(request.param)
        return World(dict(enumerate(ends)), request.param, lambda: None)


def test_a_delivery_wakes_its_receiver():
    woken = []
    first, _ = loopback(2, woken.append)
    first.send(1, b"x")
    assert woken == [1]


def test_a_shared_rank_talks_to_its_own_worker_and_to_the_others():
    outer, other = loopback(2)
    hub = SharedRank(outer)
    assert hub.worker_end.rank == hub.rank == 0
    hub.send(0, b"to my worker")
    hub.send(1, b"to the other")
    assert [bytes(packet.body) for packet in hub.worker_end.receive()] == [b"to my worker"]
    assert [bytes(packet.body) for packet in other.receive()] == [b"to the other"]
    hub.worker_end.send(0, b"from my worker")
    other.send(0, b"from the other")
    assert [(p.source, bytes(p.body)) for p in hub.receive()] == [
        (0, b"from my worker"),
        (1, b"from the other"),
    ]
