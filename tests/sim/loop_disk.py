"""The disk of a run in virtual time: the real record in a directory in memory, and what may happen to it.

The journal's own code writes real files. What is not left to the system is when it syncs, whether the disk
refuses, and what a power cut leaves of what was not synced.
"""

import contextlib
import errno
import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from loop_threads import Stage

from mpiexec_runner.errors import StorageError
from mpiexec_runner.model.events import AnyEvent
from mpiexec_runner.model.tasks import BlobRef
from mpiexec_runner.runtime import keeper
from mpiexec_runner.storage import atomic, blobs, journal
from mpiexec_runner.storage.journal import JournalWriter
from mpiexec_runner.storage.port import Position

REAL = os


@dataclass
class DiskFault:
    """From ``begins`` to ``ends`` the journal's disk refuses so: ENOSPC, or EIO of writes or syncs."""

    begins: float
    ends: float
    code: int
    of_syncs: bool = False


class Disk:
    """What the journal's module is given instead of the system's calls, for one simulation."""

    def __init__(self, stage: Stage, seed: str) -> None:
        self.stage = stage
        self.faults: list[DiskFault] = []
        self.draws = random.Random(seed)

    def refusal(self, *, of_syncs: bool) -> int:
        """The error that the disk answers with now; 0 for none."""
        for fault in self.faults:
            if fault.of_syncs is of_syncs and fault.begins <= self.stage.now < fault.ends:
                return fault.code
        return 0

    def write_all(self, fd: int, data: bytes) -> None:
        code = self.refusal(of_syncs=False)
        if code:
            if code == errno.ENOSPC:  # as much as there was room for
                atomic.write_all(fd, data[: self.draws.randint(0, len(data) - 1)])
            raise OSError(code, os.strerror(code))
        atomic.write_all(fd, data)

    def fsync(self, fd: int) -> None:
        code = self.refusal(of_syncs=True)
        if code:
            raise OSError(code, os.strerror(code))

    def ftruncate(self, fd: int, length: int) -> None:
        if self.draws.random() < 0.5 and self.refusal(of_syncs=False) == errno.EIO:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.ftruncate(fd, length)

    def __getattr__(self, name: str) -> object:
        return getattr(REAL, name)

    # --- what a crash leaves

    def cut_power(self, writer: JournalWriter) -> None:
        """The host dies: of what was not synced, any beginning is on disk."""
        path = journal.segment_path(writer._directory, writer._number)
        size = path.stat().st_size
        kept = self.draws.randint(min(writer._synced, size), size)
        os.truncate(path, kept)

    def abandon(self, writer: JournalWriter) -> None:
        """Its process is gone."""
        writer._background.stop()
        if writer._fd >= 0:
            os.close(writer._fd)
            writer._fd = -1


class VirtualSync:
    """Stands for ``storage/background.py``: syncs when virtual time has come."""

    stage: Stage

    def __init__(self, sync: Callable[[], None], every_s: float) -> None:
        self._sync, self._every_s = sync, every_s
        self._due = self._stopped = False

    def wake(self) -> None:
        if not self._due:
            self._due = True
            self.stage.at(self.stage.now + self._every_s, self._come)

    def _come(self) -> None:
        self._due = False
        if not self._stopped:
            self._sync()

    def stop(self) -> None:
        self._stopped = True


class VirtualWriters:
    """Stands for the threads that write blobs: each takes some virtual time, in no order."""

    stage: Stage
    draws: random.Random

    def __init__(self, *_: object) -> None:
        pass

    def submit(self, job: Callable[..., BlobRef], *args: object) -> Future[BlobRef]:
        future: Future[BlobRef] = Future()

        def do() -> None:
            try:
                future.set_result(job(*args))
            except StorageError as error:
                future.set_exception(error)

        self.stage.at(self.stage.now + self.draws.choice((0.0, 0.01, 3.0)), do)
        return future


class AtOnce:
    """Stands for ``storage/background.py``, too: a checkpoint takes no virtual time."""

    busy = False

    def __init__(self, name: str) -> None:
        self.done = False
        self._error: StorageError | None = None

    def begin(self, job: Callable[[], None]) -> None:
        self.done, self._error = False, None
        try:
            job()
        except StorageError as error:
            self._error = error
        else:
            self.done = True

    def wait(self) -> None:
        """It is done."""

    def take_error(self) -> StorageError | None:
        error, self._error = self._error, None
        return error


@contextlib.contextmanager
def virtual_disk(disk: Disk) -> Iterator[None]:
    """Let the journal use this disk."""
    before = journal.BackgroundSync, journal.write_all, journal.os, keeper.OneAtATime
    writers = blobs.ThreadPoolExecutor
    blobs.ThreadPoolExecutor = type("Writers", (VirtualWriters,), {"stage": disk.stage, "draws": disk.draws})
    made = type("Sync", (VirtualSync,), {"stage": disk.stage})
    journal.BackgroundSync, journal.write_all, journal.os = made, disk.write_all, disk
    keeper.OneAtATime = AtOnce
    try:
        yield
    finally:
        journal.BackgroundSync, journal.write_all, journal.os, keeper.OneAtATime = before
        blobs.ThreadPoolExecutor = writers


class WatchedJournal:
    """Tells of what is on record, and may end its process just before or after."""

    def __init__(
        self,
        inner: JournalWriter,
        before: Callable[[], None],
        recorded: Callable[[Sequence[AnyEvent], float], None],
    ) -> None:
        self.inner, self._before, self._recorded = inner, before, recorded

    def append(self, now: float, events: Sequence[AnyEvent]) -> None:
        self._before()
        self.inner.append(now, events)
        self._recorded(events, now)

    def sync(self) -> None:
        self.inner.sync()

    def position(self) -> Position:
        return self.inner.position()

    def hold(self, position: Position) -> bool:
        return self.inner.hold(position)

    def count(self) -> int:
        return self.inner.count()

    def is_durable(self, count: int) -> bool:
        return self.inner.is_durable(count)

    def close(self) -> None:
        self.inner.close()
