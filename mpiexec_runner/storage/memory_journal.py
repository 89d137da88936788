"""A journal for runs without a directory: nothing survives the process.

It keeps the records only when asked to, so that a long run does not grow.
"""

from collections.abc import Sequence

from mpiexec_runner.errors import StorageError
from mpiexec_runner.model.events import AnyEvent
from mpiexec_runner.storage.port import Position, Record


class MemoryJournal:
    """A :class:`~mpiexec_runner.storage.port.JournalPort` in memory; ``records`` has them if ``keep``."""

    def __init__(self, *, keep: bool = False) -> None:
        self.records: list[Record] = []
        self._keep = keep
        self._count = 0
        self._closed = False

    def append(self, now: float, events: Sequence[AnyEvent]) -> None:
        """Take one batch."""
        if self._closed:
            raise StorageError("the journal in memory is closed")
        self._count += 1
        if self._keep:
            self.records.append(Record(self.position(), now, list(events)))

    def sync(self) -> None:
        """Nothing to do: there is no host to outlive."""

    def position(self) -> Position:
        """The number of batches so far, as a position."""
        return Position(1, self._count)

    def count(self) -> int:
        """How many batches it has taken."""
        return self._count

    def is_durable(self, count: int) -> bool:  # noqa: ARG002
        """As durable as anything here ever is."""
        return True

    def close(self) -> None:
        """Take no more."""
        self._closed = True
