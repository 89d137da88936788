"""The bytes of a journal: frames, what a damaged one looks like, and the header of a segment.

Nothing here knows where records come from or which segments make up a journal.

A frame is a header of three little-endian 32-bit numbers (length of the payload, CRC-32 of the payload,
CRC-32 of these first eight bytes) and the payload. The header has a sum of its own so that a damaged length
cannot be taken for the end of the file. Layout and reasoning follow the write-ahead log of LevelDB
(doc/log_format.md), without its fixed blocks.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import msgspec

from mpiexec_runner.errors import NewerVersion, StorageError
from mpiexec_runner.storage.atomic import storage_error

FORMAT = "mpiexec-runner journal"
VERSION = 1
HEADER_BYTES = 12
MAX_PAYLOAD_BYTES = 2**32 - 1

_PREFIX = struct.Struct("<II")
_HEADER = struct.Struct("<III")
_ZEROS = 512
"""A file that grew before its data was written ends in zeros, a disk sector of them at least."""
_CHUNK = 2**20


class SegmentHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first record of a segment.

    ``previous`` and ``previous_end`` say which segment comes before and where reading it stops: what is
    behind that offset was cut, once and for all, when this segment was begun. Both are 0 in the first one.
    """

    format: str = FORMAT
    version: int = VERSION
    run_id: str
    segment: int
    epoch: int
    previous: int = 0
    previous_end: int = 0


class Whole(NamedTuple):
    """A good frame; ``end`` is the offset behind it."""

    payload: bytes
    end: int


class Torn(NamedTuple):
    """The last write never got to disk whole: from ``offset`` on there is nothing to be had."""

    offset: int
    why: str


class Damaged(NamedTuple):
    """What was on disk has changed. ``end`` is the offset behind the frame, if that can be known."""

    offset: int
    end: int | None
    why: str


class _Version(msgspec.Struct):
    format: str
    version: int


def frame_header(payload: bytes) -> bytes:
    """The header that goes before ``payload``.

    Raises
    ------
    StorageError
        The payload has 4 GiB or more.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise StorageError(f"a record of {len(payload)} bytes is too large: large values belong into blobs")
    prefix = _PREFIX.pack(len(payload), zlib.crc32(payload))
    return prefix + zlib.crc32(prefix).to_bytes(4, "little")


def segment_path(directory: Path, number: int) -> Path:
    """Where segment ``number`` is."""
    return directory / f"{number:06d}.journal"


def segment_numbers(directory: Path) -> list[int]:
    """The numbers of the segments that exist, growing.

    Raises
    ------
    StorageError
        The directory cannot be read.
    """
    try:
        names = [entry.name for entry in directory.iterdir()]
    except OSError as error:
        raise storage_error("read", directory, error) from error
    stems = (name.removesuffix(".journal") for name in names if name.endswith(".journal"))
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def decode_header(path: Path, payload: bytes) -> SegmentHeader:
    """The header of a segment from the payload of its first frame.

    Raises
    ------
    StorageError
        This is no journal; ``NewerVersion`` for one of a newer version.
    """
    try:
        found = msgspec.msgpack.decode(payload, type=_Version)
        if found.format == FORMAT and found.version > VERSION:
            raise NewerVersion(
                f"{path} is a journal of version {found.version}, this program knows up to {VERSION}: "
                "use the newer version of mpiexec-runner that wrote it"
            )
        if found.format == FORMAT:
            return msgspec.msgpack.decode(payload, type=SegmentHeader)
    except msgspec.MsgspecError as error:
        raise StorageError(f"{path} is not a journal of mpiexec-runner: {error}") from error
    raise StorageError(f"{path} is not a journal of mpiexec-runner: it calls itself {found.format!r}")


class FrameReader:
    """Reads one segment frame by frame, up to ``limit`` or, with ``None``, to the end that it has now.

    It reads instead of mapping: the writer may cut its own unfinished frame while somebody looks, and a
    mapped page that is gone kills the process.
    """

    def __init__(self, path: Path, limit: int | None = None) -> None:
        self.path = path
        try:
            self._file: BinaryIO = path.open("rb", buffering=_CHUNK)
        except OSError as error:
            raise storage_error("read", path, error) from error
        size = os.fstat(self._file.fileno()).st_size
        self._size = size if limit is None else min(size, limit)
        self._open_ended = limit is None
        self._limit = size if limit is None else limit

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def frames(self, offset: int) -> Iterator[Whole | Torn | Damaged]:
        """The frames from ``offset`` on. Ends behind the last, or with what stands in the way.

        Raises
        ------
        StorageError
            The disk failed.
        """
        try:
            self._file.seek(offset)
            while offset < self._limit:
                found = self._judged(self._read_frame(offset))
                yield found
                if not isinstance(found, Whole):
                    return
                offset = found.end
        except OSError as error:
            raise storage_error("read", self.path, error) from error

    def resync(self, offset: int) -> int:
        """The offset of the first good frame at or behind ``offset``; the limit if there is none."""
        self._file.seek(offset)
        rest = self._file.read(self._size - offset)
        for at in range(len(rest) - HEADER_BYTES + 1):
            length, crc, own = _HEADER.unpack_from(rest, at)
            if own != zlib.crc32(rest[at : at + 8]):
                continue
            start = at + HEADER_BYTES
            if start + length <= len(rest) and zlib.crc32(rest[start : start + length]) == crc:
                return offset + at
        return self._limit

    def _judged(self, found: Whole | Torn | Damaged) -> Whole | Torn | Damaged:
        """A torn tail is legal only where nobody has said that there is more."""
        if isinstance(found, Torn) and not self._open_ended:
            why = f"{found.why}, but the journal went on from offset {self._limit}"
            return Damaged(found.offset, self._limit, why)
        return found

    def _read_frame(self, offset: int) -> Whole | Torn | Damaged:
        head = self._file.read(min(HEADER_BYTES, self._size - offset))
        if len(head) < HEADER_BYTES:
            return Torn(offset, "the header is not complete")
        length, crc, own = _HEADER.unpack(head)
        if zlib.crc32(head[:8]) != own:
            if self._zeros_from(offset):
                return Torn(offset, "never written")
            return Damaged(offset, None, "the header of a record is damaged")
        end = offset + HEADER_BYTES + length
        if end > self._size:
            return Torn(offset, "the record is not complete")
        payload = self._file.read(length)
        if len(payload) < length:  # the writer cut it back meanwhile
            return Torn(offset, "the record is not complete")
        if zlib.crc32(payload) == crc:
            return Whole(payload, end)
        # Zeros to the end of the file, beginning inside this record: its last pages were never written.
        zeros_from = min(end - 1, self._size - _ZEROS)
        if zeros_from >= offset + HEADER_BYTES and self._zeros_from(zeros_from):
            return Torn(offset, "the record was never written whole")
        return Damaged(offset, end, "a record is damaged")

    def _zeros_from(self, offset: int) -> bool:
        self._file.seek(offset)
        left = self._size - offset
        while left > 0 and (chunk := self._file.read(min(_CHUNK, left))):
            if chunk.count(0) != len(chunk):
                return False
            left -= len(chunk)
        return True
