"""The promise: kill -9 the whole job at any moment, resume with any number of ranks, and nothing is lost."""

import random
from collections import Counter
from pathlib import Path

import pytest

from mpiexec_runner.model.events import TasksFinished
from mpiexec_runner.model.tasks import Verdict
from mpiexec_runner.storage.journal_reader import read_journal
from mpiexec_runner.storage.results import columns, read_results
from mpiexec_runner.storage.rundir import RunDirectory

pytestmark = pytest.mark.launches

KILLS = 20
TASKS = 600
CONFIG = f"""
name: killed
sweep:
  call: killed_tasks:square
  parameters: {{i: {{range: [0, {TASKS}]}}}}
checkpoint: {{every_s: 0.5, keep: 2}}
"""
MODULE = """
import time
def square(i):
    time.sleep(0.002 * (i % 5))
    return i * i
"""


def journal_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in (directory / "journal").glob("*.journal"))


@pytest.mark.timeout(1800)
def test_twenty_kills_at_random_moments_lose_nothing_and_run_nothing_twice(runner, tmp_path):
    (tmp_path / "killed.yaml").write_text(CONFIG)
    (tmp_path / "killed_tasks.py").write_text(MODULE)
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    run_dir = tmp_path / "run"
    for life in range(KILLS):
        ranks = draw.choice((2, 3, 4))
        if life == 0:
            job = runner("run", "killed.yaml", "--run-dir", run_dir, "-n", ranks)
        else:
            job = runner("resume", run_dir, "-n", ranks)
        before = journal_bytes(run_dir)
        grown = draw.randrange(1, 2500)
        job.until(lambda: journal_bytes(run_dir) >= before + grown)  # noqa: B023 - used in this round only
        job.kill()
    job = runner("resume", run_dir, "-n", 3)
    assert job.wait() == 0, job.output

    table = columns(read_results(RunDirectory(run_dir)))
    assert table["i"] == list(range(TASKS))
    assert table["result"] == [i * i for i in range(TASKS)]
    assert set(table["state"]) == {"succeeded"}
    successes = Counter(
        outcome.task
        for record in read_journal(run_dir / "journal")
        for event in record.events
        if isinstance(event, TasksFinished)
        for outcome in event.outcomes
        if outcome.verdict is Verdict.SUCCEEDED
    )
    assert set(successes.values()) == {1}, "a task that was on record as done was run again"
    assert len(successes) == TASKS
