"""What the runtime needs of storage, as ports. The adapters are the other files of this room.

Nothing here knows of files.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from typing_extensions import Buffer

from mpiexec_runner.model.events import AnyEvent
from mpiexec_runner.model.tasks import BlobRef


class Position(NamedTuple):
    """A place in a journal: the segment's number (from 1) and the byte offset behind a frame."""

    segment: int
    offset: int


class Record(NamedTuple):
    """One batch of events as the journal holds it; ``end`` is the position behind it."""

    end: Position
    now: float
    events: list[AnyEvent]


class JournalPort(Protocol):
    """The truth of a run: batches of events, in order."""

    def append(self, now: float, events: Sequence[AnyEvent]) -> None:
        """Write one batch; when this returns it survives the death of the process (not yet of the host)."""

    def sync(self) -> None:
        """Return when all that was appended survives the death of the host."""

    def position(self) -> Position:
        """The position behind the last batch."""

    def count(self) -> int:
        """How many batches this writer has taken."""

    def is_durable(self, count: int) -> bool:
        """Whether the first ``count`` batches of this writer survive the death of the host."""

    def close(self) -> None:
        """Sync and end."""


class BlobPort(Protocol):
    """Large buffers, written once."""

    def put(self, key: str, parts: Sequence[Buffer]) -> BlobRef:
        """Keep ``parts`` under ``key``; durable when this returns."""

    def begin_put(self, key: str, parts: Sequence[Buffer]) -> Future[BlobRef]:
        """As :meth:`put`, for a caller who cannot wait; ``parts`` must not change meanwhile."""

    def get(self, ref: BlobRef) -> list[memoryview]:
        """The parts of ``ref``, each as bytes; ``StorageError`` when they are gone or damaged."""

    def drop(self, ref: BlobRef) -> None:
        """Forget ``ref`` where keeping it is not part of the record."""
