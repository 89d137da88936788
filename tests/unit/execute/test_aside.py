"""Directories of second attempts: which one counts, and how it takes the place of its task."""

from pathlib import Path

import pytest

from mpiexec_runner.execute import aside


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A task of which attempt 1 is in place and attempt 2 beside it; each has left its number."""
    directory = tmp_path / "0000-0999" / "mesh.v1"
    for number, path in [(1, directory), (2, Path(aside.aside_of(str(directory), 2)))]:
        path.mkdir(parents=True)
        (path / "number").write_text(str(number))
    return directory


def number(directory: str | Path) -> str:
    return Path(directory, "number").read_text()


def test_the_winner_counts_at_once_and_takes_the_place_later(place: Path) -> None:
    assert aside.place_of(str(place)) == str(place)
    assert aside.note_winner(str(place), 2)
    counts = aside.place_of(str(place))
    assert (number(counts), number(place)) == ("2", "1"), "the other one may still write"
    aside.put_in_place(str(place))
    # The path by which the winner knew its own directory holds for good.
    assert [number(path) for path in (place, counts, aside.place_of(str(place)))] == ["2"] * 3
    assert number(f"{place}~lost") == "1"


def test_an_attempt_in_place_is_no_winner_beside_it(place: Path) -> None:
    assert not aside.note_winner(str(place), 3)
    aside.put_in_place(str(place))
    assert number(aside.place_of(str(place))) == number(place) == "1"


@pytest.mark.parametrize("renamed", [False, True])
def test_what_was_cut_short_is_found_and_done_again(place: Path, renamed: bool) -> None:
    aside.note_winner(str(place), 2)
    if renamed:  # and then its process was killed
        place.rename(f"{place}~lost")
    assert list(aside.unfinished(place.parent.parent)) == [str(place)]
    aside.note_winner(str(place), 2)
    for _ in range(2):
        aside.put_in_place(str(place))
    assert (number(place), number(f"{place}~lost")) == ("2", "1")
    assert not list(aside.unfinished(place.parent.parent))


def test_a_later_life_of_a_task_may_win_once_more(place: Path) -> None:
    aside.note_winner(str(place), 2)
    aside.put_in_place(str(place))
    later = Path(aside.aside_of(str(place), 5))
    later.mkdir()
    (later / "number").write_text("5")
    aside.note_winner(str(place), 5)
    aside.put_in_place(str(place))
    assert number(place) == "5"
