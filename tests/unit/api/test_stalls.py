"""When tasks wait for workers that somebody has disabled: it is said, once, and in time."""

import logging

import pytest

from mpiexec_runner.api.stalls import PATIENCE_S, StallWatch, why_stalled
from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Task, Worker
from mpiexec_runner.model.events import DrainRequested, StopReason
from mpiexec_runner.model.tasks import CallByName, Needs, TaskKind, TaskSpec
from mpiexec_runner.model.workers import WorkerInfo, WorkerState

BY_HAND = "disabled by hand"


def run_of(*off: str, needs: Needs | None = None, gpus: int = 0) -> RunState:
    """One ready task, and a worker for each reason to be disabled; the last one has the devices."""
    state = RunState()
    kind = Kind(TaskKind(id=1, name="k", work=CallByName("m:f"), needs=needs or Needs()))
    state.tasks[1] = Task(TaskSpec(1, 1, b""), kind)
    state.ready.push(state.tasks[1])
    for rank, why in enumerate(off, 1):
        info = WorkerInfo("node", rank, gpus=gpus if rank == len(off) else 0)
        state.workers[rank] = Worker(rank, info, state=WorkerState.ALIVE, tasks={}, disabled=why)
    return state


@pytest.mark.parametrize(
    ("state", "ranks"),
    [
        (run_of(BY_HAND, BY_HAND), "rank 1, 2 (disabled by hand)"),
        (run_of(BY_HAND, "stuck in the group of task 7"), "(disabled by hand; stuck in the group of task 7)"),
        (run_of("", BY_HAND, needs=Needs(gpus=1), gpus=1), "rank 2 (disabled by hand)"),
        (run_of("", BY_HAND, needs=Needs(ranks=2)), "rank 2 (disabled by hand)"),
        (run_of("", BY_HAND), None),
        (run_of(""), None),
        (run_of("excluded: 5 tasks in a row failed on node"), None),
        (run_of(BY_HAND, needs=Needs(gpus=1)), None),
        (run_of(), None),
    ],
)
def test_who_is_waited_for(state, ranks):
    told = why_stalled(state)
    assert ranks in told if ranks else not told


def test_a_run_that_stands_still_on_purpose_is_not_stalled():
    paused, stopping, at_end = run_of(BY_HAND), run_of(BY_HAND), run_of(BY_HAND)
    paused.paused = True
    stopping.drain = DrainRequested(StopReason.REQUEST)
    at_end.ready.clear(1.0)
    assert [why_stalled(state) for state in (paused, stopping, at_end)] == ["", "", ""]


def test_it_is_said_once_for_each_stall_and_not_at_once(caplog):
    watch, stalled = StallWatch(), run_of(BY_HAND)
    with caplog.at_level(logging.WARNING, "mpiexec_runner"):
        for now in (0.0, PATIENCE_S / 2):
            watch.look(stalled, now)
        assert not caplog.records
        for now in (PATIENCE_S, 2 * PATIENCE_S):
            watch.look(stalled, now)
        assert len(caplog.records) == 1
        watch.look(run_of(""), 3 * PATIENCE_S)
        for now in (4 * PATIENCE_S, 5 * PATIENCE_S):
            watch.look(stalled, now)
    assert len(caplog.records) == 2
