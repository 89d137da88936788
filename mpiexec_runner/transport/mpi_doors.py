"""Ways between two ranks that share no communicator: one opens a door and waits behind it, the other comes.

It knows no run. Who opens a door gets a text that leads there, and passes it on as it likes. Both sides may
wait for ever, when the other one dies: this belongs into threads of their own. That costs no processor time,
and further doors can be opened and entered meanwhile.

Source: MPI 4.0, section 11.9 (Establishing Communication).
"""

import threading

from mpi4py import MPI

from mpiexec_runner.transport.mpi_links import LinkToOne

_alone = threading.Lock()


def own_comm() -> MPI.Intracomm:
    """A communicator of this process alone, for one caller: threads must not share one in such calls."""
    with _alone:
        return MPI.COMM_SELF.Dup()


class OpenDoor:
    """A door of this rank."""

    def __init__(self) -> None:
        self.port = MPI.Open_port()

    def wait(self, ids: tuple[int, int]) -> LinkToOne:
        """Wait until somebody comes. ``ids`` are what that one and this rank are called in the run."""
        comm = own_comm()
        link = LinkToOne(comm.Accept(self.port).Merge(high=True), ids)
        MPI.Close_port(self.port)
        comm.Free()
        return link


def enter(port: str, ids: tuple[int, int]) -> LinkToOne:
    """Come through a door. ``ids`` are what this rank and the one behind it are called in the run."""
    comm = own_comm()
    link = LinkToOne(comm.Connect(port).Merge(high=False), ids)
    comm.Free()
    return link
