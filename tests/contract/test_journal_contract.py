"""What every journal promises, whichever adapter it is."""

from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from mpiexec_runner.errors import StorageError
from mpiexec_runner.model.events import AnyEvent, RunOpened, TasksReturned, Tick
from mpiexec_runner.storage.journal import JournalWriter
from mpiexec_runner.storage.journal_reader import read_journal
from mpiexec_runner.storage.memory_journal import MemoryJournal
from mpiexec_runner.storage.port import JournalPort, Record

BATCHES: list[tuple[float, list[AnyEvent]]] = [
    (1.0, [RunOpened(1)]),
    (2.0, []),
    (2.0, [Tick(), TasksReturned(3, [(1, 1), (2, 1)])]),
]


class JournalContract(ABC):
    @abstractmethod
    def make(self, directory: Path) -> JournalPort: ...

    @abstractmethod
    def records(self, journal: JournalPort, directory: Path) -> list[Record]: ...

    def test_batches_come_back_in_order_with_their_positions(self, tmp_path: Path) -> None:
        journal = self.make(tmp_path)
        ends = []
        for now, events in BATCHES:
            journal.append(now, events)
            ends.append(journal.position())
        journal.close()
        records = self.records(journal, tmp_path)
        assert [(record.now, record.events) for record in records] == BATCHES
        assert [record.end for record in records] == ends

    def test_positions_grow(self, tmp_path: Path) -> None:
        journal = self.make(tmp_path)
        seen = [journal.position()]
        for now, events in BATCHES:
            journal.append(now, events)
            seen.append(journal.position())
        assert seen == sorted(set(seen))
        journal.close()

    def test_syncing_moves_nothing(self, tmp_path: Path) -> None:
        journal = self.make(tmp_path)
        journal.sync()
        journal.append(*BATCHES[0])
        before = journal.position()
        journal.sync()
        journal.sync()
        assert journal.position() == before
        journal.close()

    def test_events_are_taken_as_they_are_at_the_time(self, tmp_path: Path) -> None:
        journal = self.make(tmp_path)
        events: list[AnyEvent] = [Tick()]
        journal.append(1.0, events)
        events.append(Tick())
        journal.close()
        assert self.records(journal, tmp_path)[0].events == [Tick()]

    def test_a_closed_journal_takes_no_more_and_may_be_closed_again(self, tmp_path: Path) -> None:
        journal = self.make(tmp_path)
        journal.close()
        journal.close()
        with pytest.raises(StorageError, match="closed"):
            journal.append(1.0, [Tick()])


class TestJournalWriter(JournalContract):
    def make(self, directory: Path) -> JournalPort:
        return JournalWriter(directory, run_id="r", epoch=1)

    def records(self, journal: JournalPort, directory: Path) -> list[Record]:
        return list(read_journal(directory))


class TestJournalWriterWithSmallSegments(TestJournalWriter):
    def make(self, directory: Path) -> JournalPort:
        return JournalWriter(directory, run_id="r", epoch=1, segment_bytes=1)


class TestMemoryJournal(JournalContract):
    def make(self, directory: Path) -> JournalPort:
        return MemoryJournal(keep=True)

    def records(self, journal: JournalPort, directory: Path) -> list[Record]:
        assert isinstance(journal, MemoryJournal)
        return journal.records


def test_a_memory_journal_that_is_not_told_to_keep_does_not_grow() -> None:
    journal = MemoryJournal()
    journal.append(*BATCHES[0])
    assert journal.records == []
