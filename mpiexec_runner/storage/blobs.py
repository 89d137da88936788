"""Large buffers beside the journal: one file a key, written aside, checked by CRC when read.

Nothing here knows what the buffers hold.
"""

import os
import zlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from pickle import PickleBuffer
from urllib.parse import quote

import msgspec
from typing_extensions import Buffer

from mpiexec_runner.errors import StorageError
from mpiexec_runner.model.tasks import BlobRef
from mpiexec_runner.storage.atomic import storage_error, sync_directory, write_bytes
from mpiexec_runner.storage.framing import FrameReader, Whole, frame_header

FORMAT = "mpiexec-runner blob"
VERSION = 1
WRITERS = 4
"""How many blobs are written at a time, at most, for a caller who does not wait."""
_LONGEST_NAME = 200


class _BlobHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame of a blob file; the parts follow, one behind the other."""

    format: str = FORMAT
    version: int = VERSION
    key: str
    sizes: tuple[int, ...]
    crcs: tuple[int, ...]


class DirectoryBlobs:
    """A :class:`~mpiexec_runner.storage.port.BlobPort` in a directory, 256 folders wide.

    All blobs are part of the record, so :meth:`drop` keeps them.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writers = ThreadPoolExecutor(WRITERS, "blobs")  # without a thread until one is needed

    def put(self, key: str, parts: Sequence[Buffer]) -> BlobRef:
        """Keep ``parts`` under ``key``; durable when this returns. An older blob of that key is replaced.

        Raises
        ------
        StorageError
            The disk refused; nothing was changed.
        """
        views = [PickleBuffer(part).raw() for part in parts]
        sizes = tuple(view.nbytes for view in views)
        header = _BlobHeader(key=key, sizes=sizes, crcs=tuple(zlib.crc32(view) for view in views))
        payload = msgspec.msgpack.encode(header)
        path = self._path(key)
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_directory(self._directory)
        except OSError as error:
            raise storage_error("create", path.parent, error) from error
        write_bytes(path, frame_header(payload), payload, *views)
        return BlobRef(key, sizes)

    def begin_put(self, key: str, parts: Sequence[Buffer]) -> Future[BlobRef]:
        """See :class:`~mpiexec_runner.storage.port.BlobPort`."""
        return self._writers.submit(self.put, key, parts)

    def get(self, ref: BlobRef) -> list[memoryview]:
        """The parts of ``ref``, each as writable bytes of its own.

        Raises
        ------
        StorageError
            They are gone, damaged, or not those that ``ref`` means.
        """
        path = self._path(ref.key)
        with FrameReader(path) as reader:
            first = next(reader.frames(0), None)
        if not isinstance(first, Whole):
            raise StorageError(f"{path} is damaged at byte 0: its task must be run again")
        header = _decoded(path, first.payload)
        if header.key != ref.key or header.sizes != ref.sizes:
            raise StorageError(
                f"{path} holds {header.key!r} with parts of {header.sizes} bytes, the journal means "
                f"{ref.key!r} with {ref.sizes}: bring the right file back, or run its task again"
            )
        return _parts(path, first.end, header)

    def drop(self, ref: BlobRef) -> None:
        """Nothing: the journal refers to ``ref`` for as long as the run directory lives."""

    def _path(self, key: str) -> Path:
        # Quoting is one to one, so two keys never share a file; it yields no name that starts with "%%".
        name = quote(key, safe="")
        if len(name) > _LONGEST_NAME:
            name = "%%" + sha256(key.encode()).hexdigest()
        return self._directory / f"{zlib.crc32(key.encode()) & 0xFF:02x}" / f"{name}.blob"


class MemoryBlobs:
    """A :class:`~mpiexec_runner.storage.port.BlobPort` in memory, for runs without a directory."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[bytes, ...]] = {}

    def put(self, key: str, parts: Sequence[Buffer]) -> BlobRef:
        """Keep a copy of ``parts`` under ``key``."""
        kept = tuple(bytes(PickleBuffer(part).raw()) for part in parts)
        self._kept[key] = kept
        return BlobRef(key, tuple(len(part) for part in kept))

    def begin_put(self, key: str, parts: Sequence[Buffer]) -> Future[BlobRef]:
        """As :meth:`put`: nothing here takes time."""
        done: Future[BlobRef] = Future()
        done.set_result(self.put(key, parts))
        return done

    def get(self, ref: BlobRef) -> list[memoryview]:
        """The parts of ``ref``, each as bytes.

        Raises
        ------
        StorageError
            They were dropped, or are not those that ``ref`` means.
        """
        kept = self._kept.get(ref.key)
        if kept is None or tuple(len(part) for part in kept) != ref.sizes:
            raise StorageError(
                f"blob {ref.key!r} with parts of {ref.sizes} bytes is not in memory (any more)"
            )
        return [memoryview(bytearray(part)) for part in kept]  # the user may write to what is given

    def drop(self, ref: BlobRef) -> None:
        """Forget ``ref``."""
        self._kept.pop(ref.key, None)


def _decoded(path: Path, payload: bytes) -> _BlobHeader:
    try:
        header = msgspec.msgpack.decode(payload, type=_BlobHeader)
    except msgspec.MsgspecError as error:
        raise StorageError(f"{path} is not a blob of mpiexec-runner: {error}") from error
    if header.format != FORMAT:
        raise StorageError(f"{path} is not a blob of mpiexec-runner: it calls itself {header.format!r}")
    if header.version > VERSION:
        raise StorageError(
            f"{path} is a blob of version {header.version}, this program knows up to {VERSION}: "
            "use the newer version of mpiexec-runner that wrote it"
        )
    return header


def _parts(path: Path, offset: int, header: _BlobHeader) -> list[memoryview]:
    parts: list[memoryview] = []
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            for size, crc in zip(header.sizes, header.crcs, strict=True):
                part = memoryview(bytearray(size))
                got = 0
                while got < size and (count := os.readv(file.fileno(), [part[got:]])):
                    got += count
                if got < size or zlib.crc32(part) != crc:
                    raise StorageError(
                        f"{path} is damaged in its part of {size} bytes at byte {offset}: "
                        "bring the file back from a copy, or run its task again"
                    )
                parts.append(part)
                offset += size
    except OSError as error:
        raise storage_error("read", path, error) from error
    return parts
