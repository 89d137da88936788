"""While the disk is full: what is kept, when it is tried again, and what is told."""

import itertools

import pytest

from mpiexec_runner.errors import StorageError, StorageFull
from mpiexec_runner.model.messages import AnyMessage, Beat, Finished, Started
from mpiexec_runner.model.tasks import Outcome, Verdict
from mpiexec_runner.model.workers import Load
from mpiexec_runner.runtime.standstill import FIRST_PAUSE_S, LONGEST_PAUSE_S, Standstill
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.port import Packet

FULL = StorageFull("cannot write /r/journal: No space left on device; make room on that file system")


class Disk:
    """Refuses until told otherwise."""

    def __init__(self) -> None:
        self.trouble: StorageError | None = FULL
        self.asked = self.done = 0

    def write(self) -> None:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        self.done += 1


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def standstill(told: list[str], disk: Disk) -> Standstill:
    made = Standstill(told.append)
    made.begin(FULL, 100.0, disk.write, results=2)
    return made


def packet(source: int, *messages: AnyMessage) -> Packet:
    return Packet(source, codec.encode(messages), [])


def finished(task: int) -> Finished:
    return Finished([Outcome(task, 1, Verdict.SUCCEEDED, 1.0, 1.0)])


def test_it_is_told_when_it_begins_and_when_it_is_over(standstill, disk, told):
    assert standstill.is_on
    assert len(told) == 1
    assert "make room" in told[0]
    assert "nothing new begins" in told[0]
    disk.trouble = None
    assert standstill.try_again(100.0 + FIRST_PAUSE_S)
    assert told[1:] == ["there is room again after 0.2 s: the run goes on"]
    assert not standstill.is_on


def test_it_is_tried_again_in_growing_steps_and_told_once(standstill, disk, told):
    now, tries = 100.0, []
    while now < 200.0:
        now = standstill.due
        assert not standstill.try_again(now - 1e-3)
        asked = disk.asked
        assert not standstill.try_again(now)
        assert disk.asked == asked + 1
        tries.append(now)
    pauses = [after - before for before, after in itertools.pairwise(tries)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_S)
    assert len(told) == 1


def test_what_was_refused_is_done_once_and_in_order(standstill, disk):
    order = []

    def second() -> None:
        order.append(disk.done)

    standstill.begin(FULL, 101.0, second)
    disk.trouble = None
    assert standstill.try_again(101.0, at_once=True)
    assert (disk.done, order) == (1, [1])
    assert not standstill.try_again(500.0) or order == [1]


def test_a_trouble_that_waiting_does_not_cure_is_raised(standstill, disk):
    disk.trouble = StorageError("cannot write: Input/output error")
    with pytest.raises(StorageError, match="Input/output error"):
        standstill.try_again(101.0)


def test_of_heartbeats_the_last_of_each_rank_is_kept_and_all_else_in_order(standstill):
    started = packet(1, Started([(1, 1)]))
    one, two = packet(1, finished(1)), packet(2, finished(2))
    beats = [packet(rank, Beat(1, Load())) for rank in (1, 2, 1, 2, 1)]
    standstill.hear([beats[0], started, beats[1], one])
    standstill.hear([two, *beats[2:]])
    taken = standstill.take()
    assert taken[:3] == [started, one, two]
    assert {id(kept) for kept in taken[3:]} == {id(beats[3]), id(beats[4])}
    assert standstill.take() == []


def test_who_gives_up_says_what_is_lost(standstill):
    standstill.hear(
        [packet(1, finished(1), finished(2)), packet(2, Beat(1, Load())), Packet(3, b"nonsense", [])]
    )
    text = str(standstill.given_up())
    assert "4 results that came meanwhile are lost" in text
    assert "No space left on device" in text
    assert "all that finished before is on record" in text


def test_who_gives_up_and_loses_nothing_says_so(told):
    standstill = Standstill(told.append)
    standstill.begin(FULL, 1.0, lambda: None)
    assert "No result is lost" in str(standstill.given_up())
