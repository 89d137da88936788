"""A disk that fills up: one clear error, nothing torn, and the same append works once there is room."""

import contextlib
import ctypes
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mpiexec_runner.errors import StorageError
from mpiexec_runner.model.events import KindsRegistered, TasksFinished, TasksSubmitted
from mpiexec_runner.model.tasks import CallByName, Outcome, TaskKind, TaskSpec, Verdict
from mpiexec_runner.storage.blobs import DirectoryBlobs
from mpiexec_runner.storage.checkpoint import CheckpointStore
from mpiexec_runner.storage.framing import segment_numbers
from mpiexec_runner.storage.journal import JournalWriter
from mpiexec_runner.storage.journal_reader import read_journal
from mpiexec_runner.storage.port import Position, Record
from mpiexec_runner.storage.table import ResultTable

ROOM = 256 * 1024
LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with little room."""
    if os.geteuid() != 0 or LIBC.mount(b"tmpfs", bytes(tmp_path), b"tmpfs", 0, f"size={ROOM}".encode()) != 0:
        pytest.skip("needs the right to mount a tmpfs")
    yield tmp_path
    LIBC.umount2(bytes(tmp_path), 2)


@contextlib.contextmanager
def filled(directory: Path) -> Iterator[None]:
    """Let a file of somebody else's take all the room."""
    path = directory / "somebody-elses"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1024))
    yield
    path.unlink()


def big_batch(number: int) -> tuple[float, list]:
    outcome = Outcome(number, 1, Verdict.SUCCEEDED, 1.0, 0.5, value=os.urandom(10_000))
    return float(number), [TasksFinished(1, [outcome])]


def test_the_journal_keeps_all_it_took_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    writer = JournalWriter(small_disk, run_id="r", epoch=1)
    writer.append(*big_batch(0))
    batch = big_batch(1)
    with filled(small_disk):
        before = writer.position()
        for _ in range(3):
            with pytest.raises(StorageError, match=r"000001.journal: No space left on device; make room"):
                writer.append(*batch)
            assert writer.position() == before
            reading = read_journal(small_disk)
            assert [record.now for record in reading] == [0.0]
            assert reading.notes == []
    writer.append(*batch)
    writer.close()
    assert [(r.now, r.events) for r in read_journal(small_disk)][1] == batch


def test_a_new_segment_that_finds_no_room_is_begun_later(small_disk: Path) -> None:
    writer = JournalWriter(small_disk, run_id="r", epoch=1, segment_bytes=10)
    writer.append(*big_batch(0))
    writer.sync()
    with filled(small_disk), pytest.raises(StorageError, match="No space left"):
        writer.append(*big_batch(1))
    assert segment_numbers(small_disk) == [1]
    writer.append(*big_batch(1))
    assert segment_numbers(small_disk) == [1, 2]
    writer.close()
    assert [record.now for record in read_journal(small_disk)] == [0.0, 1.0]


def test_a_checkpoint_without_room_leaves_the_one_before(small_disk: Path) -> None:
    store = CheckpointStore(small_disk, keep=1)
    store.save(b"first", Position(1, 10), 1.0)
    with filled(small_disk), pytest.raises(StorageError, match="No space left"):
        store.save(b"x" * 100_000, Position(1, 20), 2.0)
    assert [path.name for path in small_disk.iterdir()] == ["checkpoint-000001.h5"]
    loaded = store.newest(pytest.fail)
    assert loaded is not None
    assert loaded.snapshot == b"first"


def test_a_blob_without_room_leaves_nothing(small_disk: Path) -> None:
    blobs = DirectoryBlobs(small_disk)
    with pytest.raises(StorageError, match="No space left"):
        blobs.put("k", [np.zeros(ROOM, np.uint8)])
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


RESULTS_WITHOUT_ROOM = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_disk_full import StorageError, many_results
from mpiexec_runner.storage.results_file import write_results
try:
    write_results(many_results(), Path(sys.argv[1]))
except StorageError as error:
    print(error)
"""


def many_results() -> ResultTable:
    table = ResultTable()
    tasks = [TaskSpec(n, 1, b"") for n in range(20_000)]
    done = [Outcome(n, 1, Verdict.SUCCEEDED, 1.0, 1.0) for n in range(20_000)]
    kind = TaskKind(id=1, name="k", work=CallByName("m:f"))
    table.apply(
        Record(Position(1, 1), 1.0, [KindsRegistered((kind,)), TasksSubmitted(tasks), TasksFinished(1, done)])
    )
    return table


def test_results_without_room_leave_the_old_file_and_the_process_in_order(small_disk: Path) -> None:
    path = small_disk / "results.h5"
    path.write_bytes(b"the old one")
    # In a process of its own, since HDF5 looks at what it could not write again when the process ends.
    script = RESULTS_WITHOUT_ROOM.format(here=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, timeout=400, check=False
    )
    assert "cannot write" in done.stdout, done
    assert done.returncode == 0, done
    assert [found.name for found in small_disk.iterdir()] == ["results.h5"]
    assert path.read_bytes() == b"the old one"


def test_a_limit_on_file_sizes_is_named_and_leaves_no_torn_frame(tmp_path: Path) -> None:
    """The same without the right to mount: RLIMIT_FSIZE makes write(2) short, then fail with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = JournalWriter(tmp_path, run_id="r", epoch=1)
    writer.append(*big_batch(0))
    batch = big_batch(1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, hard))
    try:
        with pytest.raises(StorageError, match="ulimit -f"):
            writer.append(*batch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "000001.journal").stat().st_size == writer.position().offset
    writer.append(*batch)
    writer.close()
    assert [record.now for record in read_journal(tmp_path)] == [0.0, 1.0]
