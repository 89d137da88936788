"""A run's record on disk: made new, or opened again and brought to where the last life ended."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from mpiexec_runner.core import snapshot
from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.state import RunState
from mpiexec_runner.runtime.keeper import DirectoryKeeper
from mpiexec_runner.storage.checkpoint import CheckpointStore, find_checkpoint
from mpiexec_runner.storage.journal import JournalWriter
from mpiexec_runner.storage.journal_reader import read_journal
from mpiexec_runner.storage.lease import Lease
from mpiexec_runner.storage.port import Position
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.storage.settings import CheckpointSettings, RunSettings

_BY_PROGRAM = "# Made by a Python program (ParallelExecutor): run that program again to repeat it.\n"


def made_by_a_program(name: str) -> str:
    """What stands in ``run.yaml`` of a run that has no configuration."""
    return f"{_BY_PROGRAM}name: {name}\n"


def is_made_by_a_program(config: str) -> bool:
    """Whether that is what stands there."""
    return config.startswith(_BY_PROGRAM)


def create_record(
    base: Path,
    name: str,
    config: str,
    *,
    exact: Path | None = None,
    run: RunSettings | None = None,
    checkpoint: CheckpointSettings | None = None,
) -> DirectoryKeeper:
    """Make a run directory and begin its journal.

    Raises
    ------
    UserError
        The directory is in use.
    StorageError
        The disk refused.
    """
    directory = RunDirectory.create(base, name, exact=exact, config=config)
    return _keeper(directory, Lease.acquire(directory.path), None, run, checkpoint)


class Past(NamedTuple):
    """What the record of earlier lives says, and what was noteworthy in reading it."""

    state: RunState | None
    position: Position | None
    notes: list[str]


def read_snapshot(directory: RunDirectory) -> Past:
    """The newest checkpoint that verifies, if there is any."""
    notes: list[str] = []
    loaded = find_checkpoint(directory.checkpoints, directory.journal, notes.append)
    if loaded is None:
        return Past(None, None, notes)
    taken = msgspec.msgpack.decode(loaded.snapshot, type=snapshot.Snapshot)
    return Past(snapshot.restore(taken), loaded.position, notes)


def replay(
    directory: RunDirectory, scheduler: TaskScheduler, after: Position | None, salvage: bool = False
) -> Past:
    """Drive the core with the journal behind a checkpoint; what it asks for has been done long ago.

    Raises
    ------
    StorageError
        The journal is damaged, or of a newer version.
    """
    reading = read_journal(directory.journal, after, salvage=salvage)
    for record in reading:
        scheduler.handle(record.events, record.now)
    if salvage:
        reading.accept_losses()
    return Past(scheduler.state, reading.tail, reading.notes)


def reopen_record(
    directory: RunDirectory,
    lease: Lease,
    tail: Position | None,
    run: RunSettings,
    checkpoint: CheckpointSettings,
) -> DirectoryKeeper:
    """Go on with the journal of an earlier life, behind ``tail``."""
    return _keeper(directory, lease, tail, run, checkpoint)


def _keeper(
    directory: RunDirectory,
    lease: Lease,
    tail: Position | None,
    run: RunSettings | None,
    checkpoint: CheckpointSettings | None,
) -> DirectoryKeeper:
    run, checkpoint = run or RunSettings(), checkpoint or CheckpointSettings()
    journal = JournalWriter(
        directory.journal,
        run_id=directory.path.name,
        epoch=lease.epoch,
        resume_at=tail,
        fsync_s=run.fsync_s,
    )
    return DirectoryKeeper(
        directory,
        journal,
        lease,
        CheckpointStore(directory.checkpoints, checkpoint.keep, lease.epoch),
        settings=run,
        checkpoint_every_s=checkpoint.every_s,
    )
