"""A run directory is made whole or not at all, for its owner alone, and recognised again."""

import os
from pathlib import Path

import pytest

from mpiexec_runner.errors import StorageError, UserError
from mpiexec_runner.storage import rundir
from mpiexec_runner.storage.rundir import RunDirectory, default_name


def test_the_layout_is_there_and_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o277)
    try:
        os.umask(0)
        made = RunDirectory.create(tmp_path / "runs", "lattice", config="seed: 0\n")
    finally:
        os.umask(before)
    assert made.path.stat().st_mode & 0o777 == 0o700
    for folder in (
        made.journal,
        made.checkpoints,
        made.blobs,
        made.tasks,
        made.logs,
        made.reports,
        made.control,
    ):
        assert folder.is_dir()
        assert folder.stat().st_mode & 0o777 == 0o700
    assert made.read_config() == "seed: 0\n"
    assert made.notes == []


def test_two_in_one_second_do_not_share(tmp_path: Path) -> None:
    made = [RunDirectory.create(tmp_path, "a").path for _ in range(4)]
    assert len(set(made)) == 4
    assert (tmp_path / "latest").resolve() == made[-1]
    assert str((tmp_path / "latest").readlink()) == made[-1].name
    assert sorted(tmp_path.iterdir()) == sorted([*made, tmp_path / "latest"])


def test_a_name_of_a_task_or_time_cannot_escape(tmp_path: Path) -> None:
    for name in ("../x", "a/b", "", ".hidden", "-n"):
        with pytest.raises(UserError, match="cannot name a directory"):
            RunDirectory.create(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_an_exact_directory_may_be_new_or_empty(tmp_path: Path) -> None:
    new, empty = tmp_path / "new", tmp_path / "empty"
    empty.mkdir()
    for path in (new, empty):
        assert RunDirectory.create(tmp_path, "a", exact=path).path == path
        assert RunDirectory.open(path).path == path
    assert sorted(tmp_path.iterdir()) == [empty, new]


def test_an_exact_directory_in_use_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "thesis.tex").touch()
    with pytest.raises(UserError, match="not empty"):
        RunDirectory.create(tmp_path, "a", exact=used)
    run = RunDirectory.create(tmp_path, "a", exact=tmp_path / "run").path
    with pytest.raises(UserError, match="resume it"):
        RunDirectory.create(tmp_path, "a", exact=run)
    assert sorted(tmp_path.iterdir()) == [run, used]


def test_a_creation_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("no room")

    monkeypatch.setattr(rundir, "write_text", refuse)
    with pytest.raises(StorageError, match="no room"):
        RunDirectory.create(tmp_path, "a")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_directory_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for base, exact in ((file, None), (file / "runs", None), (tmp_path, file / "run")):
        with pytest.raises(UserError, match=r"file.* is no directory: choose another one"):
            RunDirectory.create(base, "name", exact=exact)
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_called_latest_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "latest").write_text("mine")
    made = RunDirectory.create(tmp_path, "a")
    assert "in the way" in made.notes[0]
    assert (tmp_path / "latest").read_text() == "mine"


def test_opening_follows_latest_and_refuses_what_is_no_run(tmp_path: Path) -> None:
    made = RunDirectory.create(tmp_path, "a")
    assert RunDirectory.open(tmp_path / "latest").path == made.path
    with pytest.raises(UserError, match=r"not a run directory.*did you mean .*latest"):
        RunDirectory.open(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        RunDirectory.open(tmp_path / "gone")


@pytest.mark.parametrize(
    ("task", "name", "expected"),
    [
        (1, "", "0000-0999/task_0001"),
        (999, "task_0999", "0000-0999/task_0999"),
        (1000, "", "1000-1999/task_1000"),
        (123456, "prep", "123000-123999/prep"),
        (7, "task_0001", "0000-0999/task_0007-task_0001"),
        (7, "a/../b", "0000-0999/task_0007-a_.._b"),
        (7, "..", "0000-0999/task_0007-.."),
        (7, "-rf", "0000-0999/task_0007--rf"),
    ],
)
def test_each_task_has_a_directory_of_its_own(task: int, name: str, expected: str) -> None:
    run = RunDirectory(Path("/runs/r"))
    assert run.task_dir(task, name) == Path("/runs/r/tasks") / expected


def test_default_names_sort() -> None:
    assert default_name(7) == "task_0007"
