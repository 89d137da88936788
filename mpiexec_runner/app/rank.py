"""A rank's place in its job: the first one leads, the others work until the lead falls to one of them.

What leading needs (``run.py``) is imported when a rank leads: most never do, and start the sooner.
"""

# ruff: noqa: PLC0415 - see above

import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import msgspec

from mpiexec_runner.app import ranks
from mpiexec_runner.app.takeover import Office, Takeover
from mpiexec_runner.errors import ConfigError, ExitCode, NewerVersion, RunnerError, UserError
from mpiexec_runner.model.messages import RollCall
from mpiexec_runner.runtime.settings import WorkerSettings
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.transport.port import Transport

if TYPE_CHECKING:
    from mpiexec_runner.app.replacing import Berth
    from mpiexec_runner.core.listener import Listener

Say = Callable[[str], None]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a rank was asked for: a new run of ``config``, or to go on with ``run_dir``.

    ``workers`` are the settings of workers as JSON, where whoever started the ranks has read them already.
    """

    config: str = ""
    run_dir: str = ""
    overrides: tuple[str, ...] = ()
    resume: bool = False
    salvage: bool = False
    take_over: bool = False
    workers: str = ""


def take_place(request: Request, listener: Callable[[RunDirectory], "Listener"], say: Say) -> int:
    """Be a rank of this job: to be called on all of them. Returns the exit code of this rank.

    Parameters
    ----------
    request
        The same on every rank.
    listener
        Makes what is told of progress, on the rank that leads.
    say
        Prints a line for the user.
    """
    transport = ranks.world_transport()
    try:
        if transport.rank != 0:
            return _work(request, transport, listener, say)
        from mpiexec_runner.app.run import lead

        return ranks.end_with(int(lead(request, transport, listener, say)))
    except (UserError, ConfigError, NewerVersion) as error:
        say(f"error: {error}")
        ranks.dismiss(transport)
        return ranks.end_with(int(error.exit_code))
    except Exception as error:
        if isinstance(error, RunnerError):
            say(f"error: {error}")
        else:
            traceback.print_exc()
        ranks.abort(int(ExitCode.INTERNAL))
        raise


def take_vacant_place(
    berth: "Berth", transport: Transport, listener: Callable[[RunDirectory], "Listener"], say: Say
) -> None:
    """Be a rank that joins a job later: as any other, until the run is over.

    Raises
    ------
    PeerError
        When the hub breaks the protocol.
    """
    request = Request(run_dir=berth.run_dir, resume=True)
    takeover = _takeover(request, transport, "", listener, say)
    settings = WorkerSettings.model_validate_json(berth.settings)
    takeover.worker = ranks.make_worker(transport, settings, takeover, place=berth.place, hub=berth.hub)
    takeover.worker.await_hub(RollCall(berth.epoch, berth.life, berth.run_dir), berth.gone)
    takeover.worker.serve()
    takeover.wait()


def leave_signals_to_the_hub() -> None:
    """What a rank does with signals that does not lead: the launcher sends them to all."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, do_nothing)


def _work(
    request: Request, transport: Transport, listener: Callable[[RunDirectory], "Listener"], say: Say
) -> int:
    """Any rank but the first hub's, until it leads itself."""
    leave_signals_to_the_hub()
    run_dir = str(Path(request.run_dir).absolute()) if request.resume else ""
    takeover = _takeover(request, transport, run_dir, listener, say)
    takeover.worker = ranks.make_worker(transport, _settings(request), takeover)
    orderly = takeover.worker.serve()
    takeover.wait()
    if not orderly:
        ranks.leave(0)
    return 0


def _takeover(
    request: Request,
    transport: Transport,
    run_dir: str,
    listener: Callable[[RunDirectory], "Listener"],
    say: Say,
) -> Takeover:
    """What a rank can do when its hub is gone."""

    def lead(office: Office) -> int:
        from mpiexec_runner.app.run import follow

        return follow(request, office, transport, listener, say)

    return Takeover(transport, run_dir, lead, say)


def _settings(request: Request) -> WorkerSettings:
    if request.workers:
        return WorkerSettings.model_validate_json(request.workers)
    from mpiexec_runner.config.loading import load

    try:
        path = RunDirectory.open(Path(request.run_dir)).config if request.resume else Path(request.config)
        return load(path, request.overrides).workers
    except RunnerError:
        return WorkerSettings()  # rank 0 meets the same error, says it, and ends the job


def do_nothing(number: int, frame: FrameType | None) -> None:
    """Ignore a signal in this process alone: what it starts would inherit SIG_IGN, and not heed its end."""
