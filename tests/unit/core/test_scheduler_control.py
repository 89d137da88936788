"""What people ask of a run that goes on."""

from collections.abc import Callable

import pytest
from core_env import (
    Env,
    began,
    cancelled,
    end_attempts,
    ended,
    failed,
    finished,
    kind,
    note,
    ok,
    retract,
    returned,
    settle,
    submitted,
    task,
)

from mpiexec_runner.model.commands import SettleWithout
from mpiexec_runner.model.events import (
    CancelRequested,
    MoveRequested,
    PauseRequested,
    PriorityRequested,
    RebalanceRequested,
    RetryRequested,
    WorkerSwitched,
)
from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.model.workers import WorkerInfo

EnvOf = Callable[..., Env]


@pytest.fixture
def busy(env_of: EnvOf) -> Env:
    """Worker 1 runs task 2, and has 3 and 4 in line; nobody steals them."""
    env = env_of(work_stealing=False)
    env.join(1)
    env.measure(0.01)
    env.on(submitted(2, 3, 4))
    env.sent(env.run(1, {2: 1, 3: 1, 4: 1}))
    env.on(began(1, (2, 1)))
    return env


def test_nothing_begins_during_a_pause_and_what_runs_goes_on(env: Env) -> None:
    env.join(1)
    env.on(submitted(1, 2))
    env.sent(env.run(1, {1: 1}))
    env.on(PauseRequested(True))
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)))
    env.on(PauseRequested(False))
    env.sent(env.run(1, {2: 1}))


def test_a_task_that_was_made_more_urgent_goes_first(env: Env) -> None:
    env.join(1)
    env.on(submitted(1, 2, 3))
    env.sent(env.run(1, {1: 1}))
    env.on(PriorityRequested((3, 99), 6))
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)), env.run(1, {3: 1}))


def test_one_that_has_not_begun_comes_back_when_its_priority_changes(busy: Env) -> None:
    busy.on(PriorityRequested((2, 4), 6))
    busy.sent(retract(1, (4, 1)))
    busy.join(2)
    busy.on(returned(1, (4, 1)))
    busy.sent(busy.run(2, {4: 1}))


def test_a_failed_task_is_tried_once_more_and_what_was_skipped_with_it(env: Env) -> None:
    env.join(1)
    env.on(submitted(1), task(2, 1), task(3, 2))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, failed(1)))
    why = "it depends on task {}, which was {}"
    skipped = [(2, why.format(1, "not successful")), (3, why.format(2, "skipped"))]
    env.sent(settle(failed(1)), *[SettleWithout(id_, TaskState.SKIPPED, text) for id_, text in skipped])
    env.on(RetryRequested((1,)))
    env.sent(env.run(1, {1: 2}))
    env.on(finished(1, ok(1, 2)))
    env.sent(settle(ok(1, 2)), env.run(1, {2: 1}))
    env.on(finished(1, ok(2)))
    env.sent(settle(ok(2)), env.run(1, {3: 1}))


def test_what_was_skipped_because_of_several_is_tried_once(env: Env) -> None:
    env.join(1)
    env.on(submitted(1), task(2, 1), task(3, 1, 2), task(4, 2, 3))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, failed(1)))
    env._unclaimed.clear()
    env.are(TaskState.SKIPPED, 2, 3, 4)
    env.on(RetryRequested((1,)))
    env.sent(env.run(1, {1: 2}))
    for before, following in ((1, 2), (2, 3), (3, 4)):
        outcome = ok(before, 2 if before == 1 else 1)
        env.on(finished(1, outcome))
        env.sent(settle(outcome), env.run(1, {following: 1}))


def test_a_retry_of_all_leaves_out_what_was_cancelled_and_what_succeeded(env: Env) -> None:
    env.join(1)
    env.on(submitted(1, 2, 3))
    env.sent(env.run(1, {1: 1}))
    env.on(CancelRequested((3,)))
    env.sent(cancelled(3))
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)), env.run(1, {2: 1}))
    env.on(finished(1, failed(2)))
    env.sent(settle(failed(2)))
    env.on(RetryRequested())
    env.sent(env.run(1, {2: 2}))


def test_a_cancel_may_name_a_label(env_of: EnvOf) -> None:
    env = env_of(kind(1, labels=("draft",)), kind(2))
    env.join(1)
    env.on(submitted(1), submitted(2, 3, kind=2), submitted(4))
    env.sent(env.run(1, {1: 1}))
    env.on(CancelRequested(None, "draft"))
    env.sent(cancelled(4), end_attempts(1, (1, 1)))
    env.on(finished(1, ended(1)))
    env.sent(settle(ended(1)), env.run(1, {2: 1}))


def test_a_task_that_was_moved_waits_for_its_worker(env: Env) -> None:
    env.join(1, 2)
    env.on(submitted(1, 2, 3))
    env.sent(env.run(1, {1: 1}), env.run(2, {2: 1}))
    env.on(MoveRequested(3, 2))
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)))
    env.on(finished(2, ok(2)))
    env.sent(settle(ok(2)), env.run(2, {3: 1}))


def test_a_task_that_has_not_begun_is_moved_and_one_that_runs_is_not(busy: Env) -> None:
    busy.join(2)
    busy.on(MoveRequested(4, 2), MoveRequested(2, 2))
    busy.sent(retract(1, (4, 1)))
    busy.on(returned(1, (4, 1)))
    busy.sent(busy.run(2, {4: 1}))


def test_all_that_has_not_begun_is_placed_anew(busy: Env) -> None:
    busy.join(2)
    busy.on(RebalanceRequested())
    busy.sent(retract(1, (3, 1), (4, 1)))
    busy.on(returned(1, (3, 1), (4, 1)))
    busy.sent(busy.run(2, {3: 1}), busy.run(1, {4: 1}))


def test_a_disabled_worker_gives_back_what_has_not_begun(busy: Env) -> None:
    busy.join(2)
    busy.on(WorkerSwitched(1, False, "noisy"))
    busy.sent(note(1, "disabled by hand: noisy"), retract(1, (3, 1), (4, 1)))
    busy.on(returned(1, (3, 1), (4, 1)))
    busy.sent(busy.run(2, {3: 1, 4: 1}))
    busy.on(finished(1, ok(2)))
    busy.sent(settle(ok(2)))
    busy.on(finished(2, ok(3), ok(4)), WorkerSwitched(2, False))
    busy.sent(settle(ok(3), ok(4)), note(2, "disabled by hand"))
    busy.on(submitted(5))
    busy.on(WorkerSwitched(1, True))
    busy.sent(note(1, "enabled"), busy.run(1, {5: 1}))
    busy.on(WorkerSwitched(1, False, "it leads now", by_hand=False))
    busy.sent(note(1, "it leads now"), retract(1, (5, 1)))


def test_one_enabled_worker_opens_all_of_its_excluded_host(env_of: EnvOf) -> None:
    env = env_of(exclude_after=1)
    for worker, host in ((1, "a"), (2, "a"), (3, "b")):
        env.arrive(worker, WorkerInfo(host, worker))
    env.on(submitted(1, 2, 3, 4, 5, 6))
    env.sent(env.run(1, {1: 1}), env.run(2, {2: 1}), env.run(3, {3: 1}))
    env.on(finished(1, failed(1)))
    env.sent(settle(failed(1)), env.run(1, {4: 1}))
    env.on(finished(3, ok(3)))
    env.sent(settle(ok(3)), env.run(3, {5: 1}))
    env.on(finished(2, failed(2)))
    why = "excluded: 2 tasks in a row failed on a"
    env.sent(note(1, why), retract(1, (4, 1)), note(2, why), settle(failed(2)))
    env.on(finished(1, ok(4)))
    env.sent(settle(ok(4)))
    env.on(submitted(7), WorkerSwitched(2, True))
    env.sent(note(2, "enabled"), note(1, "enabled"), env.run(1, {6: 1}), env.run(2, {7: 1}))
