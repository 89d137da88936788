"""Starting a further rank while the job runs: MPI_Comm_spawn over this process alone.

It knows no run. The call is collective over the one process that makes it, so no other rank is waited for,
dead or hung. It blocks for about a second: it belongs into a thread of its own.

Source: MPI 4.0, section 11.8 (Process Creation and Management).
"""

import os
from collections.abc import Sequence

from mpi4py import MPI

from mpiexec_runner.errors import PeerError
from mpiexec_runner.transport.mpi_doors import own_comm
from mpiexec_runner.transport.mpi_links import LinkToOne


def why_not() -> str:
    """What keeps this job from replacing a dead rank, in words; empty when nothing does."""
    enabled = os.environ.get("OMPI_MCA_mpi_ft_enable", "")  # noqa: SIM112 - that is how it is spelt
    name = MPI.get_vendor()[0]
    if name != "Open MPI":  # MPICH has ULFM's functions, and ends the job all the same
        return f"under {name} the death of a rank is the end of the job; Open MPI 5 and later can do it"
    if enabled.lower() not in ("1", "true"):
        return "Open MPI's launcher was started without --with-ft ulfm"
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        return "this MPI gives no MPI_THREAD_MULTIPLE"
    return ""


def spawn(argv: Sequence[str], host: str, ids: tuple[int, int]) -> LinkToOne:
    """Start a program on a host, and meet it.

    Parameters
    ----------
    argv
        The program, which makes a ``NewcomerTransport``, and its arguments.
    host
        As its own MPI calls it.
    ids
        What this rank is called in the run, and what the new one is.

    Raises
    ------
    PeerError
        When it cannot be started or does not arrive.
    """
    info = MPI.Info.Create()
    try:
        # No directory and no environment: Open MPI takes values up to 255 bytes.
        info["host"] = host
        info["bind_to"] = "none"
        info["map_by"] = "slot:OVERSUBSCRIBE"
        hall = own_comm().Spawn(argv[0], list(argv[1:]), 1, info)
        return LinkToOne(hall.Merge(high=False), ids)
    except MPI.Exception as error:
        raise PeerError(f"no rank can be started on {host}: {error.Get_error_string()}") from error
    finally:
        info.Free()
