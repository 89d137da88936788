"""The tables of moves: what is in them passes, everything else is refused."""

import itertools
from collections.abc import Callable

import pytest
from core_env import Env, info, kind, submitted

from mpiexec_runner.core.invariants import check
from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Task, Worker
from mpiexec_runner.core.transitions import TASK_MOVES, WORKER_MOVES
from mpiexec_runner.errors import InvariantBroken
from mpiexec_runner.model.tasks import TaskSpec, TaskState
from mpiexec_runner.model.workers import WorkerState

TASK_PAIRS = list(itertools.product(TaskState, TaskState))
WORKER_PAIRS = list(itertools.product(WorkerState, WorkerState))
ENDS = [state for state in TaskState if state.terminal]


def names(pair: tuple[TaskState, TaskState] | tuple[WorkerState, WorkerState]) -> str:
    return f"{pair[0].name} to {pair[1].name}"


def state_with_task(state: TaskState) -> tuple[RunState, Task]:
    run = RunState()
    known = run.kinds[1] = Kind(kind())
    task = run.tasks[1] = Task(TaskSpec(1, 1, b""), known, state)
    run.counts[state] += 1
    if state is TaskState.READY:
        run.ready.push(task)
    return run, task


@pytest.mark.parametrize("pair", TASK_PAIRS, ids=names)
def test_moves_of_a_task(pair: tuple[TaskState, TaskState]) -> None:
    before, after = pair
    run, task = state_with_task(before)
    if pair in TASK_MOVES:
        run.move(task, after)
        assert task.state is after
        assert (run.counts[before], run.counts[after]) == (0, 1)
    else:
        with pytest.raises(InvariantBroken, match=rf"task 1 cannot go from {before.name} to {after.name}"):
            run.move(task, after)
        assert task.state is before
        assert run.counts[before] == 1


@pytest.mark.parametrize("pair", WORKER_PAIRS, ids=names)
def test_moves_of_a_worker(pair: tuple[WorkerState, WorkerState]) -> None:
    before, after = pair
    worker = Worker(3, info(), state=before, tasks={})
    if pair in WORKER_MOVES:
        RunState().move_worker(worker, after)
        assert worker.state is after
    else:
        with pytest.raises(InvariantBroken, match=rf"worker 3 cannot go from {before.name} to {after.name}"):
            RunState().move_worker(worker, after)
        assert worker.state is before


def test_nothing_leaves_success_and_other_ends_only_for_another_try() -> None:
    assert {(before, after) for before, after in TASK_MOVES if before in ENDS} == {
        (before, after)
        for before in set(ENDS) - {TaskState.SUCCEEDED}
        for after in (TaskState.READY, TaskState.WAITING)
    }


def test_every_move_says_why() -> None:
    assert all([*TASK_MOVES.values(), *WORKER_MOVES.values()])


@pytest.mark.parametrize("start", [TaskState.READY], ids=lambda s: s.name)
def test_every_state_of_a_task_can_be_reached(start: TaskState) -> None:
    reached, fresh = {start}, {start}
    while fresh:
        fresh = {after for before, after in TASK_MOVES if before in fresh} - reached
        reached |= fresh
    assert reached == set(TaskState)


# --- the checker itself: a state that is wrong in one way is found out


def spoil_counts(env: Env) -> None:
    env.state.counts[TaskState.READY] += 1


def spoil_holder(env: Env) -> None:
    env.task(1).worker = 2


def spoil_backlog(env: Env) -> None:
    env.state.workers[1].backlog_s += 1


def spoil_running(env: Env) -> None:
    env.state.workers[1].running += 1


def spoil_state(env: Env) -> None:
    env.task(1).state = TaskState.READY


def spoil_queue(env: Env) -> None:
    env.state.ready.push(env.task(2))


def spoil_worker(env: Env) -> None:
    env.state.workers[1].state = WorkerState.LOST


def spoil_attempt(env: Env) -> None:
    env.task(1).attempt = 0


def spoil_timer(env: Env) -> None:
    env.state.postpone(env.task(1), 5.0)
    env.state.timers.clear()


def spoil_id(env: Env) -> None:
    env.state.next_task = 2


def spoil_cancelling(env: Env) -> None:
    env.task(2).cancelling = True


def spoil_kind(env: Env) -> None:
    env.state.move(env.task(2), TaskState.CANCELLED)
    env.task(2).kind.spec = kind(keep=False)


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_counts,
        spoil_holder,
        spoil_backlog,
        spoil_running,
        spoil_state,
        spoil_queue,
        spoil_worker,
        spoil_attempt,
        spoil_timer,
        spoil_id,
        spoil_cancelling,
        spoil_kind,
    ],
)
def test_a_spoilt_state_is_found_out(spoil: Callable[[Env], None]) -> None:
    env = Env()
    env.join(1)
    env.on(submitted(1, 2))
    env.sent(env.run(1, {1: 1}))
    check(env.state)
    spoil(env)
    with pytest.raises(InvariantBroken):
        check(env.state)
