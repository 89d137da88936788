"""Starting a run from a shell: in this process, as a rank of a job, or under the launcher that fits.

It touches no MPI itself: the ranks do (``run.py``).
"""

import math
import os
import shlex
import shutil
import signal
import time
from pathlib import Path

import msgspec

from mpiexec_runner.app.launch import LaunchPlan, launch_command, run_launched
from mpiexec_runner.app.launcher import Preference, find_launcher
from mpiexec_runner.app.obituary import Death, Witness
from mpiexec_runner.app.rank import Request, Say
from mpiexec_runner.app.run import create, load_new, load_old
from mpiexec_runner.app.wording import counted
from mpiexec_runner.app.world import default_ranks, launched_ranks
from mpiexec_runner.config.expansion import expand
from mpiexec_runner.errors import ExitCode, StorageError, UserError
from mpiexec_runner.execute.machine import usable_cores
from mpiexec_runner.execute.template import render
from mpiexec_runner.model.events import StopReason
from mpiexec_runner.model.tasks import CallByName, CommandLine, PlainArguments, TaskKind, TaskSpec
from mpiexec_runner.runtime.control import ControlBox, Drain
from mpiexec_runner.runtime.settings import WorkerSettings
from mpiexec_runner.storage.lease import check_free
from mpiexec_runner.storage.owner import find_owner, is_alive, is_here
from mpiexec_runner.storage.rundir import RunDirectory, default_name
from mpiexec_runner.storage.segments import check_versions
from mpiexec_runner.storage.status import find_status

RANK_COMMAND = "rank"
"""The command, not shown to users, with which a rank takes its place in a prepared run directory."""
TAKE_OVER_WITHIN_S = 30.0
"""How long a run may be without a hub: a rank that should follow may be busy, and the next one tries."""
SHOWN_TASKS = 5
"""How many tasks a dry run shows."""


class Launch(msgspec.Struct, frozen=True):
    """How many ranks (0: as many as fit), and by which launcher."""

    ranks: int = 0
    launcher: Preference = Preference.AUTO


def is_rank() -> bool:
    """Whether a launcher started this process as one of several ranks."""
    return launched_ranks(os.environ) is not None


def plan(request: Request, launch: Launch, run_dir: str, workers: WorkerSettings) -> LaunchPlan:
    """The command that starts the ranks of a run whose directory is prepared.

    Raises
    ------
    UserError
        When there is no launcher that fits the MPI library.
    """
    from mpiexec_runner.transport.mpi_library import find_library  # noqa: PLC0415 - needs an MPI library

    launcher = find_launcher(find_library(), launch.launcher, os.environ)
    argv = [RANK_COMMAND, run_dir]
    argv += [
        flag for flag, given in (("--salvage", request.salvage), ("--take-over", request.take_over)) if given
    ]
    argv += ["--workers", workers.model_dump_json(exclude_defaults=True)]  # no rank but the first reads more
    if request.resume:  # a new run's are in its run.yaml already
        argv += [word for change in request.overrides for word in ("--set", change)]
    ranks = launch.ranks or default_ranks(os.environ)
    return launch_command(launcher, ranks, argv, os.environ, usable_cores(), witnessed=True)


def start(request: Request, launch: Launch, say: Say) -> int:
    """Start ranks for a new run or a resume, stand by, and say by the run's own record how it ended.

    Raises
    ------
    UserError, ConfigError, StorageError
        Before anything is started; a run directory that was made for it is removed again.
    """
    if request.resume:
        directory = RunDirectory.open(Path(request.run_dir))
        if not request.take_over:
            check_free(directory.path)
        check_versions(directory.journal)
        config = load_old(directory, request.overrides)
        expand(config)
    else:
        config = load_new(request)
        directory = create(config, request.run_dir)
    before = find_status(directory.status)
    epoch = before.epoch if before else 0
    box, asked = ControlBox(directory.control), list[str]()
    witness = Witness(RANK_COMMAND, str(directory.path))
    try:
        planned = plan(request, launch, str(directory.path), config.workers)
        for warning in planned.warnings:
            say(f"warning: {warning}")
        code = run_launched(
            planned,
            on_interrupt=lambda number, count: asked.extend(_ask(directory, box, number, count)),
            over=_Over(directory, epoch, witness),
            witness=witness,
        )
        death = witness.find_death()
    except BaseException:
        if not request.resume and find_status(directory.status) is None:
            shutil.rmtree(directory.path)
        raise
    finally:
        witness.close()
    for id_ in asked:
        box.withdraw(id_)  # what no hub took must not stop the next life
    return _judge(directory, epoch, code, death, say)


class _Over:
    """Whether the launcher has nothing to wait for: the run has ended, or nobody leads it any more.

    Another rank may follow a hub that died, and gets the time to do so. Before the run has begun, nobody can:
    MPI's own start does not survive the death of a rank, and the others wait for it for ever.
    """

    def __init__(self, directory: RunDirectory, epoch_before: int, witness: Witness) -> None:
        self._directory, self._epoch, self._witness = directory, epoch_before, witness
        self._headless_since = math.inf

    def __call__(self) -> bool:
        if _end_of(self._directory, self._epoch) is not None:
            return True
        if self._witness.has_lost_one and not _has_begun(self._directory, self._epoch):
            return True
        if not _is_headless(self._directory, self._epoch):
            self._headless_since = math.inf
            return False
        self._headless_since = min(self._headless_since, time.monotonic())
        return time.monotonic() >= self._headless_since + TAKE_OVER_WITHIN_S


def _ask(directory: RunDirectory, box: ControlBox, number: int, count: int) -> list[str]:
    """Pass a signal on to the hub, through the run's control box; the id of the request.

    Where the disk takes nothing the hub gets the signal itself, if it is on this machine.
    """
    reason = StopReason.INTERRUPTED if number == signal.SIGINT else StopReason.SIGNAL
    try:
        return [box.drop(Drain(reason, abandon=count > 1))]
    except StorageError:
        owner = find_owner(directory.path)
        if owner is None or not (is_here(owner) and is_alive(directory.path, owner)):
            raise
        os.kill(owner.pid, signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
        return []


def _end_of(directory: RunDirectory, epoch_before: int) -> int | None:
    """The exit code on record for a life after ``epoch_before``, once it has ended."""
    status = find_status(directory.status)
    return status.exit_code if status is not None and status.epoch > epoch_before else None


def _has_begun(directory: RunDirectory, epoch_before: int) -> bool:
    """Whether a rank has taken the lead of a life after ``epoch_before``."""
    owner = find_owner(directory.path)
    return owner is not None and owner.epoch > epoch_before


def _is_headless(directory: RunDirectory, epoch_before: int) -> bool:
    """Whether the hub of a life after ``epoch_before`` died; one on another host is left to its ranks."""
    owner = find_owner(directory.path)
    if owner is None or owner.epoch <= epoch_before or owner.released or not is_here(owner):
        return False
    return not is_alive(directory.path, owner)


def _judge(
    directory: RunDirectory, epoch_before: int, launcher_code: int, death: Death | None, say: Say
) -> int:
    """A run has succeeded when its own record says so; the launcher's exit code proves nothing."""
    ended = _end_of(directory, epoch_before)
    if ended is not None:
        return ended
    status = find_status(directory.status)
    if not directory.path.is_dir():
        say(f"error: {directory.path} is gone; bring it back, or find where it went, and resume it there")
        return int(ExitCode.INTERNAL)
    if status is None or status.epoch == epoch_before:
        if death is not None:
            say(f"error: {death}")
        say(f"error: the ranks ended (launcher exit code {launcher_code}) before the run began")
        told = launcher_code in (ExitCode.USAGE, ExitCode.CONFIG)  # by a rank, which has said why
        return launcher_code if told else int(ExitCode.INTERNAL)
    if death is not None:
        say(f"error: {death}, and the job with it: this MPI, as it was started, survives no death")
    say(
        f"error: the job died (launcher exit code {launcher_code}) before the run was done; what had "
        f"finished is safe. Go on with: mpiexec-runner resume {shlex.quote(str(directory.path))}"
    )
    return int(ExitCode.INTERNAL)


def describe(request: Request, launch: Launch) -> list[str]:
    """What a run would do, line by line; nothing is made or started."""
    config = load_new(request)
    workload = expand(config)
    kinds = {kind.id: kind for kind in workload.kinds}
    lines = [f"{counted(len(workload.tasks), 'task')} of {counted(len(kinds), 'kind')}"]
    if workload.duplicates:
        lines[0] += f"; {counted(workload.duplicates, 'duplicate')} left out"
    for spec in workload.tasks[:SHOWN_TASKS]:
        lines += [f"  {spec.name or default_name(spec.id)}: {_shown(kinds[spec.kind], spec)}"]
    if len(workload.tasks) > SHOWN_TASKS:
        lines.append(f"  ... and {len(workload.tasks) - SHOWN_TASKS} more")
    where = request.run_dir or f"{config.run.dir}/{config.name}-<time>"
    lines.append(f"run directory: {where}")
    if not is_rank():
        try:
            lines.append("would start: " + shlex.join(plan(request, launch, where, config.workers).argv))
        except UserError as error:
            lines.append(f"cannot be started here: {error}")
    return lines


def _shown(kind: TaskKind, spec: TaskSpec) -> str:
    arguments = msgspec.msgpack.decode(spec.payload, type=PlainArguments)
    if isinstance(kind.work, CallByName):
        given = [repr(value) for value in arguments.args]
        given += [f"{name}={value!r}" for name, value in arguments.fields.items()]
        return f"{kind.work.target}({', '.join(given)})"
    template = spec.command if spec.command is not None else _template(kind.work)
    return shlex.join(render(template, arguments.fields))


def _template(work: object) -> str | tuple[str, ...]:
    return work.template or "" if isinstance(work, CommandLine) else ""
