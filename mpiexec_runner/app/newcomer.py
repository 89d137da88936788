"""The program of a rank that is started while the run goes on, in the place of one that died.

``python -m mpiexec_runner.app.newcomer BERTH``, started by MPI alone. It works like any other rank, but its
only way to the run is the hub that started it: it ends when that one does.
"""

import os
import signal
import sys
import threading
from typing import NoReturn

import msgspec

from mpiexec_runner.app import ranks
from mpiexec_runner.app.replacing import START_WITHIN_S, Berth
from mpiexec_runner.errors import PeerError
from mpiexec_runner.execute.environment import OUTSIDE
from mpiexec_runner.runtime.settings import WorkerSettings


def main(arguments: list[str]) -> NoReturn:
    """Be the rank that the berth describes, until the run is over."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    berth = msgspec.json.decode(arguments[0], type=Berth)
    os.chdir(berth.directory)
    sys.path[0] = berth.directory  # as of a rank that was started by -m there
    if berth.outside is not None:
        os.environ[OUTSIDE] = berth.outside
    # Whoever started it may be dead by now, and MPI would wait for ever.
    too_late = threading.Timer(START_WITHIN_S, ranks.leave, [0])
    too_late.daemon = True
    too_late.start()
    from mpiexec_runner.transport import mpi  # noqa: PLC0415 - from here on MPI may block

    transport = mpi.NewcomerTransport(
        berth.rank, berth.hub, berth.founders, dict.fromkeys(berth.neighbours, b"")
    )
    too_late.cancel()
    settings = WorkerSettings.model_validate_json(berth.settings)
    worker = ranks.make_worker(transport, settings, place=berth.place, hub=berth.hub)
    try:
        worker.serve()
    except PeerError as error:
        print(f"rank {berth.rank}: {error}", file=sys.stderr, flush=True)
        # Its own death is one that the others survive; an exit without MPI's Finalize may end them all.
        os.kill(os.getpid(), signal.SIGKILL)
    ranks.leave(0)


if __name__ == "__main__":
    main(sys.argv[1:])
