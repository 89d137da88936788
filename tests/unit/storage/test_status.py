"""The status file: what decides whether a run has succeeded."""

from pathlib import Path

import pytest

from mpiexec_runner.errors import StorageError
from mpiexec_runner.storage.status import RunPhase, RunStatus, find_status, utc_now, write_status


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    assert find_status(path) is None
    for status in (
        RunStatus(state=RunPhase.RUNNING, epoch=1, ranks=4, started=utc_now()),
        RunStatus(state=RunPhase.FAILED, epoch=2, ranks=3, exit_code=1, counts={"failed": 1}, why="1 failed"),
    ):
        write_status(path, status)
        assert find_status(path) == status


@pytest.mark.parametrize(
    ("content", "says"), [("{", "damaged"), ('{"version": 2}', "newer"), ("{}", "damaged")]
)
def test_what_cannot_be_read_is_an_error(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "status.json"
    path.write_text(content)
    with pytest.raises(StorageError, match=says):
        find_status(path)
