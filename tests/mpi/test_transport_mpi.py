"""The MPI transport keeps the contract, at any number of ranks."""

import pytest
from mpi4py import MPI
from transport_contract import TransportContract, World

from mpiexec_runner.transport import mpi_links
from mpiexec_runner.transport.mpi import MpiTransport
from mpiexec_runner.transport.mpi_links import HEADED, SLICE

pytestmark = pytest.mark.mpi


@pytest.fixture(scope="module")
def transport():
    return MpiTransport()


def wait(transport, until):
    """Poll; a barrier of the world would not move the transport's packets."""
    while not until():
        transport.receive()


class TestMpi(TransportContract):
    @pytest.fixture
    def world(self, transport):
        return World({transport.rank: transport}, transport.size, MPI.COMM_WORLD.Barrier)

    def test_a_buffer_above_the_slice_size_travels_in_slices(self, world, transport, monkeypatch):
        monkeypatch.setattr(mpi_links, "SLICE_BYTES", 1000)
        data = bytes(range(256)) * 50
        if transport.rank == 0:
            transport.send(world.last, b"sliced", [data, b"short", data])
        if transport.rank == world.last:
            (packet,) = world.receive(world.last, 1)
            assert [bytes(part) for part in packet.buffers] == [data, b"short", data]
        world.drain()
        world.barrier()


@pytest.mark.parametrize(
    ("tag", "data"),
    [
        (SLICE, b"a slice of nothing"),
        (HEADED, b"\xff\xff\xff\xff"),
        (HEADED, b"\x01\x00\x00\x00" + b"\xff" * 8),
    ],
    ids=["slice without packet", "header cut short", "impossible size"],
)
def test_a_rank_that_breaks_the_wire_format_is_given_up_and_nobody_else(tag, data):
    comm = MPI.COMM_WORLD.Dup()
    transport = MpiTransport(comm)
    bad = transport.size - 1
    if transport.rank == bad:
        transport._links[0].isend(data, 0, tag)
    elif transport.rank > 0:
        transport.send(0, b"fine")
    if transport.rank == 0:
        gone, fine = [], []
        while not gone or len(fine) < transport.size - (2 if bad else 1):
            fine += transport.receive()
            gone += transport.gone()
        assert [rank for rank, _ in gone] == [bad]
        assert gone[0][1].startswith("it sent ")
    while transport.unsent():
        pass
    MPI.COMM_WORLD.Barrier()
