"""The writer begins segments, refuses company, and neither hides nor repeats a failed fsync."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mpiexec_runner.errors import StorageError
from mpiexec_runner.storage.framing import segment_numbers, segment_path
from mpiexec_runner.storage.journal import JournalWriter
from mpiexec_runner.storage.journal_reader import read_journal, tail_position
from mpiexec_runner.storage.port import Position

LONG_S = 3600.0


def test_a_full_segment_is_followed_by_the_next(tmp_path: Path, batch) -> None:
    writer = JournalWriter(tmp_path, run_id="r", epoch=1, segment_bytes=300)
    for number in range(20):
        writer.append(*batch(number))
        if number % 2:
            writer.sync()
    writer.close()
    assert len(segment_numbers(tmp_path)) > 3
    assert [record.now for record in read_journal(tmp_path)] == [float(n) for n in range(20)]
    assert tail_position(tmp_path) == writer.position()


def test_a_new_life_leaves_the_segments_of_earlier_ones_as_they_are(tmp_path: Path, life, batch) -> None:
    end = life(tmp_path, [batch(1)])
    before = segment_path(tmp_path, 1).read_bytes()
    life(tmp_path, [batch(2)], epoch=2, resume_at=end)
    assert segment_path(tmp_path, 1).read_bytes() == before
    assert segment_numbers(tmp_path) == [1, 2]


def test_a_life_that_resumes_at_an_old_place_is_refused(tmp_path: Path, life, batch) -> None:
    end = life(tmp_path, [batch(1)])
    life(tmp_path, [batch(2)], epoch=2, resume_at=end)
    with pytest.raises(StorageError, match="taken over"):
        JournalWriter(tmp_path, run_id="r", epoch=3, resume_at=end)
    with pytest.raises(StorageError, match="taken over"):
        JournalWriter(tmp_path, run_id="r", epoch=3)


def test_a_life_that_was_taken_over_cannot_begin_a_segment(tmp_path: Path, life, batch) -> None:
    stale = JournalWriter(tmp_path, run_id="r", epoch=1, segment_bytes=1)
    stale.sync()
    end = stale.position()
    life(tmp_path, [batch(2)], epoch=2, resume_at=end)
    with pytest.raises(StorageError, match="taken over"):
        stale.append(*batch(1))
    assert [record.now for record in read_journal(tmp_path)] == [2.0]


def test_a_file_that_was_never_written_is_stepped_over(tmp_path: Path, life, batch) -> None:
    end = life(tmp_path, [batch(1)])
    segment_path(tmp_path, 2).write_bytes(bytes(100))
    assert tail_position(tmp_path) == end
    life(tmp_path, [batch(2)], epoch=3, resume_at=end)
    reading = read_journal(tmp_path)
    assert [record.now for record in reading] == [1.0, 2.0]
    assert "000002.journal is no part" in reading.notes[0]


def test_a_run_directory_may_be_renamed_between_two_lives(tmp_path: Path, life, batch) -> None:
    end = life(tmp_path, [batch(1)])
    writer = JournalWriter(tmp_path, run_id="renamed", epoch=2, resume_at=end)
    writer.append(*batch(2))
    writer.close()
    assert [record.now for record in read_journal(tmp_path)] == [1.0, 2.0]


APPEND_FOR_EVER = """
import itertools, sys
from pathlib import Path
from mpiexec_runner.model.events import Tick
from mpiexec_runner.storage.journal import JournalWriter
writer = JournalWriter(Path(sys.argv[1]), run_id="r", epoch=1, segment_bytes=500, fsync_s=0.0001)
for number in itertools.count():
    writer.append(float(number), [Tick()])
    print(number, flush=True)
"""


@pytest.mark.timeout(300)
def test_what_was_acknowledged_survives_the_death_of_the_process(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", APPEND_FOR_EVER, tmp_path], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(200):
            acknowledged = int(child.stdout.readline())
        child.kill()
        acknowledged = max([acknowledged, *(int(line) for line in child.stdout if line.endswith(b"\n"))])
    times = [record.now for record in read_journal(tmp_path)]
    assert times == [float(n) for n in range(len(times))]
    assert len(times) > acknowledged


def test_a_closed_journal_takes_no_more(tmp_path: Path, batch) -> None:
    writer = JournalWriter(tmp_path, run_id="r", epoch=1)
    writer.close()
    writer.close()
    with pytest.raises(StorageError, match="closed"):
        writer.append(*batch(1))


class FailingDisk:
    """fsync(2) that fails for one file, as long as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails = False
        self.seen = threading.Event()
        self.failed_on: list[str] = []
        self._real = os.fsync
        monkeypatch.setattr(os, "fsync", self._fsync)

    def _fsync(self, fd: int) -> None:
        path = str(Path(f"/proc/self/fd/{fd}").readlink())
        if self.fails and path.endswith(".journal"):
            self.failed_on.append(Path(path).name)
            self.seen.set()
            raise OSError(errno.EIO, "made to fail")
        self._real(fd)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    return FailingDisk(monkeypatch)


def test_a_failed_fsync_surfaces_and_what_it_left_open_goes_to_a_new_segment(
    tmp_path: Path, batch, disk: FailingDisk
) -> None:
    writer = JournalWriter(tmp_path, run_id="r", epoch=1, fsync_s=LONG_S)
    writer.append(*batch(0))
    writer.sync()
    trusted = writer.position()
    writer.append(*batch(1))
    writer.append(*batch(2))
    disk.fails = True
    with pytest.raises(StorageError, match=r"cannot sync .*000001.journal.*disk or the file server failed"):
        writer.sync()
    assert writer.is_durable(1)
    assert not writer.is_durable(2)
    disk.fails = False
    segment = segment_path(tmp_path, 1)
    os.truncate(segment, trusted.offset)  # the kernel dropped what it could not write
    writer.append(*batch(3))
    assert not writer.is_durable(2), "it was carried over, and is not synced yet"
    writer.sync()
    assert writer.is_durable(4)
    writer.close()
    assert disk.failed_on == ["000001.journal"]
    assert [record.now for record in read_journal(tmp_path)] == [0.0, 1.0, 2.0, 3.0]
    assert writer.position().segment == 2


def test_a_failed_fsync_in_the_background_surfaces_at_the_next_append(
    tmp_path: Path, batch, disk: FailingDisk
) -> None:
    writer = JournalWriter(tmp_path, run_id="r", epoch=1, fsync_s=0.001)
    disk.fails = True
    writer.append(*batch(0))
    assert disk.seen.wait(20)
    # The thread notes the failure before it lets go of the lock that sync needs.
    with pytest.raises(StorageError, match="cannot sync"):
        writer.sync()
    disk.fails = False
    writer.append(*batch(1))
    writer.close()
    assert [record.now for record in read_journal(tmp_path)] == [0.0, 1.0]


def test_the_background_syncs_without_being_asked(
    tmp_path: Path, batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = threading.Event()
    real = os.fsync

    def fsync(fd: int) -> None:
        real(fd)
        if Path(f"/proc/self/fd/{fd}").readlink().suffix == ".journal":
            synced.set()

    writer = JournalWriter(tmp_path, run_id="r", epoch=1, fsync_s=0.001)
    monkeypatch.setattr(os, "fsync", fsync)
    writer.append(*batch(0))
    assert synced.wait(20)
    writer.close()


def test_an_append_waits_for_no_fsync_and_a_new_segment_for_none_either(
    tmp_path: Path, batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was appended while the old segment was being synced is in both; it counts once."""
    writer = JournalWriter(tmp_path, run_id="r", epoch=1, segment_bytes=100, fsync_s=LONG_S)
    in_fsync, go_on, real = threading.Event(), threading.Event(), os.fsync

    def slow(fd: int) -> None:
        in_fsync.set()
        assert go_on.wait(60)
        real(fd)

    monkeypatch.setattr(os, "fsync", slow)
    for number in range(5):
        writer.append(*batch(number))
    syncing = threading.Thread(target=writer.sync)
    syncing.start()
    assert in_fsync.wait(60)
    for number in range(5, 10):
        writer.append(*batch(number))
    assert segment_numbers(tmp_path) == [1], "a segment ends where it was synced up to"
    go_on.set()
    syncing.join()
    assert (writer.is_durable(5), writer.is_durable(6)) == (True, False)
    monkeypatch.setattr(os, "fsync", pytest.fail)
    writer.append(*batch(10))
    assert segment_numbers(tmp_path) == [1, 2]
    assert not writer.is_durable(6)
    assert [record.now for record in read_journal(tmp_path)] == [float(n) for n in range(11)]
    monkeypatch.setattr(os, "fsync", real)
    writer.sync()
    assert writer.is_durable(11)
    writer.close()


def test_a_segment_of_which_nothing_reached_the_disk_is_stepped_over(
    tmp_path: Path, batch, disk: FailingDisk
) -> None:
    writer = JournalWriter(tmp_path, run_id="r", epoch=1, fsync_s=LONG_S)
    disk.fails = True
    for number in range(3):
        writer.append(*batch(number))
        with pytest.raises(StorageError, match="cannot sync"):
            writer.sync()
    disk.fails = False
    writer.append(*batch(3))
    writer.close()
    assert disk.failed_on == ["000001.journal", "000002.journal", "000003.journal"]
    for name in disk.failed_on:
        (tmp_path / name).write_bytes(b"")
    assert [record.now for record in read_journal(tmp_path)] == [0.0, 1.0, 2.0, 3.0]


def test_positions_grow_and_name_the_segment(tmp_path: Path, batch) -> None:
    writer = JournalWriter(tmp_path, run_id="r", epoch=1, segment_bytes=200)
    seen = [writer.position()]
    for number in range(10):
        writer.append(*batch(number))
        seen.append(writer.position())
        writer.sync()
    writer.close()
    assert seen == sorted(set(seen))
    assert [record.end for record in read_journal(tmp_path)] == seen[1:]
    assert isinstance(seen[0], Position)
