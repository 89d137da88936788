"""The record: what an outcome costs to journal, how fast a journal is read again, how soon a run resumes."""

import functools
import shutil
import sys
from pathlib import Path

from benchmarks.measure import (
    RANKS,
    ContestantFailed,
    Found,
    Timing,
    in_turns,
    numbers,
    python,
    scratch,
    wall_s,
)
from benchmarks.report import Missing, Row, single

TASKS = 100_000
CONFIG = """
name: bench
sweep:
  call: benchmarks.contestants.work:no_op
  parameters:
    number: {{range: [0, {tasks}]}}
run: {{python_path: ["{root}"], dir: "{folder}"}}
"""


def record(timing: Timing) -> list[Row]:
    """Costs of the journal alone, in a process without MPI, and of a whole resume."""
    tasks = timing.scaled(TASKS)
    parts = {"journal": functools.partial(python, "benchmarks.journal", tasks)}
    told = in_turns(parts, timing.rounds)["journal"]
    with scratch() as folder:
        resumed = numbers(in_turns(_resumes(folder, tasks), timing.rounds), "seconds")
    rows = []
    units = {
        "append, one outcome a batch": "µs/outcome",
        "append, 100 outcomes a batch": "µs/outcome",
        "fsync of one batch": "µs",
        "replay of submitting and ending": "tasks/s",
    }
    for what, unit in units.items():
        rows.append(
            _row("journal", what, unit, told if isinstance(told, Missing) else [each[what] for each in told])
        )
    rows += [_row(f"{tasks:,} tasks, from a shell", what, "s", samples) for what, samples in resumed.items()]
    return rows


def _row(benchmark: str, contestant: str, unit: str, samples: list[float] | Missing) -> Row:
    if isinstance(samples, Missing):
        return Row(benchmark=benchmark, contestant=contestant, unit=unit, note=samples.why)
    return single(benchmark, contestant, unit, samples)


def _resumes(folder: Path, tasks: int) -> dict[str, functools.partial[Found]]:
    """What to time: a run, its resume when all is done, by the checkpoint and by the journal alone."""
    return {
        "run of one task (start and end)": functools.partial(_run, folder, "one", 1),
        "run": functools.partial(_run, folder, "run", tasks),
        "resume of the finished run": functools.partial(_resume, folder, checkpoints=True),
        "resume without its checkpoints": functools.partial(_resume, folder, checkpoints=False),
    }


def _run(folder: Path, name: str, tasks: int) -> Found:
    run_dir = folder / name
    shutil.rmtree(run_dir, ignore_errors=True)
    config = folder / f"{name}.yaml"
    config.write_text(CONFIG.format(tasks=tasks, root=Path.cwd(), folder=folder))
    return {"seconds": wall_s([*_runner("run"), str(config), "-n", str(RANKS), "--run-dir", str(run_dir)])}


def _resume(folder: Path, *, checkpoints: bool) -> Found:
    original, copy = folder / "run", folder / "copy"
    if not original.exists():
        raise ContestantFailed("there is no run to resume")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(original, copy)
    if not checkpoints:
        for path in (copy / "checkpoints").iterdir():
            path.unlink()
    return {"seconds": wall_s([*_runner("resume"), str(copy), "-n", str(RANKS)])}


def _runner(command: str) -> list[str]:
    return [sys.executable, "-m", "mpiexec_runner", command]
