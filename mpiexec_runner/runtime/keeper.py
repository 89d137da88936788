"""Where a run keeps its record: a run directory, or nothing but memory.

It knows when a checkpoint or a renewal is due; how they are written is ``storage/``'s. A checkpoint is a
convenience: the run does not end, and does not wait, because one cannot be written or takes long.
"""

import functools
import math
import os
import time
from pathlib import Path

import msgspec
import numpy as np

from mpiexec_runner.core import snapshot
from mpiexec_runner.core.state import RunState
from mpiexec_runner.errors import StorageError
from mpiexec_runner.runtime.control import Answer, ControlBox, Taken
from mpiexec_runner.storage.atomic import check_room
from mpiexec_runner.storage.background import OneAtATime
from mpiexec_runner.storage.blobs import DirectoryBlobs, MemoryBlobs
from mpiexec_runner.storage.checkpoint import CheckpointStore
from mpiexec_runner.storage.journal import JournalWriter
from mpiexec_runner.storage.lease import RENEW_S, Lease
from mpiexec_runner.storage.memory_journal import MemoryJournal
from mpiexec_runner.storage.port import Position
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.storage.settings import RunSettings

CHECKPOINT_SHARE = 0.02
"""Checkpoints of a large run may take at most this share of the time."""


class MemoryKeeper:
    """Keeps nothing. See :class:`~mpiexec_runner.runtime.port.Keeper`."""

    run_dir = ""
    task_dirs = False
    python_path: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.blobs = MemoryBlobs()

    def maintain(self, state: RunState, now: float) -> list[str]:  # noqa: ARG002 - the port's
        """Nothing is due, ever."""
        return []

    def renew(self, now: float) -> None:
        """Nor is this."""

    def confirm(self) -> None:
        """Nobody else could have it."""

    def check_room(self) -> None:
        """There is no disk."""

    def requests(self) -> list[Taken]:
        """There is no box to drop requests into."""
        return []

    def answer(self, answer: Answer) -> None:
        """Nobody asked."""


class DirectoryKeeper:
    """Keeps a run in its directory. See :class:`~mpiexec_runner.runtime.port.Keeper`."""

    def __init__(
        self,
        directory: RunDirectory,
        journal: JournalWriter,
        lease: Lease,
        checkpoints: CheckpointStore,
        *,
        settings: RunSettings,
        checkpoint_every_s: float,
    ) -> None:
        self.run_dir = str(directory.path)
        self.task_dirs = settings.task_dirs
        self.python_path = settings.python_path
        self.journal = journal
        self.blobs = DirectoryBlobs(directory.blobs)
        self._lease, self._checkpoints = lease, checkpoints
        self._box = ControlBox(directory.control)
        self._every_s = checkpoint_every_s
        self._checkpoint_at = math.inf
        self._renew_at = 0.0
        self._identity = _identity(self.run_dir)
        self._saving = OneAtATime("checkpoint")
        self._cost_s = 0.0
        self._told = ""

    def maintain(self, state: RunState, now: float) -> list[str]:
        """See :class:`~mpiexec_runner.runtime.port.Keeper`."""
        self.renew(now)
        if _identity(self.run_dir) != self._identity:  # a journal that nobody will find takes all the same
            self._lease.renew()
        if self._checkpoint_at == math.inf:
            self._checkpoint_at = now + self._every_s
        elif now >= self._checkpoint_at and not self._saving.busy:
            # The next one is not due before this one's cost is a small share of the time.
            self._checkpoint_at = now + max(self._every_s, self._cost_s / CHECKPOINT_SHARE)
            began = time.perf_counter()
            data, table = msgspec.msgpack.encode(snapshot.take(state)), _table(state)
            self._cost_s = time.perf_counter() - began
            save = functools.partial(self._save_when_synced, data, self.journal.position(), state.now, table)
            self._saving.begin(save)
        return self._news()

    def renew(self, now: float) -> None:
        """See :class:`~mpiexec_runner.runtime.port.Keeper`."""
        if now >= self._renew_at:
            self._lease.renew()
            self._renew_at = now + RENEW_S

    def _save_when_synced(
        self, data: bytes, position: Position, at: float, table: dict[str, np.ndarray]
    ) -> None:
        """In a thread of its own: where an fsync takes seconds, the hub goes on listening meanwhile."""
        # What the journal does not hold for certain is told to the hub, by its next append.
        if self.journal.hold(position):
            self._lease.confirm()  # the next hub's journal may not have this place
            self._checkpoints.save(data, position, at, table)

    def _news(self) -> list[str]:
        """What became of the last checkpoint, if that is not known yet."""
        error = self._saving.take_error()
        if error is None:
            if self._told and self._saving.done:
                self._told = ""
                return ["checkpoints can be written again"]
            return []
        if not isinstance(error, StorageError):
            raise error
        if self._told:
            return []
        self._told = str(error)
        return [f"{error}. The run goes on without; the older checkpoints and the journal are whole"]

    def confirm(self) -> None:
        """See :class:`~mpiexec_runner.runtime.port.Keeper`."""
        self._lease.confirm()

    def check_room(self) -> None:
        """See :class:`~mpiexec_runner.runtime.port.Keeper`."""
        check_room(Path(self.run_dir))

    def checkpoint(self, state: RunState) -> None:
        """Write a checkpoint now.

        Raises
        ------
        StorageError
            The disk refused; the older ones are untouched.
        """
        self._saving.wait()
        self.journal.sync()
        self._lease.confirm()  # the next hub's journal may not have the place that this one's ends at
        data = msgspec.msgpack.encode(snapshot.take(state))
        self._checkpoints.save(data, self.journal.position(), state.now, _table(state))

    def requests(self) -> list[Taken]:
        """See :class:`~mpiexec_runner.runtime.port.Keeper`."""
        return self._box.take()

    def answer(self, answer: Answer) -> None:
        """See :class:`~mpiexec_runner.runtime.port.Keeper`."""
        self._box.answer(answer)

    def close(self) -> None:
        """Close the journal and give the directory back."""
        self._saving.wait()
        self.journal.close()
        self._lease.release()


def _identity(path: str) -> tuple[int, int] | None:
    """Which directory is found there; ``None`` for none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - four times a second
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _table(state: RunState) -> dict[str, np.ndarray]:
    """Columns of a checkpoint for people who open it with plain h5py."""
    tasks = state.tasks.values()
    return {
        "id": np.fromiter((task.spec.id for task in tasks), np.int64, len(tasks)),
        "state": np.fromiter((task.state for task in tasks), np.int8, len(tasks)),
        "attempt": np.fromiter((task.attempt for task in tasks), np.int32, len(tasks)),
    }
