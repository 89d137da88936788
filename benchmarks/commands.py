"""Commands that do nothing, per second, two at a time.

What all run is ``/bin/true``. The time for starting each system is left out, for ours by its own record: from
the first command's start to the last one's end.
"""

import functools
import sys
from collections.abc import Mapping
from pathlib import Path

import h5py

from benchmarks.measure import (
    RANKS,
    Found,
    Timing,
    finish,
    in_turns,
    needs_package,
    needs_program,
    numbers,
    python,
    scratch,
    wall_s,
)
from benchmarks.report import Missing, Row, compare
from mpiexec_runner.storage.journal_reader import read_journal
from mpiexec_runner.storage.rundir import RunDirectory

KEPT, NOT_KEPT = "ours, task_dirs", "ours, no task_dirs"
HYPERQUEUE, HYPERQUEUE_KEPT = "HyperQueue", "HyperQueue, output in files"
TIMES_HYPERQUEUE = 3.0
SLOTS = RANKS - 1


def commands(timing: Timing) -> list[Row]:
    """Rates of commands."""
    many, fewer = timing.scaled(10_000), timing.scaled(2_000)
    with scratch() as folder:
        as_list = _write(folder / "list.jsonl", '{"command": ["/bin/true"]}', many)
        as_lines = _write(folder / "lines.txt", "/bin/true", many)
        for_parallel = _write(folder / "parallel.txt", "/bin/true", fewer)
        one = _write(folder / "one.txt", "/bin/true", 1)
        contestants = {
            KEPT: functools.partial(_ours, as_list, task_dirs=True),
            "ours, task_dirs, by the shell": functools.partial(_ours, as_lines, task_dirs=True),
            HYPERQUEUE_KEPT: functools.partial(_hyperqueue, fewer, "files"),
            NOT_KEPT: functools.partial(_ours, as_list, task_dirs=False),
            HYPERQUEUE: functools.partial(_hyperqueue, fewer),
            "GNU Parallel": functools.partial(_parallel, for_parallel, one, fewer),
            "bare subprocess.Popen": functools.partial(python, "benchmarks.contestants.popen_loop", many),
        }
        found = in_turns(contestants, timing.rounds)
    wholes = {name: told for name, told in found.items() if name.startswith("ours")}
    kept = {name: told for name, told in found.items() if "files" in name or ", task_dirs" in name}
    others = {name: told for name, told in found.items() if name not in kept}

    def rows(what: str, those: Mapping[str, list[Found] | Missing], ours: str, other: str) -> list[Row]:
        rates = numbers(those, "rate")
        return compare(what, "commands/s", rates, ours=ours, targets={other: TIMES_HYPERQUEUE})

    return [
        *rows("no-op commands, 2 slots, a directory and output files each", kept, KEPT, HYPERQUEUE_KEPT),
        *rows("no-op commands, 2 slots, no files", others, NOT_KEPT, HYPERQUEUE),
        *compare("same, whole run without launch", "commands/s", numbers(wholes, "whole_rate"), ours=KEPT),
    ]


def _write(path: Path, line: str, count: int) -> Path:
    path.write_text(f"{line}\n" * count)
    return path


def _ours(tasks: Path, *, task_dirs: bool) -> Found:
    """Two rates: from the first start to the last end, and from the first event on record to the last."""
    with scratch() as folder:
        config = folder / "run.yaml"
        config.write_text(
            f"name: bench\ntasks: {{file: {tasks}}}\nrun: {{task_dirs: {str(task_dirs).lower()}}}\n"
        )
        run_dir = folder / "run"
        runner = [sys.executable, "-m", "mpiexec_runner", "run", str(config)]
        finish([*runner, "-n", str(RANKS), "--run-dir", str(run_dir)], folder=folder)
        directory = RunDirectory.open(run_dir)
        with h5py.File(directory.results) as file:
            started, ended = file["tasks/started"][...], file["tasks/ended"][...]
        times = [record.now for record in read_journal(directory.journal)]
    count = len(started)
    return {"rate": count / (ended.max() - started.min()), "whole_rate": count / (times[-1] - times[0])}


def _hyperqueue(count: int, *how: str) -> Found:
    needs_package("hyperqueue")
    return python("benchmarks.contestants.hyperqueue_cluster", count, *how)


def _parallel(tasks: Path, one: Path, count: int) -> Found:
    """The time of a run with a single command counts as that of starting."""
    needs_program("parallel")
    argv = ["parallel", "--will-cite", f"-j{SLOTS}"]
    start_s = wall_s(argv, stdin=one)
    return {"rate": (count - 1) / (wall_s(argv, stdin=tasks) - start_s)}
