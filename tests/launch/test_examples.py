"""Every example in configs/ is run as its first lines say, and its results are looked at."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.app.world import launched_ranks
from mpiexec_runner.config.loading import load
from mpiexec_runner.transport.mpi_library import Vendor, find_library

CONFIGS = Path(__file__).parents[2] / "configs"
WITHIN_S = 400

pytestmark = [
    pytest.mark.launches,
    pytest.mark.skipif(launched_ranks(os.environ) is not None, reason="a rank cannot launch ranks"),
]


@pytest.fixture
def run(runner: Callable[..., Any], tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Runs an example to its end, all of it successful, and gives the table of its tasks."""

    def run_example(name: str, ranks: int, *options: str) -> list[dict[str, Any]]:
        started = runner("run", CONFIGS / name, "-n", ranks, "--run-dir", tmp_path / "run", *options)
        assert started.wait() == 0, started.output
        shown = runner("results", tmp_path / "run", "--format", "json")
        assert shown.wait() == 0, shown.output
        table: list[dict[str, Any]] = json.loads(shown.output)
        assert {task["state"] for task in table} == {"succeeded"}
        return table

    return run_example


def stdout_of(tmp_path: Path, task: str) -> str:
    return (tmp_path / "run" / "tasks" / "0000-0999" / task / "stdout").read_text()


def python(*arguments: object, directory: Path, environ: dict[str, str], under: tuple[str, ...] = ()) -> str:
    program = [*under, sys.executable, *map(str, arguments)]
    done = subprocess.run(
        program,
        cwd=directory,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_is_good(path: Path) -> None:
    load(path)


def test_digits_sweep(run: Any, tmp_path: Path, environ: dict[str, str]) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("pandas")
    table = run("digits_sweep.yaml", 4)
    assert len(table) == 108
    best = max(table, key=lambda task: task["result.accuracy"])
    assert best["result.accuracy"] > 0.985
    assert best["components"] > 8
    assert len({task["split_seed"] for task in table}) == 2
    said = python(CONFIGS / "digits_best.py", tmp_path / "run", directory=tmp_path, environ=environ)
    assert said.startswith("best by cross-validated accuracy:\n")
    assert "best for each number of components:" in said
    assert said.count("0.99") >= 3


def test_compress_sweep(run: Any, tmp_path: Path) -> None:
    table = run("compress_sweep.yaml", 3)
    packed = {}
    for task in table:
        size, small = map(int, stdout_of(tmp_path, task["name"]).split())
        assert size == task["lines"] * (task["digits"] + 3)
        packed[task["lines"], task["digits"], task["level"]] = small / size
        params = json.loads((tmp_path / "run/tasks/0000-0999" / task["name"] / "params.json").read_text())
        assert params == {name: task[name] for name in ("lines", "digits", "level")}
    assert len(packed) == 30
    assert packed[200_000, 4, 9] < packed[200_000, 4, 1] < 0.7
    assert packed[200_000, 2, 9] < packed[200_000, 8, 9]


def test_a_list_of_unlike_tasks(run: Any, tmp_path: Path) -> None:
    table = {task["name"]: task for task in run("tasks.yaml", 3)}
    assert stdout_of(tmp_path, "count").strip() == "6"
    assert stdout_of(tmp_path, "greet") == "Hello, O'Neill & sons!\n"
    assert table["root"]["result"] == pytest.approx(2**0.5)
    assert table["binomial"]["result"] == 120
    assert table["mean"]["result"] == 3.75
    assert table["flaky"]["attempts"] == 2
    assert stdout_of(tmp_path, "flaky") == "attempt 2\n"
    assert stdout_of(tmp_path, "limited").endswith("100000\n")
    assert len(stdout_of(tmp_path, "limited")) < 2048


def test_commands_from_a_file(run: Any, tmp_path: Path) -> None:
    table = run("commands.yaml", 2)
    said = [stdout_of(tmp_path, task["name"]) for task in table]
    assert said == ["the square of 12 is 144\n", "55\n", "apple\nfig\npear\n", "Linux\n/\n"]


@pytest.mark.parametrize("ranks", [0, 4])
def test_pi_by_an_executor(ranks: int, tmp_path: Path, environ: dict[str, str]) -> None:
    under: tuple[str, ...] = ()
    if ranks:
        launcher = find_launcher(find_library(), "mpiexec", os.environ)
        crowd = ("--oversubscribe",) if launcher.vendor is Vendor.OPEN_MPI else ()
        under = (str(launcher.path), *crowd, "-n", str(ranks))
    said = python(CONFIGS / "executor_pi.py", directory=tmp_path, environ=environ, under=under)
    assert said.startswith("pi = 3.14143 +- 0.00026 from 40,000,000 points"), said
    assert said.count("\n") == 1


def test_groups_of_ranks_multiply_matrices(run):
    table = {task["name"]: task for task in run("matrix_product.yaml", 4)}
    ranks = {name: task["result.ranks"] for name, task in table.items() if "small" not in name}
    assert ranks == {"pair-1": 2, "pair-2": 2, "three": 3}
    assert all(table[name]["result.deviation"] < 1e-10 for name in ranks)


def test_a_workflow_in_three_stages(run, tmp_path):
    assert len(run("workflow.yaml", 3)) == 16
    assert len(stdout_of(tmp_path, "report").splitlines()) == 6
