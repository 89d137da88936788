"""Writing the journal: append a batch, make it durable in the background, begin new segments.

Nothing here knows what the events mean. One thread appends; a second one, of the writer's own, syncs. The
first never waits for an fsync, unless it asks for one: a segment ends where it was synced up to, what is
behind that place goes to the next one as well, and that is synced, with its name, when its turn comes.

When the disk refuses, the batch at hand is not in the journal, the error says so, and the same append may
be made again later. After a failed fsync nobody knows what is on disk (the kernel may drop the pages and
report the error once: Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020). So the
file that failed is never synced again: what it was not known to hold is kept in memory and goes to a new
segment.
"""

import contextlib
import errno
import itertools
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mpiexec_runner.errors import StorageError
from mpiexec_runner.model.events import AnyEvent
from mpiexec_runner.storage.atomic import create_exclusively, storage_error, sync_directory, write_all
from mpiexec_runner.storage.background import BackgroundSync
from mpiexec_runner.storage.framing import (
    FrameReader,
    SegmentHeader,
    Whole,
    decode_header,
    frame_header,
    segment_numbers,
    segment_path,
)
from mpiexec_runner.storage.port import Position

DEFAULT_SEGMENT_BYTES = 64 * 2**20


class JournalWriter:
    """Appends to the journal in ``directory``; always to a segment of its own, never to an older one.

    Parameters
    ----------
    directory
        Where the segments are.
    run_id
        Name of the run, by which its segments know each other. A later life goes on under the name that the
        journal has, so a run directory may be renamed.
    epoch
        Number of this life, from the lease.
    resume_at
        Where reading the journal of the earlier lives ended, ``None`` in the first life. What is behind that
        place (a torn tail) is left where it is and declared cut.
    segment_bytes
        A new segment is begun when so many bytes of the last one are known to be on disk.
    fsync_s
        Longest time in seconds that a batch waits for the background fsync.

    Raises
    ------
    StorageError
        The disk refused, or the journal has records behind ``resume_at``.
    """

    def __init__(
        self,
        directory: Path,
        *,
        run_id: str,
        epoch: int,
        resume_at: Position | None = None,
        segment_bytes: int = DEFAULT_SEGMENT_BYTES,
        fsync_s: float = 0.2,
    ) -> None:
        self._directory = directory
        self._run_id = run_id if resume_at is None else _name_in(directory, resume_at, run_id)
        self._epoch = epoch
        self._segment_bytes = segment_bytes
        self._encoder = msgspec.msgpack.Encoder()
        self._fd = -1
        self._number = 0
        self._offset = 0
        # What the fsyncs so far do not cover, oldest first: the bytes and the offset behind them.
        self._unsynced: list[tuple[bytes, int]] = []
        self._appended = 0
        self._synced = 0
        self._is_named = False  # whether the directory is synced, too
        self._before = resume_at or Position(0, 0)
        self._ends: dict[int, int] = {}  # of the segments that this writer has ended, as the next one says
        self._ragged = False
        self._refused: OSError | None = None
        self._distrusted = False
        # Lock order: _syncing (one fsync at a time, and the descriptor stays), then _lock (the fields).
        self._syncing = threading.Lock()
        self._lock = threading.Lock()
        self._resumed_behind = resume_at.segment if resume_at is not None else 0
        self._begin_segment(())
        self._background = BackgroundSync(self._sync_once, fsync_s)

    def append(self, now: float, events: Sequence[AnyEvent]) -> None:
        """Write one batch; when this returns it survives the death of the process (not yet of the host).

        Raises
        ------
        StorageError
            The batch is not in the journal; the same append may be made again when there is a remedy.
        """
        self._make_usable()
        payload = self._encoder.encode((now, events))
        frame = frame_header(payload) + payload
        with self._lock:
            self._write(frame)
            self._offset += len(frame)
            self._appended += 1
            self._unsynced.append((frame, self._offset))
        self._background.wake()

    def sync(self) -> None:
        """Return when all that was appended survives the death of the host.

        Raises
        ------
        StorageError
            It does not (yet). Nothing is forgotten: sync again when there is a remedy.
        """
        self._make_usable(may_rotate=False)
        self._sync_once()
        self._raise_refusal()

    def hold(self, position: Position) -> bool:
        """Sync, from any thread; whether all up to ``position`` survives the death of the host, for good.

        ``False`` where the disk refused, which :meth:`append` or :meth:`sync` will raise.
        """
        self._sync_once()
        with self._lock:
            if position.segment == self._number:
                return position.offset <= self._synced
            return position.offset <= self._ends.get(position.segment, 0)

    def position(self) -> Position:
        """The position behind the last batch. Only after a :meth:`sync` is it certain to stay valid."""
        return Position(self._number, self._offset)

    def count(self) -> int:
        """See :class:`~mpiexec_runner.storage.port.JournalPort`."""
        return self._appended

    def is_durable(self, count: int) -> bool:
        """See :class:`~mpiexec_runner.storage.port.JournalPort`."""
        with self._lock:
            return count <= self._appended - len(self._unsynced)

    def close(self) -> None:
        """Sync and end; the descriptor is closed in any case.

        Raises
        ------
        StorageError
            The last batches may not survive the death of the host.
        """
        if self._fd < 0:
            return
        self._background.stop()
        try:
            self.sync()
        finally:
            os.close(self._fd)
            self._fd = -1

    # --- segments

    def _make_usable(self, *, may_rotate: bool = True) -> None:
        if self._fd < 0:
            raise StorageError(f"the journal in {self._directory} is closed")
        self._raise_refusal()
        if self._distrusted:
            with self._syncing:
                self._move_on()
        elif may_rotate and self._synced >= self._segment_bytes and self._syncing.acquire(blocking=False):
            try:  # where an fsync is under way, a later append does it
                self._move_on()
            finally:
                self._syncing.release()

    def _move_on(self) -> None:
        """End the segment where it is known to be on disk, and go on in the next one with what is not."""
        if self._synced:
            self._before = Position(self._number, self._synced)
        self._begin_segment([frame for frame, _ in self._unsynced])

    def _begin_segment(self, carried: Sequence[bytes]) -> None:
        """Make the next segment, with ``carried`` frames in it, whole or not at all, and go on there."""
        self._refuse_strangers()
        number = max([0, *segment_numbers(self._directory)]) + 1
        header = SegmentHeader(
            run_id=self._run_id,
            segment=number,
            epoch=self._epoch,
            previous=self._before.segment,
            previous_end=self._before.offset,
        )
        payload = self._encoder.encode(header)
        first = frame_header(payload) + payload
        ends = list(itertools.accumulate(map(len, carried), initial=len(first)))
        path = segment_path(self._directory, number)
        if not create_exclusively(path, b"".join((first, *carried)), durable=False):
            raise _taken_over(path)
        fd = _opened(path)
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._ends[self._before.segment] = self._before.offset
            self._fd, self._number = fd, number
            self._offset, self._synced, self._is_named = ends[-1], 0, False
            self._unsynced = list(zip(carried, ends[1:], strict=True))
            self._ragged = self._distrusted = False

    def _refuse_strangers(self) -> None:
        """Nobody else may have written behind our segment (or, in the beginning, behind where we resume)."""
        for number in segment_numbers(self._directory):
            if number <= max(self._number, self._resumed_behind):
                continue
            path = segment_path(self._directory, number)
            with FrameReader(path) as reader:
                first = next(reader.frames(0), None)
            # A file without a good header holds nothing. One of our own is what remains of an attempt to
            # begin a segment that failed at its very end; readers skip it, since nothing refers to it.
            if isinstance(first, Whole) and decode_header(path, first.payload).epoch != self._epoch:
                raise _taken_over(path)

    # --- bytes

    def _write(self, frame: bytes) -> None:
        """Write ``frame`` at the end, or leave the file as it was."""
        try:
            if self._ragged:
                self._trim()
            write_all(self._fd, frame)
        except OSError as error:
            # Part of the frame may be there. It is ours and nobody was told of it: cut it, now or, if the
            # disk refuses that too, before the next append.
            self._ragged = True
            with contextlib.suppress(OSError):
                self._trim()
            raise storage_error("write", segment_path(self._directory, self._number), error) from error

    def _trim(self) -> None:
        os.ftruncate(self._fd, self._offset)
        self._ragged = False

    def _sync_once(self) -> None:
        """One fsync, if anything needs it; a refusal is kept for the appending thread to raise."""
        with self._syncing:
            with self._lock:
                if self._synced == self._offset or self._refused is not None or self._distrusted:
                    return
                count, end = len(self._unsynced), self._offset
            try:
                os.fsync(self._fd)
                if not self._is_named:
                    sync_directory(self._directory)
                if os.fstat(self._fd).st_nlink == 0:  # it takes all, and nobody will ever read it
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            except OSError as error:
                with self._lock:
                    self._refused = error
                return
            with self._lock:
                self._synced, self._is_named = end, True
                del self._unsynced[:count]

    def _raise_refusal(self) -> None:
        with self._lock:
            error, self._refused = self._refused, None
            if error is None:
                return
            self._distrusted = True
        raise storage_error("sync", segment_path(self._directory, self._number), error) from error


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError as error:
        raise storage_error("write", path, error) from error


def _name_in(directory: Path, place: Position, otherwise: str) -> str:
    """The name of the run whose journal has ``place``; ``otherwise`` if the header there is damaged."""
    path = segment_path(directory, place.segment)
    with FrameReader(path) as reader:
        first = next(reader.frames(0), None)
    return decode_header(path, first.payload).run_id if isinstance(first, Whole) else otherwise


def _taken_over(path: Path) -> StorageError:
    return StorageError(
        f"{path} was written by another process, which has taken over this run; "
        "look who owns the run directory, and resume again if nobody does"
    )
