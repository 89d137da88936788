"""Programs that use ParallelExecutor, as users start them: under the launcher, and alone."""

import os
import subprocess
import sys

import pytest

from mpiexec_runner.app.launch import launch_command
from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.transport.mpi_library import find_library

pytestmark = pytest.mark.launches

SCRIPT = """
import numpy as np
from mpiexec_runner import ParallelExecutor

def set_up(value):
    global FACTOR
    FACTOR = value

def scaled(x):
    return FACTOR * x

def total(array):
    return float(array.sum())

if __name__ == "__main__":
    with ParallelExecutor(initializer=set_up, initargs=(3,)) as executor:
        print("first", list(executor.map(scaled, range(4))))
    with ParallelExecutor(run_dir="kept") as executor:
        offset = 10
        print("second", list(executor.map(lambda x: x + offset, range(3))))
        arrays = (np.ones(100_000) for _ in range(40))
        print("third", sum(executor.map(total, arrays, buffersize=4)))
        print("left", len(executor._session._blobs))
    print("rank 0 goes on")
"""
EXPECTED = [
    "first [0, 3, 6, 9]",
    "second [10, 11, 12]",
    "third 4000000.0",
    "left 0",
    "rank 0 goes on",
]


def start(environ: dict[str, str], ranks: int) -> tuple[list[str], dict[str, str]]:
    """How ``script.py`` is started on so many ranks; 0: without a launcher."""
    program = [sys.executable, "script.py"]
    if not ranks:
        return program, environ
    launcher = find_launcher(find_library(), "auto", os.environ)
    plan = launch_command(launcher, ranks, [], environ, cores=64)
    return [*plan.argv[: plan.argv.index(sys.executable)], *program], plan.environ


@pytest.mark.parametrize("ranks", [0, 1, 3])
def test_a_script_runs_its_body_on_rank_0_only(tmp_path, environ, ranks):
    (tmp_path / "script.py").write_text(SCRIPT)
    argv, env = start(environ, ranks)
    ended = subprocess.run(
        argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=400, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == EXPECTED
    status = subprocess.run(
        [sys.executable, "-m", "mpiexec_runner", "results", "kept", "--format", "csv"],
        cwd=tmp_path, capture_output=True, text=True, timeout=400, check=True,
    )  # fmt: skip
    assert status.stdout.count("succeeded") == 43
    assert (tmp_path / "kept" / "results.h5").exists()


@pytest.mark.parametrize("ranks", [0, 3])
def test_what_was_submitted_is_finished_at_the_end_of_the_program(tmp_path, environ, ranks):
    (tmp_path / "script.py").write_text(
        "from pathlib import Path\n"
        "from mpiexec_runner import ParallelExecutor\n"
        "if __name__ == '__main__':\n"
        "    executor = ParallelExecutor()\n"
        "    for n in range(6):\n"
        "        executor.submit(lambda n: Path(f'done{n}').touch(), n)\n"
        "    executor.shutdown(wait=False)\n"
    )
    argv, env = start(environ, ranks)
    ended = subprocess.run(argv, cwd=tmp_path, env=env, timeout=400, check=False)
    assert ended.returncode == 0
    assert len(list(tmp_path.glob("done*"))) == 6


def test_a_rank_0_that_cannot_begin_lets_the_others_go(tmp_path, environ):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    (tmp_path / "script.py").write_text(
        "from mpiexec_runner import ParallelExecutor\n"
        "with ParallelExecutor(run_dir='taken') as executor:\n"
        "    pass\n"
    )
    argv, env = start(environ, 3)
    ended = subprocess.run(
        argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=400, check=False
    )
    assert ended.returncode != 0
    assert "not empty" in ended.stderr
