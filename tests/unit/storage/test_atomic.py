"""A file is replaced whole or not at all, and errors of the disk read like advice."""

import errno
import os
from pathlib import Path

import pytest

from mpiexec_runner.errors import StorageError
from mpiexec_runner.storage.atomic import (
    create_exclusively,
    replace_symlink,
    storage_error,
    write_bytes,
    write_text,
    written_aside,
)


def test_writing_replaces_and_leaves_no_traces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    write_bytes(path, b"ne", b"w")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(TypeError), written_aside(path) as temporary:
        temporary.write_text(["half"])  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_only_the_first_creates(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert create_exclusively(path, b"first")
    assert not create_exclusively(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    link = tmp_path / "latest"
    for target in ("a", "b"):
        replace_symlink(link, target)
        assert str(link.readlink()) == target
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StorageError, match="in the way"):
        replace_symlink(file, "a")
    assert sorted(tmp_path.iterdir()) == [file, link]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_an_error_names_path_reason_and_remedy(code: int) -> None:
    text = str(storage_error("write", Path("/some/file"), OSError(code, "")))
    assert text.startswith(f"cannot write /some/file: {os.strerror(code)}; ")


def test_a_missing_directory_is_an_error_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*gone/file: No such file"):
        write_text(tmp_path / "gone" / "file", "x")
