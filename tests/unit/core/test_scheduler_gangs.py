"""Tasks that run on several workers at once."""

from collections.abc import Callable

import pytest
from core_env import (
    Env,
    cancel,
    died,
    end_attempts,
    ended,
    failed,
    finished,
    kind,
    note,
    ok,
    returned,
    settle,
    submitted,
)

from mpiexec_runner.model.commands import RunGroup
from mpiexec_runner.model.tasks import Needs, TaskState

EnvOf = Callable[..., Env]


def group(env: Env, task: int, *workers: int, attempt: int = 1) -> RunGroup:
    return RunGroup(workers, env.task(task).spec, attempt)


@pytest.fixture
def pair(env_of: EnvOf) -> Env:
    """Task 1 runs on workers 1 and 2."""
    env = env_of(kind(1, needs=Needs(ranks=2)), kind(2, needs=Needs(ranks=3)), kind(3, expected_s=1.0))
    env.join(1, 2)
    env.on(submitted(1))
    env.sent(group(env, 1, 1, 2))
    return env


def test_it_succeeds_when_all_have_told_and_the_first_has_the_value(pair: Env) -> None:
    pair.on(finished(1, ok(1)))
    pair.are(TaskState.ASSIGNED, 1)
    pair.on(finished(2, ok(1, elapsed_s=9.0)))
    pair.sent(settle(ok(1)))


def test_one_failure_ends_the_others_and_counts_once(pair: Env) -> None:
    pair.on(finished(2, failed(1)))
    pair.sent(end_attempts(1, (1, 1)))
    pair.on(finished(1, ended(1)))
    pair.sent(settle(failed(1)))
    assert [pair.state.workers[id_].failed for id_ in (1, 2)] == [0, 1]


def test_a_member_lost_ends_it_for_the_others_and_it_is_tried_again_whole(pair: Env) -> None:
    pair.on(died(2))
    pair.sent(note(2, "lost: rank died"), end_attempts(1, (1, 1)))
    pair.are(TaskState.READY, 1)
    pair.join(3)
    pair.sent(group(pair, 1, 1, 3, attempt=2))


def test_a_late_success_of_one_rank_is_not_that_of_all(pair: Env) -> None:
    pair.on(died(1))
    pair.sent(note(1, "lost: rank died"), end_attempts(2, (1, 1)))
    pair.on(finished(2, ok(1)))
    pair.are(TaskState.READY, 1)


def test_a_member_that_dies_after_another_failed_does_not_hide_the_failure(pair: Env) -> None:
    pair.on(finished(2, failed(1)))
    pair.sent(end_attempts(1, (1, 1)))
    pair.on(died(1))
    pair.sent(note(1, "lost: rank died"), settle(failed(1)))
    pair.are(TaskState.FAILED, 1)


def test_a_cancel_reaches_all(pair: Env) -> None:
    pair.on(cancel(1))
    pair.sent(end_attempts(1, (1, 1)), end_attempts(2, (1, 1)))
    pair.on(finished(1, ended(1)))
    pair.sent(end_attempts(2, (1, 1)))
    pair.on(finished(2, ended(1)))
    pair.sent(settle(ended(1)))
    pair.are(TaskState.CANCELLED, 1)


def test_one_that_is_given_back_ends_it_for_the_others(pair: Env) -> None:
    pair.on(returned(2, (1, 1)))
    pair.sent(end_attempts(1, (1, 1)), group(pair, 1, 1, 2, attempt=2))


def test_a_smaller_gang_does_not_pass_the_one_that_workers_are_kept_for(pair: Env) -> None:
    pair.join(3)
    pair.on(submitted(2, kind=2))
    pair.on(submitted(3), after_s=1.0)
    pair.on(finished(1, ok(1)))
    pair.are(TaskState.READY, 2, 3)
    pair.on(finished(2, ok(1)))
    pair.sent(settle(ok(1)), group(pair, 2, 1, 2, 3))


def test_a_stuck_rank_is_disabled_until_it_comes_out(pair: Env) -> None:
    pair.on(finished(2, failed(1)))
    pair.sent(end_attempts(1, (1, 1)))
    pair.silence(59, 1, 2)
    pair.on(after_s=1.0)
    pair.sent(note(1, "stuck in the group of task 1"), settle(failed(1)))
    pair.on(submitted(2))
    pair.are(TaskState.READY, 2)
    pair.on(finished(1, ended(1)))
    pair.sent(group(pair, 2, 1, 2))
    pair.are(TaskState.ASSIGNED, 2)
