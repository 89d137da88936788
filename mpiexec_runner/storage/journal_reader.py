"""Reading the journal back: records in order, a torn tail cut, damage named or, when asked to, skipped.

Nothing here changes a journal, and nothing knows what the events mean.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

import msgspec

from mpiexec_runner.errors import StorageError
from mpiexec_runner.model.events import AnyEvent
from mpiexec_runner.storage.atomic import storage_error, write_bytes
from mpiexec_runner.storage.framing import Damaged, FrameReader, Torn, Whole, segment_path
from mpiexec_runner.storage.port import Position, Record
from mpiexec_runner.storage.segments import Chain, Stretch

LOSSES_FILE = "salvaged.json"


class Loss(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Bytes ``start`` to ``end`` of a segment: damaged, and skipped by a reader that salvages."""

    segment: int
    start: int
    end: int


class JournalReading:
    """The records of a journal, in order, read from disk as they are asked for.

    Attributes
    ----------
    notes : list[str]
        What the user should be told: a torn tail, skipped damage. Complete when the iteration has ended.
    losses : list[Loss]
        The damage that this reading skipped. Complete when the iteration has ended.
    """

    def __init__(self, directory: Path, after: Position | None, *, salvage: bool) -> None:
        chain = Chain(directory, after)
        self.notes: list[str] = []
        self.losses: list[Loss] = []
        self._chain_notes = chain.notes
        self._stretches = chain.stretches
        self._directory = directory
        self._salvage = salvage
        self._accepted = _read_losses(directory)
        self._tail: Position | None = None
        self._ended = False

    @property
    def tail(self) -> Position | None:
        """Where valid data ends, for a writer to resume at; ``None`` for an empty journal.

        Raises
        ------
        StorageError
            The iteration has not come to its end.
        """
        if not self._ended:
            raise StorageError(f"the journal in {self._directory} was not read to its end")
        return self._tail

    def __iter__(self) -> Iterator[Record]:
        """Yield the records, from the first one at each call.

        Raises
        ------
        StorageError
            Damage, with its place and what can be saved; a record of a newer version; or the disk failed.
        """
        decoder = msgspec.msgpack.Decoder(tuple[float, list[AnyEvent]])
        for position, payload in self.frames():
            try:
                now, events = decoder.decode(payload)
            except msgspec.MsgspecError as error:
                raise StorageError(
                    f"{segment_path(self._directory, position.segment)}: the record that ends at byte "
                    f"{position.offset} is sound, but this version of mpiexec-runner does not know all that "
                    f"is in it ({error}): use the newer version that wrote it"
                ) from error
            yield Record(position, now, events)

    def frames(self) -> Iterator[tuple[Position, bytes]]:
        """As iterating, with each record still encoded."""
        self._ended, self._tail = False, None
        self.notes[:] = self._chain_notes
        self.losses.clear()
        good = 0
        for stretch in self._stretches:
            for position, payload in self._stretch_frames(stretch, good):
                good += 1
                yield position, payload
        self._ended = True

    def accept_losses(self) -> None:
        """Write down that :attr:`losses` are accepted: later readers skip them with a note.

        To be called once a run goes on without what was lost. The journal itself stays as it is.

        Raises
        ------
        StorageError
            The disk refused.
        """
        if self.losses:
            merged = sorted({*self._accepted, *self.losses})
            write_bytes(self._directory / LOSSES_FILE, msgspec.json.encode(merged))

    def _stretch_frames(self, stretch: Stretch, good: int) -> Iterator[tuple[Position, bytes]]:
        path = segment_path(self._directory, stretch.number)
        if not path.exists():
            self._pass_missing(stretch, good)
            return
        self._tail = Position(stretch.number, stretch.start)
        offset: int | None = stretch.start
        with FrameReader(path, stretch.end) as reader:
            while offset is not None:
                frames, offset = reader.frames(offset), None
                for found in frames:
                    match found:
                        case Whole():
                            good += 1
                            self._tail = Position(stretch.number, found.end)
                            yield self._tail, found.payload
                        case Torn():
                            size = path.stat().st_size - found.offset
                            where = f"{size} bytes from byte {found.offset} on"
                            self.notes.append(
                                f"{path}: the last write was not finished; {where} are cut ({found.why})"
                            )
                        case Damaged():
                            offset = self._pass_damage(reader, stretch, found, good)
                        case unexpected:
                            assert_never(unexpected)

    # --- damage

    def _pass_damage(self, reader: FrameReader, stretch: Stretch, found: Damaged, good: int) -> int:
        """The offset at which reading goes on, if it may."""
        for loss in self._accepted:
            if loss.segment == stretch.number and loss.start == found.offset:
                self.notes.append(f"{reader.path}: bytes {loss.start} to {loss.end} were given up earlier")
                return loss.end
        end = found.end if found.end is not None else reader.resync(found.offset + 1)
        if self._salvage:
            self.losses.append(Loss(stretch.number, found.offset, end))
            self.notes.append(f"{reader.path}: skipped bytes {found.offset} to {end}: {found.why}")
            return end
        place = f"{reader.path} is damaged at byte {found.offset}: {found.why}"
        raise self._damage_error(place, good, Position(stretch.number, end))

    def _pass_missing(self, stretch: Stretch, good: int) -> None:
        path = segment_path(self._directory, stretch.number)
        loss = Loss(stretch.number, 0, stretch.end or 0)
        if loss in self._accepted:
            self.notes.append(f"{path} is missing; it was given up earlier")
        elif self._salvage:
            self.losses.append(loss)
            self.notes.append(f"{path} is missing: skipped")
        else:
            behind = [s for s in self._stretches if s.number > stretch.number]
            there = [s for s in behind if segment_path(self._directory, s.number).exists()]
            going_on = Position(there[0].number, there[0].start) if there else None
            raise self._damage_error(f"the journal segment {path} is missing", good, going_on)

    def _damage_error(self, place: str, good: int, going_on: Position | None) -> StorageError:
        behind = 0
        if going_on is not None:
            rest = JournalReading(self._directory, going_on, salvage=True)
            behind = sum(1 for _ in rest.frames())
        return StorageError(
            f"{place}. {good} records before it are good, {behind} behind it can be saved; what is lost "
            "between them is run again. Bring the file back from a copy, or go on without the damaged part: "
            f"mpiexec-runner resume {self._directory.parent} --salvage"
        )


def read_journal(directory: Path, after: Position | None = None, *, salvage: bool = False) -> JournalReading:
    """Read the journal in ``directory``, also while it is being written.

    Parameters
    ----------
    directory
        Where the segments are.
    after
        Begin behind this position (a checkpoint's), not at the first record.
    salvage
        Skip what is damaged, with a note, instead of refusing it.

    Raises
    ------
    StorageError
        The journal is of a newer version, lacks a part, or cannot be read.
    """
    return JournalReading(directory, after, salvage=salvage)


def tail_position(directory: Path, after: Position | None = None) -> Position | None:
    """Where valid data ends, checked but not decoded; ``None`` for an empty journal.

    Raises
    ------
    StorageError
        As reading the journal does.
    """
    reading = JournalReading(directory, after, salvage=False)
    for _ in reading.frames():
        pass
    return reading.tail


def _read_losses(directory: Path) -> frozenset[Loss]:
    path = directory / LOSSES_FILE
    try:
        return frozenset(msgspec.json.decode(path.read_bytes(), type=list[Loss]))
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise storage_error("read", path, error) from error
    except msgspec.MsgspecError as error:
        raise StorageError(f"{path} is damaged ({error}): bring it back from a copy, or remove it") from error
