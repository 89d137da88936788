"""When the directory of a second attempt takes the place of its task: after the loser's end, not before."""

from pathlib import Path

import pytest

from mpiexec_runner.core.state import RunState
from mpiexec_runner.execute.aside import aside_of, note_winner
from mpiexec_runner.model.tasks import Outcome, Verdict
from mpiexec_runner.runtime.places import Places
from mpiexec_runner.storage.rundir import RunDirectory


def outcome(attempt: int, verdict: Verdict = Verdict.SUCCEEDED) -> Outcome:
    return Outcome(1, attempt, verdict, 0.0, 1.0)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run whose task 1 has two attempts."""
    run = RunDirectory(tmp_path)
    place = run.task_dir(1)
    place.mkdir(parents=True)
    Path(aside_of(str(place), 2)).mkdir()
    return run


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def places(run: RunDirectory, notes: list[str]) -> Places:
    return Places(str(run.path), RunState(), notes.append)


def test_the_place_is_free_when_the_loser_has_ended(places: Places, run: RunDirectory) -> None:
    places.ending([(1, 1)])
    places.settled([outcome(2)])
    assert not run.task_dir(1).is_symlink()
    places.ended([outcome(1, Verdict.CANCELLED)])
    assert run.task_dir(1).readlink().name.endswith("~2")


def test_a_loser_that_tells_nothing_keeps_it_until_all_is_over(places: Places, run: RunDirectory) -> None:
    places.ending([(1, 1)])
    places.settled([outcome(2)])
    places.close()
    assert run.task_dir(1).is_symlink()


def test_without_a_loser_it_is_free_at_once(places: Places, run: RunDirectory) -> None:
    places.ending([(7, 1)])
    places.settled([outcome(2)])
    assert run.task_dir(1).is_symlink()


def test_a_first_attempt_that_wins_stays(places: Places, run: RunDirectory) -> None:
    places.ending([(1, 2)])
    places.settled([outcome(1)])
    places.close()
    assert not run.task_dir(1).is_symlink()


def test_the_next_life_does_what_was_left(places: Places, run: RunDirectory) -> None:
    note_winner(str(run.task_dir(1)), 2)
    places.begin()
    assert run.task_dir(1).is_symlink()


def test_what_cannot_be_done_is_said_and_ends_nothing(
    places: Places, run: RunDirectory, notes: list[str]
) -> None:
    Path(f"{run.task_dir(1)}~lost").mkdir()
    Path(f"{run.task_dir(1)}~lost", "in the way").touch()
    places.settled([outcome(2)])
    assert len(notes) == 1
    assert "task_0001 is not of the attempt that counts" in notes[0]
