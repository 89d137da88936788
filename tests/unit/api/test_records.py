"""Numbers about tasks that ran side by side."""

import pytest

from mpiexec_runner.api.records import Entry, statistics
from mpiexec_runner.model.tasks import Outcome, TaskState, Verdict


def entry(number, state, started=0.0, elapsed_s=0.0):
    made = Entry(f"t{number}", number, None)
    made.state = state
    if elapsed_s:
        made.outcome = Outcome(number, 1, Verdict.SUCCEEDED, started, elapsed_s)
    return made


def test_what_was_gained():
    entries = [
        entry(1, TaskState.SUCCEEDED, 0.0, 2.0),
        entry(2, TaskState.SUCCEEDED, 1.0, 2.0),
        entry(3, TaskState.FAILED, 2.0, 2.0),  # it begins as the first one ends
        entry(4, TaskState.SKIPPED),
        entry(5, TaskState.CANCELLED),
        entry(6, None),
        entry(7, None),
    ]
    stats = statistics(entries, 1, 4.0, 3)
    assert (stats.total, stats.completed, stats.failed, stats.skipped, stats.cancelled) == (7, 2, 1, 1, 1)
    assert (stats.running, stats.pending) == (1, 1)
    assert (stats.total_duration_s, stats.average_duration_s, stats.max_duration_s) == (6.0, 2.0, 2.0)
    assert (stats.speedup, stats.efficiency, stats.parallelism) == (1.5, 0.5, 2)


def test_nothing_yet():
    stats = statistics([], 0, 0.0, 3)
    assert (stats.total, stats.speedup, stats.average_duration_s, stats.parallelism) == (0, 0.0, 0.0, 0)


@pytest.mark.parametrize("running", [0, 5])
def test_what_runs_is_never_more_than_is_open(running):
    stats = statistics([entry(1, None)], running, 1.0, 1)
    assert stats.running + stats.pending == 1
