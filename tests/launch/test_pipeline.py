"""The examples of patterns, under the launcher and alone, as their first lines say. They check themselves."""

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from mpiexec_runner.app.launch import launch_command
from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.app.world import launched_ranks
from mpiexec_runner.transport.mpi_library import find_library

CONFIGS = Path(__file__).parents[2] / "configs"
WITHIN_S = 400
SAID = {
    "pipeline_race.py": "2666666668140000000203 = 33333333343 * 80000000021\n",
    "progressive_analysis.py": "0.7468 +- 0.0002 after 3 batches\n",
    "adaptive_sweep.py": "lowest at (3.00, 2.00) with 0.0001, after 294 points\n",
    "staged_workflow.py": "13 tasks, order of convergence 2.00\n"
    "alarm: skipped, it was to run only after a failure, and nothing failed\n",
    "bounded_submission.py": "400 blocks, never more than 8 under way: 103740000\n",
}

pytestmark = [
    pytest.mark.launches,
    pytest.mark.skipif(launched_ranks(os.environ) is not None, reason="a rank cannot launch ranks"),
]


def command(program: list[str], ranks: int, environ: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """What starts a program on so many ranks, and with which environment; 0: without a launcher."""
    argv = [sys.executable, *program]
    if not ranks:
        return argv, environ
    plan = launch_command(find_launcher(find_library(), "auto", os.environ), ranks, [], environ, cores=64)
    return [*plan.argv[: plan.argv.index(sys.executable)], *argv], dict(plan.environ)


def run(program: list[str], ranks: int, directory: Path, environ: dict[str, str]) -> str:
    """What a program says, on so many ranks; 0: without a launcher."""
    argv, environ = command(program, ranks, environ)
    ended = subprocess.run(
        argv,
        cwd=directory,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize("ranks", [0, 4])
@pytest.mark.parametrize("name", SAID)
def test_a_pattern(name: str, ranks: int, tmp_path: Path, environ: dict[str, str]) -> None:
    assert run([str(CONFIGS / name)], ranks, tmp_path, environ) == SAID[name]


@pytest.mark.parametrize("ranks", [0, 3])
def test_optuna_proposes_and_goes_on(ranks: int, tmp_path: Path, environ: dict[str, str]) -> None:
    program = [str(CONFIGS / "optuna_sampler.py"), "study.log"]
    said = run(program, ranks, tmp_path, environ)
    if importlib.util.find_spec("optuna") is None:
        assert said.startswith("skipped: optuna is not installed")
        pytest.skip("optuna is not installed")
    assert said.startswith("60 new trials, 60 in all")
    assert run(program, ranks, tmp_path, environ).startswith("0 new trials, 60 in all")


def kill_when(process: subprocess.Popen[bytes], so: Callable[[], bool]) -> None:
    """SIGKILL to a program and all below it as soon as something is so."""
    give_up = time.monotonic() + WITHIN_S
    while not so() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.002)
    head = psutil.Process(process.pid)
    family = [head, *head.children(recursive=True)]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait(WITHIN_S)


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="optuna is not installed")
@pytest.mark.parametrize("ranks", [0, 3])
def test_a_study_that_was_killed_goes_on(ranks: int, tmp_path: Path, environ: dict[str, str]) -> None:
    program, study = [str(CONFIGS / "optuna_sampler.py"), "study.log"], tmp_path / "study.log"
    argv, variables = command(program, ranks, environ)
    process = subprocess.Popen(
        argv, cwd=tmp_path, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    # Each trial that has ended is a line with its value.
    kill_when(process, lambda: study.exists() and study.read_text().count('"values":[') >= 5)
    assert process.returncode != 0, "it was killed too late"
    said = run(program, ranks, tmp_path, environ)
    new, told = said.split(" ", 1)
    assert told.startswith("new trials, 60 in all")
    assert 0 < int(new) <= 55


FAILS = """
from mpiexec_runner import TaskPipeline
if __name__ == "__main__":
    with TaskPipeline() as pipeline:
        name = pipeline.submit_task(lambda: 1 // 0)
        pipeline.submit_task("touch done", depends_on=name, when="any")
        pipeline.get_result(name)
"""


@pytest.mark.parametrize("ranks", [0, 3])
def test_a_program_that_fails_ends_all_ranks_with_its_error(
    ranks: int, tmp_path: Path, environ: dict[str, str]
) -> None:
    (tmp_path / "script.py").write_text(FAILS)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run(["script.py"], ranks, tmp_path, environ)
    assert (tmp_path / "done").exists()
