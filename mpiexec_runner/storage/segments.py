"""Which segments make up a journal, and which part of each.

Nothing here reads records.

The last segment names the one before it and where reading that one stops, and so on to the first. So what a
crash left unfinished at the end of one life is never read again, and a segment that is missing is missed.
"""

from pathlib import Path
from typing import NamedTuple

from mpiexec_runner.errors import StorageError
from mpiexec_runner.storage.framing import (
    FrameReader,
    SegmentHeader,
    Torn,
    Whole,
    decode_header,
    segment_numbers,
    segment_path,
)
from mpiexec_runner.storage.port import Position


class Stretch(NamedTuple):
    """The part of one segment that belongs to the journal; ``end`` is ``None`` for: all there is.

    ``start`` is 0 where the header is damaged or the whole file is missing.
    """

    number: int
    start: int
    end: int | None


def why_fenced(directory: Path, position: Position, epoch: int) -> str:
    """Why a position counts for nothing: the life that noted it had been followed before it came there.

    Parameters
    ----------
    directory
        Where the segments are.
    position
        Up to which that life had written.
    epoch
        Of that life; 0 where that is not known.

    Returns
    -------
    str
        Empty where no later life has cut the journal before that position: it is there, or has been lost.

    Raises
    ------
    StorageError
        As for :class:`Chain`.
    """
    chain = Chain(directory, None)
    ends = {stretch.number: stretch.end for stretch in chain.stretches}
    end = ends.get(position.segment, 0 if segment_path(directory, position.segment).exists() else None)
    if epoch >= chain.epoch or end is None or position.offset <= end:
        return ""
    return f"the life that wrote it had been followed by another one, which went on at byte {end}"


class Chain:
    """The stretches of a journal, oldest first; ``notes`` says which files are no part of it.

    ``epoch`` is that of the life that wrote the last one, as far as it can be read.

    Parameters
    ----------
    directory
        Where the segments are.
    after
        Leave out what is before this position.

    Raises
    ------
    StorageError
        A segment is of a newer version or of another run, or ``after`` is not in the journal.
    """

    def __init__(self, directory: Path, after: Position | None) -> None:
        self.notes: list[str] = []
        self._directory = directory
        self._run_id: str | None = None
        self.epoch = 0
        self.stretches = self._collect(after)

    def _collect(self, after: Position | None) -> list[Stretch]:
        numbers = segment_numbers(self._directory)
        wanted = after.segment if after is not None else 1
        number, end = self._newest(numbers), None
        backwards: list[Stretch] = []
        while number >= wanted:
            header, start = self._header(number, end)
            backwards.append(Stretch(number, start, end))
            if header is not None:
                self._note_skipped([n for n in numbers if header.previous < n < number])
                number, end = header.previous, header.previous_end
            else:  # damaged or missing: the best guess is the segment before it, up to its end
                number, end = max((n for n in numbers if n < number), default=0), None
        if after is not None:
            backwards.append(self._begin_at(after, backwards.pop() if backwards else None))
        return backwards[::-1]

    def _newest(self, numbers: list[int]) -> int:
        """The last segment that was written at all; 0 if there is none."""
        for number in reversed(numbers):
            path = segment_path(self._directory, number)
            with FrameReader(path) as reader:
                first = next(reader.frames(0), None)
            if first is not None and not isinstance(first, Torn):
                return number
            self.notes.append(f"{path} was never written whole and holds nothing")
        return 0

    def _header(self, number: int, end: int | None) -> tuple[SegmentHeader | None, int]:
        """The header of a segment and the offset behind it; ``(None, 0)`` if it cannot be had."""
        path = segment_path(self._directory, number)
        if not path.exists():
            return None, 0
        with FrameReader(path, end) as reader:
            first = next(reader.frames(0), None)
        if not isinstance(first, Whole):
            return None, 0
        header = decode_header(path, first.payload)
        self._run_id = self._run_id or header.run_id
        self.epoch = max(self.epoch, header.epoch)
        if header.segment != number or header.run_id != self._run_id or header.previous >= number:
            raise StorageError(
                f"{path} calls itself segment {header.segment} of run {header.run_id!r}: "
                "it does not belong here; bring the right file back"
            )
        return header, first.end

    def _note_skipped(self, numbers: list[int]) -> None:
        self.notes.extend(
            f"{segment_path(self._directory, number)} is no part of the journal: the life that wrote it "
            "had been taken over, or could not finish it"
            for number in reversed(numbers)
        )

    def _remedy(self) -> str:
        return (
            "bring the file back from a copy, or go on without what is missing, which is run again: "
            f"mpiexec-runner resume {self._directory.parent} --salvage"
        )

    def _begin_at(self, after: Position, oldest: Stretch | None) -> Stretch:
        path = segment_path(self._directory, after.segment)
        if oldest is None or oldest.number != after.segment or not path.exists():
            raise StorageError(
                f"the journal segment {path}, up to which a checkpoint was taken, is missing or no part of "
                f"the journal: {self._remedy()}"
            )
        end = oldest.end if oldest.end is not None else path.stat().st_size
        if after.offset > end:
            raise StorageError(
                f"{path} ends at byte {end}, before byte {after.offset} up to which a checkpoint was taken: "
                f"{self._remedy()}"
            )
        return oldest._replace(start=max(after.offset, oldest.start))


def check_versions(directory: Path) -> None:
    """See early whether a journal is of a version that can be read; reading it says more.

    Raises
    ------
    NewerVersion
        It is not.
    StorageError
        The disk failed.
    """
    for number in segment_numbers(directory):
        path = segment_path(directory, number)
        with FrameReader(path) as reader:
            first = next(reader.frames(0), None)
        if isinstance(first, Whole):
            decode_header(path, first.payload)
