"""Real trouble with disks for tests: a tiny file system to fill, and a preloaded library that fails."""

import contextlib
import ctypes
import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

LIBC = ctypes.CDLL(None, use_errno=True)
SOURCE = Path(__file__).parents[1] / "preload" / "faulty_disk.c"
MNT_DETACH, MS_REMOUNT = 2, 32


class SmallDisk:
    """A tmpfs of its own."""

    def __init__(self, path: Path, size: str) -> None:
        self.path = path
        path.mkdir()
        if os.geteuid() != 0 or LIBC.mount(b"tmpfs", bytes(path), b"tmpfs", 0, f"size={size}".encode()):
            pytest.skip("needs the right to mount a tmpfs")

    def fill(self) -> None:
        """Let a file of somebody else's take all the room."""
        with (self.path / "somebody-elses").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def clear(self) -> None:
        (self.path / "somebody-elses").unlink()

    def grow(self, size: str) -> None:
        done = LIBC.mount(b"tmpfs", bytes(self.path), b"tmpfs", MS_REMOUNT, f"size={size}".encode())
        assert done == 0, os.strerror(ctypes.get_errno())

    def unmount(self) -> None:
        LIBC.umount2(bytes(self.path), MNT_DETACH)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], SmallDisk]]:
    """Makes a disk of a size."""
    made: list[SmallDisk] = []

    def make(size: str) -> SmallDisk:
        made.append(SmallDisk(tmp_path / "disk", size))
        return made[-1]

    yield make
    for disk in made:
        disk.unmount()


class FaultyDisk:
    """Lets calls of programs started with :attr:`variables` fail."""

    def __init__(self, library: Path, plan: Path) -> None:
        self._plan = plan
        self.variables = {"LD_PRELOAD": str(library), "FAULTY_DISK": str(plan)}

    def fail(self, call: str, path_part: str, error: str, wait_ms: int = 0) -> None:
        """From now on, ``call`` (write, fsync, create, utime) on such files fails."""
        code = getattr(errno, error) if error else 0
        lines = self._plan.read_text() if self._plan.exists() else ""
        beside = self._plan.with_suffix(".new")
        beside.write_text(f"{lines}{call} {code} {wait_ms} {path_part}\n")
        beside.replace(self._plan)

    def mend(self) -> None:
        self._plan.unlink()


@pytest.fixture(scope="session")
def faulty_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preloaded library, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = tmp_path_factory.mktemp("preload") / "faulty_disk.so"
    argv = [compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return library


@pytest.fixture
def faulty_disk(faulty_library: Path, tmp_path: Path) -> FaultyDisk:
    """A disk that fails when told to."""
    return FaultyDisk(faulty_library, tmp_path / "faults")
