"""Which files in /dev/shm are an MPI job's own."""

import mmap
import os
from pathlib import Path

import pytest

from mpiexec_runner.execute.segments import find_segments, remove_segments


@pytest.fixture
def segment():
    """A file like those of Open MPI, mapped by this process."""
    path = Path(f"/dev/shm/sm_segment.test.0.{os.getpid():x}.0")
    path.write_bytes(bytes(mmap.PAGESIZE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        yield path
    path.unlink(missing_ok=True)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no /dev/shm here")
def test_what_is_mapped_is_found_and_removed_and_nothing_else(segment):
    other = segment.with_suffix(".1")
    other.touch()
    try:
        assert find_segments() == find_segments(os.getpid()) == {str(segment)}
        remove_segments(find_segments())
        assert not segment.exists()
        assert other.exists()
        assert find_segments() == set(), "it is mapped and has no name any more"
    finally:
        other.unlink()


def test_a_process_that_is_gone_has_none():
    assert find_segments(2**22 + 1) == set()
