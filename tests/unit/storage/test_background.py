"""Jobs of the disk in a thread of their own."""

import threading
from pathlib import Path

import pytest

from mpiexec_runner.storage.background import OneAtATime
from mpiexec_runner.storage.journal import JournalWriter
from mpiexec_runner.storage.port import Position


@pytest.fixture
def jobs() -> OneAtATime:
    return OneAtATime("test")


def test_a_job_is_done_beside_the_caller(jobs):
    gate, ran = threading.Event(), []

    def job() -> None:
        assert gate.wait(30)
        ran.append(threading.current_thread().name)

    assert not jobs.busy
    jobs.begin(job)
    assert jobs.busy
    gate.set()
    jobs.wait()
    assert not jobs.busy
    assert jobs.done
    assert ran == ["test"]
    assert jobs.take_error() is None


def test_what_a_job_raised_is_told_once_and_the_next_one_may_do_better(jobs):
    def fail() -> None:
        raise OSError("no")

    jobs.begin(fail)
    jobs.wait()
    assert jobs.busy, "what it raised has not been looked at"
    assert not jobs.done
    assert str(jobs.take_error()) == "no"
    assert jobs.take_error() is None
    assert not jobs.busy
    jobs.begin(lambda: None)
    jobs.wait()
    assert jobs.done


def test_a_position_is_held_when_it_was_synced_in_whichever_segment(tmp_path: Path, batch):
    writer = JournalWriter(tmp_path, run_id="r", epoch=1, segment_bytes=200, fsync_s=60.0)
    places = []
    for number in range(5):
        writer.append(*batch(number))
        places.append(writer.position())
        assert writer.hold(places[-1])
    assert len({place.segment for place in places}) > 1
    assert all(writer.hold(place) for place in places)
    assert not writer.hold(places[-1]._replace(offset=places[-1].offset + 1))
    writer.close()


def test_a_position_that_moved_to_another_segment_is_not_held(tmp_path: Path, batch, monkeypatch):
    """After a failed fsync the journal goes on from what is known to be on disk: the place is no more."""
    writer = JournalWriter(tmp_path, run_id="r", epoch=1, fsync_s=60.0)
    writer.append(*batch(0))
    assert writer.hold(writer.position())
    safe = writer.position()
    writer.append(*batch(1))
    lost = writer.position()

    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", refuse)
        assert not writer.hold(lost)
    with pytest.raises(Exception, match="Input/output error"):
        writer.append(*batch(2))
    writer.append(*batch(2))
    assert writer.position() != lost
    assert writer.hold(safe)
    assert not writer.hold(lost)
    writer.close()
    assert writer.hold(Position(2, 10))
