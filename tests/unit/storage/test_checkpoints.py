"""Checkpoints: the newest that verifies counts, older ones are kept until then."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from mpiexec_runner.errors import StorageError
from mpiexec_runner.storage.checkpoint import CheckpointStore, find_checkpoint
from mpiexec_runner.storage.journal_reader import read_journal
from mpiexec_runner.storage.port import Position


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=3, epoch=2)
    for snapshot in (b"", b"state\x00", bytes(100_000)):
        path = store.save(snapshot, Position(3, 2**40), 12.5)
        loaded = store.newest(pytest.fail)
        assert loaded == (path, snapshot, Position(3, 2**40), 12.5, 2)


def test_the_newest_few_are_kept_and_leftovers_go(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint-000001.h5.1-a.tmp").touch()
    store = CheckpointStore(tmp_path, keep=2)
    for number in range(5):
        store.save(b"x", Position(1, number), 1.0)
    assert names(tmp_path) == ["checkpoint-000004.h5", "checkpoint-000005.h5"]


def test_plain_h5py_shows_what_it_is(tmp_path: Path) -> None:
    table = {"id": np.arange(3), "state": np.array([1, 4, 4], np.uint8)}
    path = CheckpointStore(tmp_path, keep=2).save(b"x", Position(1, 20), 7.0, table)
    with h5py.File(path) as file:
        assert file.attrs["segment"] == 1
        assert file.attrs["offset"] == 20
        assert list(file["tasks/id"]) == [0, 1, 2]
        assert list(file["tasks/state"]) == [1, 4, 4]


def damage_bytes(path: Path) -> None:
    whole = path.read_bytes()
    at = whole.index(b"newest!")
    path.write_bytes(whole[:at] + b"N" + whole[at + 1 :])


def damage_position(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["offset"] = 19


def damage_length(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def damage_all(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_bytes, damage_position, damage_length, damage_all])
def test_a_damaged_one_is_named_and_the_one_before_taken(tmp_path: Path, damage) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    store.save(b"before", Position(1, 10), 1.0)
    newest = store.save(b"newest!", Position(1, 20), 2.0)
    damage(newest)
    notes: list[str] = []
    loaded = store.newest(notes.append)
    assert loaded is not None
    assert loaded.snapshot == b"before"
    assert [str(newest) in note for note in notes] == [True]


def test_none_at_all_is_no_error(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path, keep=3).newest(pytest.fail) is None


def test_a_damaged_one_is_never_written_over(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    first = store.save(b"x", Position(1, 10), 1.0)
    damage_all(first)
    assert store.save(b"y", Position(1, 20), 1.0).name == "checkpoint-000002.h5"


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    store.save(b"x", Position(1, 10), 1.0)
    newest = store.save(b"y", Position(1, 20), 2.0)
    with h5py.File(newest, "r+") as file:
        file.attrs["version"] = 2
    with pytest.raises(StorageError, match=r"version 2.*newer"):
        store.newest(pytest.fail)


# --- written by a hub that had been followed


def test_one_of_a_fenced_hub_is_passed_over(tmp_path: Path, life, batch) -> None:
    """It noted a place in the journal that the next hub had already cut off."""
    checkpoints, journal = tmp_path / "c", tmp_path / "j"
    for directory in (checkpoints, journal):
        directory.mkdir()
    seen_by_the_next = life(journal, [batch(1), batch(2)], epoch=4)
    CheckpointStore(checkpoints, 3, 4).save(b"good", seen_by_the_next, 1.0)
    life(journal, [batch(4)], epoch=5, resume_at=seen_by_the_next)
    behind = seen_by_the_next._replace(offset=seen_by_the_next.offset + 100)
    fenced = CheckpointStore(checkpoints, 3, 4).save(b"fenced", behind, 2.0)
    notes: list[str] = []
    loaded = find_checkpoint(checkpoints, journal, notes.append)
    assert loaded is not None
    assert (loaded.snapshot, loaded.epoch) == (b"good", 4)
    assert [str(fenced) in note and "had been followed" in note for note in notes] == [True]


def test_one_whose_journal_was_lost_is_not_passed_over(tmp_path: Path, life, batch) -> None:
    """It is for the user to say that the run goes on without what is lost."""
    checkpoints, journal = tmp_path / "c", tmp_path / "j"
    for directory in (checkpoints, journal):
        directory.mkdir()
    end = life(journal, [batch(1), batch(2)], epoch=4)
    for epoch in (4, 5):
        CheckpointStore(checkpoints, 3, epoch).save(b"good", end, 1.0)
        (segment,) = journal.iterdir()
        segment.write_bytes(segment.read_bytes()[:-5])
        loaded = find_checkpoint(checkpoints, journal, pytest.fail)
        assert loaded is not None
        with pytest.raises(StorageError, match="before byte"):
            list(read_journal(journal, loaded.position))
