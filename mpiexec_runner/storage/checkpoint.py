"""Checkpoints: snapshots of the scheduler in HDF5, the newest few kept, each checked before it counts.

Nothing here knows what is in a snapshot. A file is never open for writing under its own name.
"""

import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from mpiexec_runner.errors import StorageError
from mpiexec_runner.storage.atomic import remove_quietly, storage_error, write_bytes
from mpiexec_runner.storage.port import Position
from mpiexec_runner.storage.segments import why_fenced

FORMAT = "mpiexec-runner checkpoint"
VERSION = 1

_PLACE = struct.Struct("<QQd")
# What HDF5 raises on a file that is not, or no longer, what it should be.
_UNREADABLE = (OSError, KeyError, ValueError, TypeError, RuntimeError)


class Loaded(NamedTuple):
    """A checkpoint that verified: it holds the journal up to ``position``, as the life ``epoch`` had it."""

    path: Path
    snapshot: bytes
    position: Position
    now: float
    epoch: int


class _Unusable(Exception):
    """Why a checkpoint cannot be used."""


class CheckpointStore:
    """The checkpoints in ``directory``, of which the newest ``keep`` are kept. The life ``epoch`` saves."""

    def __init__(self, directory: Path, keep: int, epoch: int = 0) -> None:
        self._directory = directory
        self._keep, self._epoch = keep, epoch

    def save(
        self, snapshot: bytes, position: Position, now: float, table: Mapping[str, Any] | None = None
    ) -> Path:
        """Keep ``snapshot``; older ones go once this one was read back and verified.

        Parameters
        ----------
        snapshot
            The state, as the core encodes it.
        position
            The journal position that it stands for. Sync the journal first: a checkpoint must not know more
            than the journal that it belongs to.
        now
            Time of the snapshot in seconds since the epoch.
        table
            Columns for human readers, as arrays of equal length.

        Raises
        ------
        StorageError
            The disk refused, or gave back something else than was written; older checkpoints are untouched.
        """
        path = self._directory / f"checkpoint-{self._last_number() + 1:06d}.h5"
        # Built in memory, since HDF5 does not recover from a disk that fills up under it.
        write_bytes(path, _image(snapshot, position, now, self._epoch, table or {}))
        try:
            _load(path)
        except _Unusable as why:
            remove_quietly(path)
            raise StorageError(
                f"the checkpoint {path} could not be read back: {why}; check the disk"
            ) from why
        self._prune()
        return path

    def newest(
        self, on_note: Callable[[str], None], why_not: Callable[[Loaded], str] = lambda _: ""
    ) -> Loaded | None:
        """The newest checkpoint that verifies and counts; ``on_note`` is told of each that does not.

        Parameters
        ----------
        on_note
            Is told a line for each.
        why_not
            What else speaks against one; empty for nothing.

        Raises
        ------
        StorageError
            The newest one is of a newer version, or the directory cannot be read.
        """
        for path in reversed(self._paths()):
            try:
                loaded = _load(path)
                against = why_not(loaded)
            except _Unusable as why:
                against = str(why)
            if not against:
                return loaded
            on_note(f"checkpoint {path} cannot be used ({against}); the one before it is taken")
        return None

    def _paths(self) -> list[Path]:
        try:
            found = [path for path in self._directory.glob("checkpoint-*.h5") if _number(path) > 0]
        except OSError as error:
            raise storage_error("read", self._directory, error) from error
        return sorted(found, key=_number)

    def _last_number(self) -> int:
        return max(map(_number, self._paths()), default=0)

    def _prune(self) -> None:
        for path in self._paths()[: -self._keep]:
            remove_quietly(path)
        # What a crash in the middle of a save left; the lease sees to it that nobody else saves here.
        for path in self._directory.glob(".checkpoint-*.tmp"):
            remove_quietly(path)


def find_checkpoint(checkpoints: Path, journal: Path, on_note: Callable[[str], None]) -> Loaded | None:
    """The newest checkpoint to go on from.

    One that a hub renamed into place in the very instant in which another one followed it does not count.

    Parameters
    ----------
    checkpoints, journal
        The directories.
    on_note
        Is told a line for each that does not verify or count.

    Raises
    ------
    StorageError
        As for :meth:`CheckpointStore.newest`, or the journal cannot be read.
    """

    def why_not(loaded: Loaded) -> str:
        return why_fenced(journal, loaded.position, loaded.epoch)

    return CheckpointStore(checkpoints, 1).newest(on_note, why_not)


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("checkpoint-")
    return int(digits) if digits.isdecimal() else 0


def _sum(snapshot: bytes, position: Position, now: float) -> int:
    """The CRC of what resuming relies on."""
    return zlib.crc32(_PLACE.pack(position.segment, position.offset, now), zlib.crc32(snapshot))


def _image(snapshot: bytes, position: Position, now: float, epoch: int, table: Mapping[str, Any]) -> bytes:
    step = 2**16 + len(snapshot)
    with h5py.File("checkpoint", "w", driver="core", backing_store=False, block_size=step) as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["segment"], file.attrs["offset"] = position
        file.attrs["now"] = now
        file.attrs["epoch"] = epoch
        file.attrs["crc32"] = _sum(snapshot, position, now)
        file.create_dataset("snapshot", data=np.frombuffer(snapshot, dtype=np.uint8))
        tasks = file.create_group("tasks")
        for name, column in table.items():
            tasks.create_dataset(name, data=column)
        file.flush()
        image: bytes = file.id.get_file_image()
        return image


def _load(path: Path) -> Loaded:
    """Read and verify ``path``; ``_Unusable`` if it is not whole."""
    try:
        # No lock: nobody writes to a file under its own name, and on some cluster file systems locking fails.
        with h5py.File(path, "r", locking=False) as file:
            if file.attrs["format"] != FORMAT:
                raise _Unusable(f"it calls itself {file.attrs['format']!r}")
            version = int(file.attrs["version"])
            if version > VERSION:
                raise StorageError(
                    f"{path} is a checkpoint of version {version}, this program knows up to {VERSION}: "
                    "use the newer version of mpiexec-runner that wrote it"
                )
            snapshot = file["snapshot"][()].tobytes()
            position = Position(int(file.attrs["segment"]), int(file.attrs["offset"]))
            now = float(file.attrs["now"])
            epoch = int(file.attrs.get("epoch", 0))  # it was not always written
            expected = int(file.attrs["crc32"])
    except _UNREADABLE as error:
        raise _Unusable(str(error)) from error
    if _sum(snapshot, position, now) != expected:
        raise _Unusable("its CRC does not match")
    return Loaded(path, snapshot, position, now, epoch)
