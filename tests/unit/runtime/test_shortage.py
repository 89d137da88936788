"""Which attempts that met a full disk are made again for nothing, and which count."""

import msgspec
import pytest

from mpiexec_runner.errors import StorageError, StorageFull
from mpiexec_runner.execute.ending import exit_failure
from mpiexec_runner.model.tasks import Failure, FailureClass, Outcome, Verdict
from mpiexec_runner.runtime.shortage import LENIENT, Shortage
from mpiexec_runner.runtime.standstill import Standstill

FULL = StorageFull("cannot write to /r: No space left on device")


class Disk:
    def __init__(self) -> None:
        self.trouble: StorageError | None = None

    def check(self) -> None:
        if self.trouble is not None:
            raise self.trouble


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def standstill() -> Standstill:
    return Standstill(lambda _: None)


@pytest.fixture
def shortage(disk: Disk, standstill: Standstill) -> Shortage:
    return Shortage(disk.check, standstill)


def failed(task: int, attempt: int = 1, elapsed_s: float = 0.1, kind=FailureClass.STORAGE) -> Outcome:
    return Outcome(task, attempt, Verdict.FAILED, 1.0, elapsed_s, failure=Failure(kind, "no room"))


def stand_still(standstill: Standstill, since: float, until: float) -> None:
    standstill.begin(FULL, since, lambda: None)
    assert standstill.try_again(until)


def test_where_the_run_has_room_a_full_disk_is_the_tasks_own(shortage):
    outcomes = [failed(1), Outcome(2, 1, Verdict.SUCCEEDED, 1.0, 0.1)]
    assert shortage.split(outcomes, 100.0) == (outcomes, [])


def test_where_the_run_has_none_it_is_asked_again_later(shortage, disk, standstill):
    disk.trouble = FULL
    other = failed(3, kind=FailureClass.EXIT_CODE)
    assert shortage.split([other], 100.0) == ([other], [])
    with pytest.raises(StorageFull):
        shortage.split([failed(1), other], 100.0)
    stand_still(standstill, 100.0, 110.0)
    assert shortage.split([failed(1), other], 110.1) == ([other], [(1, 1)])


def test_who_ran_while_there_was_none_is_let_off_and_who_began_later_is_not(shortage, standstill):
    stand_still(standstill, 100.0, 110.0)
    early, late = failed(1, elapsed_s=50.0), failed(2, elapsed_s=5.0)
    assert shortage.split([early, late], 130.0) == ([late], [(1, 1)])


def test_a_command_that_failed_without_a_word_meanwhile_is_let_off_and_no_other(shortage, disk, standstill):
    silent = msgspec.structs.replace(failed(1), exit_code=1, failure=exit_failure(1))
    spoke = msgspec.structs.replace(silent, task=2, failure=exit_failure(1, "no such file"))
    ended = msgspec.structs.replace(silent, task=3, exit_code=-9, failure=exit_failure(-9))
    assert shortage.split([silent, spoke], 90.0) == ([silent, spoke], [])
    stand_still(standstill, 100.0, 110.0)
    assert shortage.split([silent, spoke, ended], 110.1) == ([spoke, ended], [(1, 1)])
    disk.trouble = FULL
    assert shortage.split([spoke, ended], 130.0) == ([spoke, ended], [])
    with pytest.raises(StorageFull):
        shortage.split([msgspec.structs.replace(silent, task=4)], 130.0)


def test_nobody_is_let_off_twice_for_one_standstill(shortage, standstill):
    stand_still(standstill, 100.0, 110.0)
    assert shortage.split([failed(1)], 110.1)[1] == [(1, 1)]
    second = failed(1, 2)
    assert shortage.split([second], 110.2) == ([second], [])


def test_who_fills_the_disk_again_and_again_is_charged(shortage, disk, standstill):
    for attempt in range(1, LENIENT + 1):
        disk.trouble = FULL
        with pytest.raises(StorageFull):
            shortage.split([failed(1, attempt)], 100.0 * attempt)
        disk.trouble = None
        stand_still(standstill, 100.0 * attempt, 100.0 * attempt + 10.0)
        assert shortage.split([failed(1, attempt)], 100.0 * attempt + 10.0)[1] == [(1, attempt)]
    disk.trouble = FULL
    last = failed(1, LENIENT + 1)
    assert shortage.split([last], 1000.0) == ([last], [])


def test_a_disk_that_fails_otherwise_ends_the_run_and_charges_nobody(shortage, disk):
    disk.trouble = StorageError("cannot write to /r: Read-only file system")
    with pytest.raises(StorageError, match="Read-only"):
        shortage.split([failed(1)], 100.0)
