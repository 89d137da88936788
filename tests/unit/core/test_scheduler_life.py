"""Tasks from submission to their end: kinds, priorities, and what is remembered."""

from collections.abc import Callable

import pytest
from core_env import (
    LOST,
    Env,
    beat,
    began,
    cancel,
    cancelled,
    closed,
    died,
    failed,
    finished,
    joined,
    kind,
    note,
    ok,
    over,
    settle,
    submitted,
    welcome,
)

from mpiexec_runner.model.events import KindsRegistered, TasksSubmitted
from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.model.workers import WorkerState

EnvOf = Callable[..., Env]


def test_a_task_from_submission_to_its_result(env: Env) -> None:
    env.on(submitted(1))
    env.are(TaskState.READY, 1)
    env.join(1)
    env.sent(env.run(1, {1: 1}))
    env.are(TaskState.ASSIGNED, 1)
    env.on(began(1, (1, 1)))
    env.are(TaskState.RUNNING, 1)
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)))
    env.are(TaskState.SUCCEEDED, 1)
    env.on(closed())
    env.sent(over())


def test_a_short_task_is_only_told_finished(env: Env) -> None:
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)))


def test_a_failed_task_is_settled_with_its_failure(env: Env) -> None:
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, failed(1)))
    env.sent(settle(failed(1)))
    env.are(TaskState.FAILED, 1)


def test_results_of_one_message_are_settled_together(env: Env) -> None:
    env.join(1, slots=3)
    env.on(submitted(1, 2, 3))
    env.sent(env.run(1, {1: 1, 2: 1, 3: 1}))
    env.on(finished(1, ok(2), failed(1), ok(3)))
    env.sent(settle(ok(2), failed(1), ok(3)))


def test_a_worker_gets_nothing_before_it_answers_the_welcome(env: Env) -> None:
    env.on(submitted(1))
    env.on(joined(1))
    env.sent(note(1, "joined from node"), welcome(1))
    env.on(began(1))
    env.is_(1, WorkerState.JOINING)
    env.on(beat(1))
    env.sent(env.run(1, {1: 1}))


def test_a_freed_slot_gets_the_next_task_in_the_same_batch(env: Env) -> None:
    env.join(1)
    env.on(submitted(1, 2))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)), env.run(1, {2: 1}))


def test_placement_runs_once_per_batch(env: Env) -> None:
    env.join(1, slots=2)
    env.on(submitted(1), submitted(2), submitted(3))
    env.sent(env.run(1, {1: 1, 2: 1}))
    env.on(finished(1, ok(1)), finished(1, ok(2)), submitted(4))
    env.sent(settle(ok(1)), settle(ok(2)), env.run(1, {3: 1, 4: 1}))


def test_equal_workers_share_equally(env: Env) -> None:
    env.join(1, 2, 3)
    env.on(submitted(1, 2, 3, 4))
    env.sent(env.run(1, {1: 1}), env.run(2, {2: 1}), env.run(3, {3: 1}))
    env.are(TaskState.READY, 4)


# --- kinds and priorities


def test_urgent_kinds_go_first(env_of: EnvOf) -> None:
    env = env_of(kind(1, priority=1), kind(2, priority=9), kind(3, priority=5))
    env.on(submitted(1, kind=1), submitted(2, kind=2), submitted(3, kind=3))
    env.join(1)
    env.sent(env.run(1, {2: 1}))
    env.on(finished(1, ok(2)))
    env.sent(settle(ok(2)), env.run(1, {3: 1}))
    env.on(finished(1, ok(3)))
    env.sent(settle(ok(3)), env.run(1, {1: 1}))


def test_kinds_of_equal_priority_go_in_the_order_of_submission(env_of: EnvOf) -> None:
    env = env_of(kind(1), kind(2))
    env.on(submitted(1, kind=2), submitted(2, kind=1), submitted(3, kind=2), submitted(4, kind=1))
    env.join(1, slots=3)
    env.sent(env.run(1, {1: 1, 2: 1, 3: 1}))
    env.are(TaskState.READY, 4)


def test_a_message_holds_tasks_of_several_kinds(env_of: EnvOf) -> None:
    env = env_of(kind(1), kind(2, priority=9))
    env.on(submitted(1, 2, kind=1), submitted(3, 4, kind=2))
    env.join(1, slots=4)
    env.sent(env.run(1, {3: 1, 4: 1, 1: 1, 2: 1}))


@pytest.mark.parametrize("priority", [1, 5, 9], ids=["lower", "the same", "higher"])
def test_a_kind_told_of_again_with_another_priority_takes_its_ready_tasks_along(
    env_of: EnvOf, priority: int
) -> None:
    env = env_of(kind(1, priority=5), kind(2, priority=6))
    env.on(submitted(1, kind=1), submitted(2, kind=2), submitted(3, kind=1))
    env.on(KindsRegistered((kind(1, priority=priority),)))
    env.join(1, slots=3)
    env.sent(env.run(1, {1: 1, 3: 1, 2: 1} if priority > 6 else {2: 1, 1: 1, 3: 1}))


def test_a_kind_told_of_again_gets_the_priority_of_another_kind(env_of: EnvOf) -> None:
    env = env_of(kind(1, priority=5), kind(2, priority=6))
    env.on(submitted(1, kind=1), submitted(2, kind=2))
    env.on(KindsRegistered((kind(2, priority=5),)))
    env.join(1, slots=2)
    env.sent(env.run(1, {1: 1, 2: 1}))


def test_a_kind_told_of_again_keeps_its_measured_duration(env: Env) -> None:
    env.join(1)
    env.measure(0.001)
    env.on(KindsRegistered((kind(1, retries=2),)))
    known = env.state.kinds[1]
    assert (known.measured, known.mean_s, known.spec.retry.max) == (1, 0.001, 2)


def test_a_kind_told_of_again_that_nobody_wants_kept_forgets_its_ends(env: Env) -> None:
    env.join(1)
    env.on(submitted(1, 2))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)), env.run(1, {2: 1}))
    env.on(KindsRegistered((kind(1, keep=False),)))
    assert list(env.state.tasks) == [2]


# --- what is remembered


def test_tasks_that_nobody_wants_kept_are_forgotten_but_counted(env_of: EnvOf) -> None:
    env = env_of(kind(1, keep=False))
    env.join(1, slots=2)
    env.on(submitted(1, 2, 3))
    env.sent(env.run(1, {1: 1, 2: 1}))
    env.on(cancel(3))
    env.sent(cancelled(3))
    env.on(finished(1, ok(1), failed(2)))
    env.sent(settle(ok(1), failed(2)))
    assert not env.state.tasks
    counts = env.state.counts
    assert [counts[s] for s in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)] == [1, 1, 1]
    env.on(finished(1, ok(1), failed(2), ok(3)))
    assert env.state.superseded == 3
    env.on(closed())
    env.sent(over())


def test_ids_are_never_used_twice(env: Env) -> None:
    env.on(submitted(1, 2))
    env.on(submitted(2, 1))
    env.on(submitted(2, 3))
    env.on(TasksSubmitted([]))
    env.are(TaskState.READY, 1, 2, 3)
    assert env.state.next_task == 4


def test_numbers_may_have_gaps_and_come_in_any_order_within_an_event(env: Env) -> None:
    env.on(submitted(7, 3, 5))
    env.on(submitted(6, 9))
    env.join(1, slots=9)
    env.sent(env.run(1, {7: 1, 3: 1, 5: 1, 9: 1}))


def test_a_closed_run_without_tasks_is_complete_at_once(env: Env) -> None:
    env.on(closed())
    env.sent(over())


def test_a_run_that_is_over_asks_for_no_work_any_more(env: Env) -> None:
    env.on(closed())
    env.sent(over())
    env.on(submitted(1))
    env.join(1)
    env.on(died(1))
    env.sent(LOST)
