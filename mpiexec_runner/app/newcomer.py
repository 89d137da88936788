"""A rank that is started while the run goes on, in the place of one that died. Started by a hub alone.

It works like any other rank, and may lead as well. It is called by whoever leads when it has arrived.
"""

import threading
from collections.abc import Callable
from typing import NoReturn

import msgspec

from mpiexec_runner.app import ranks
from mpiexec_runner.app.rank import Say, leave_signals_to_the_hub, take_vacant_place
from mpiexec_runner.app.replacing import START_WITHIN_S, Berth
from mpiexec_runner.core.listener import Listener
from mpiexec_runner.errors import ExitCode, PeerError
from mpiexec_runner.storage.rundir import RunDirectory


def join(told: str, listener: Callable[[RunDirectory], Listener], say: Say) -> NoReturn:
    """Be the rank that a berth describes, until the run is over.

    Parameters
    ----------
    told
        The berth, as JSON.
    listener, say
        As for :func:`~mpiexec_runner.app.rank.take_place`.
    """
    leave_signals_to_the_hub()
    berth = msgspec.json.decode(told, type=Berth)
    # The launcher may be gone by now, and MPI would wait for ever.
    too_late = threading.Timer(START_WITHIN_S, ranks.leave, [0])
    too_late.daemon = True
    too_late.start()
    from mpiexec_runner.transport import mpi  # noqa: PLC0415 - from here on MPI may block

    neighbours = dict.fromkeys(berth.neighbours, b"")
    transport = mpi.NewcomerTransport(berth.rank, berth.hub, berth.founders, neighbours)
    too_late.cancel()
    try:
        take_vacant_place(berth, transport, listener, say)
    except PeerError as error:
        say(f"rank {berth.rank}: {error}")
        ranks.leave(int(ExitCode.INTERNAL))
    ranks.leave(0)
