"""A tiny MPI program that ``doctor`` starts: what the ranks see of each other, alive and after a death.

Knows nothing of tasks or runs, and never outlives its deadline. Run it as
``python -m mpiexec_runner.transport.mpi_probe world|failure`` under a launcher. What it saw is one line of
JSON on standard output, a :class:`Sighting`, by rank 0.

``failure`` does what the run's own recovery stands on (MPI Forum, ULFM specification): the last rank kills
itself, the others must be told so by MPI_ERR_PROC_FAILED, acknowledge it, and still exchange messages.
"""

import os
import signal
import socket
import sys
import time
from typing import NoReturn

import msgspec
from mpi4py import MPI

from mpiexec_runner.errors import UserError

DEADLINE_S = 20.0
"""How long survivors wait to be told of a death, and for each other."""

_THREAD_LEVELS = {
    MPI.THREAD_SINGLE: "single",
    MPI.THREAD_FUNNELED: "funneled",
    MPI.THREAD_SERIALIZED: "serialized",
    MPI.THREAD_MULTIPLE: "multiple",
}

# Nobody ever sends the first: a message at hand would hide the report of a death from the probe for it.
_SILENT, _ALIVE, _DONE = 7, 8, 9


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """What rank 0 saw.

    ``dead`` lists the ranks reported dead, and ``noticed_s`` is how long that took, in seconds. ``talked``
    tells whether the survivors exchanged messages afterwards.
    """

    size: int
    hosts: tuple[str, ...]
    thread_level: str
    dead: tuple[int, ...] = ()
    noticed_s: float = 0.0
    talked: bool = False


def main(argv: list[str]) -> None:
    """Run one probe, ``world`` or ``failure``, as one rank of it.

    Raises
    ------
    UserError
        When the probe is not one of these.
    """
    comm = MPI.COMM_WORLD
    match argv:
        case ["world"]:
            _tell(comm, see_world(comm))
        case ["failure"]:
            _tell(comm, see_failure(comm))
            _leave_together(comm)
        case _:
            raise UserError("usage: python -m mpiexec_runner.transport.mpi_probe world|failure")


def see_world(comm: MPI.Intracomm) -> Sighting:
    """Learn how many ranks there are, on which hosts, and which thread level the library provides."""
    hosts = comm.gather(socket.gethostname(), root=0) or []
    return Sighting(size=comm.Get_size(), hosts=tuple(hosts), thread_level=_THREAD_LEVELS[MPI.Query_thread()])


def see_failure(world: MPI.Intracomm) -> Sighting:
    """Let the last rank die; see whether the others notice, and whether they can go on."""
    seen = see_world(world)
    comm = world.Dup()
    comm.Set_errhandler(MPI.ERRORS_RETURN)
    comm.Barrier()
    if comm.Get_rank() == comm.Get_size() - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    began = time.monotonic()
    dead = _await_death(comm, began + DEADLINE_S)
    noticed_s = time.monotonic() - began
    talked = bool(dead) and _talk(comm, time.monotonic() + DEADLINE_S)
    return msgspec.structs.replace(seen, dead=dead, noticed_s=noticed_s, talked=talked)


def _await_death(comm: MPI.Intracomm, deadline: float) -> tuple[int, ...]:
    """Wait for an error report; return the ranks that were reported and are now acknowledged."""
    while time.monotonic() < deadline:
        try:
            comm.Iprobe(MPI.ANY_SOURCE, _SILENT)
        except MPI.Exception as error:
            if error.Get_error_class() not in (MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING):
                raise
            failed = comm.Get_failed()
            comm.Ack_failed(failed.Get_size())
            return tuple(failed.Translate_ranks(list(range(failed.Get_size())), comm.Get_group()))
        time.sleep(0.001)
    return ()


def _talk(comm: MPI.Intracomm, deadline: float) -> bool:
    """Pass a message between rank 0 and the highest survivor, there and back; tell whether it came."""
    other = comm.Get_size() - 2 - comm.Get_rank()
    comm.Send(b"alive", dest=other, tag=_ALIVE)
    return _await_message(comm, other, _ALIVE, deadline) == b"alive"


def _leave_together(comm: MPI.Intracomm) -> NoReturn:
    """Leave without MPI_Finalize, which may hang after a death; rank 0 first, it has something to tell.

    A rank that leaves this way makes the launcher end the job, so the other waits to be let go.
    """
    if comm.Get_rank() == 0:
        comm.Send(b"done", dest=comm.Get_size() - 2, tag=_DONE)
    else:
        _await_message(comm, 0, _DONE, time.monotonic() + DEADLINE_S)
    os._exit(0)


def _await_message(comm: MPI.Intracomm, source: int, tag: int, deadline: float) -> bytes:
    """Receive a short message; empty when none comes in time."""
    status = MPI.Status()
    while time.monotonic() < deadline:
        if comm.Iprobe(source, tag, status):
            buffer = bytearray(status.Get_count(MPI.BYTE))
            comm.Recv(buffer, source=source, tag=tag)
            return bytes(buffer)
        time.sleep(0.001)
    return b""


def _tell(comm: MPI.Intracomm, sighting: Sighting) -> None:
    if comm.Get_rank() == 0:
        sys.stdout.write(msgspec.json.encode(sighting).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
