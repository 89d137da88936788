"""A full disk is told apart from a task's own failures."""

import errno
import os
from pathlib import Path

import pytest

from mpiexec_runner.execute import calls, disk
from mpiexec_runner.model.tasks import FailureClass


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), FailureClass.STORAGE),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), FailureClass.STORAGE),
        (FileNotFoundError(errno.ENOENT, "no such file"), FailureClass.EXCEPTION),
        (OSError("without a number"), FailureClass.EXCEPTION),
        (ValueError("something else"), FailureClass.EXCEPTION),
    ],
)
def test_an_exception_of_a_call_that_found_no_room_is_the_disks(error, kind):
    assert calls.describe(error).kind is kind


def test_what_cannot_be_begun_for_the_disks_sake_is_worth_another_try():
    for code in (errno.ENOSPC, errno.EIO, errno.EROFS):
        assert disk.class_of(OSError(code, "no"), FailureClass.NOT_FOUND) is FailureClass.STORAGE
    assert disk.class_of(OSError(errno.ENOENT, "no"), FailureClass.NOT_FOUND) is FailureClass.NOT_FOUND


def test_a_disk_with_room_is_not_to_blame(tmp_path: Path):
    with (tmp_path / "out").open("wb") as file:
        assert not disk.has_no_room(file.fileno())
