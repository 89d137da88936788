"""Tasks that wait for others: when they begin, when they are skipped, and what is sent along."""

from collections.abc import Callable

import pytest
from core_env import Env, cancel, cancelled, failed, finished, kind, ok, settle, submitted, task

from mpiexec_runner.model.commands import RunTasks, SettleWithout
from mpiexec_runner.model.events import RetryRequested
from mpiexec_runner.model.tasks import Result, TaskState, When

EnvOf = Callable[..., Env]


UNKNOWN = (
    "of which nothing is on record: it was never submitted, or has ended and was not kept. "
    "Submit both together, or keep it"
)


def skipped(id_: int, why: str) -> SettleWithout:
    return SettleWithout(id_, TaskState.SKIPPED, why)


def test_a_task_begins_after_those_before_it(env: Env) -> None:
    env.join(1, 2)
    env.on(submitted(1, 2), task(3, 1, 2))
    env.sent(env.run(1, {1: 1}), env.run(2, {2: 1}))
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)))
    env.are(TaskState.WAITING, 3)
    env.on(finished(2, ok(2)))
    env._unclaimed.clear()
    env.are(TaskState.ASSIGNED, 3)


@pytest.mark.parametrize(
    ("when", "fails", "runs"),
    [
        (When.SUCCESS, True, False),
        (When.SUCCESS, False, True),
        (When.ANY, True, True),
        (When.ANY, False, True),
        (When.FAILURE, True, True),
        (When.FAILURE, False, False),
    ],
)
def test_which_ends_let_a_task_begin(env: Env, when: When, *, fails: bool, runs: bool) -> None:
    env.join(1)
    env.on(submitted(1), task(2, 1, when=when))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, failed(1) if fails else ok(1)))
    env._unclaimed.clear()
    env.are(TaskState.ASSIGNED if runs else TaskState.SKIPPED, 2)


def test_all_that_depends_on_a_failure_is_skipped_and_each_is_told(env: Env) -> None:
    env.join(1)
    env.on(submitted(1), task(2, 1), task(3, 2))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, failed(1)))
    env.sent(
        settle(failed(1)),
        skipped(2, "it depends on task 1, which was not successful"),
        skipped(3, "it depends on task 2, which was skipped"),
    )


def test_a_cancel_in_the_middle_skips_what_is_behind_it(env: Env) -> None:
    env.join(1)
    env.on(submitted(1), task(2, 1), task(3, 2))
    env.sent(env.run(1, {1: 1}))
    env.on(cancel(2))
    env.sent(cancelled(2), skipped(3, "it depends on task 2, which was cancelled"))


def test_a_task_that_depends_on_an_unknown_one_is_skipped(env: Env) -> None:
    env.on(submitted(1), task(3, 2))
    env.sent(skipped(3, f"it depends on task 2, {UNKNOWN}"))


def test_a_task_that_comes_after_one_that_is_forgotten_is_told_so(env_of: EnvOf) -> None:
    env = env_of(kind(1), kind(2, keep=False))
    env.join(1)
    env.on(submitted(1, kind=2), submitted(2))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)), env.run(1, {2: 1}))
    env.on(task(3, 1), task(4, 1, 2, when=When.ANY), task(5, 1, 2))
    env.sent(skipped(3, f"it depends on task 1, {UNKNOWN}"))
    env.on(finished(1, ok(2)))
    env.sent(settle(ok(2)), *[skipped(id_, f"it depends on task 1, {UNKNOWN}") for id_ in (4, 5)])


def test_a_task_does_not_wait_for_one_that_came_after_it(env: Env) -> None:
    env.on(task(1, 2), submitted(2))
    env.sent(skipped(1, "it depends on task 2, of which nothing is on record"))


def test_a_retry_revives_what_was_skipped_and_nothing_begins_too_early(env: Env) -> None:
    env.join(1, 2)
    env.on(submitted(1, 2), task(3, 1, 2), task(4, 1, 2))
    env.sent(env.run(1, {1: 1}), env.run(2, {2: 1}))
    env.on(finished(1, failed(1)), finished(2, failed(2)))
    env._unclaimed.clear()
    env.are(TaskState.SKIPPED, 3, 4)
    env.on(RetryRequested((1, 2)))
    env.sent(env.run(1, {1: 2}), env.run(2, {2: 2}))
    env.are(TaskState.WAITING, 3, 4)
    env.on(finished(1, ok(1, 2)))
    env.sent(settle(ok(1, 2)))
    env.are(TaskState.WAITING, 3, 4)
    env.on(finished(2, ok(2, 2)))
    env._unclaimed.clear()
    env.are(TaskState.ASSIGNED, 3, 4)


def test_a_result_is_sent_along_and_kept_until_its_user_has_succeeded(env: Env) -> None:
    env.join(1)
    env.on(submitted(1), task(2, 1, uses=(1,)))
    env.sent(env.run(1, {1: 1}))
    result = Result(1, TaskState.SUCCEEDED, "", b"v")
    specs = [env.task(2).spec]
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)), RunTasks(1, specs, [1], results=[result]))
    env.on(finished(1, failed(2)))
    env.sent(settle(failed(2)))
    env.on(RetryRequested((2,)))
    env.sent(RunTasks(1, specs, [2], results=[result]))
    env.on(finished(1, ok(2, 2)))
    env.sent(settle(ok(2, 2)))
    assert (env.state.results, env.state.awaited, env.state.sites) == ({}, {}, {})


def test_tasks_that_nobody_keeps_are_forgotten_when_nobody_waits_for_them(env_of: EnvOf) -> None:
    env = env_of(kind(1, keep=False))
    env.join(1)
    env.on(submitted(1), task(2, 1, uses=(1,)))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, ok(1)))
    env._unclaimed.clear()
    assert list(env.state.tasks) == [1, 2]
    env.on(finished(1, ok(2)))
    env.sent(settle(ok(2)))
    assert not env.state.tasks


def test_a_task_that_was_cancelled_in_the_queue_and_is_retried_runs_once(env: Env) -> None:
    env.on(submitted(1, 2))
    env.on(cancel(1))
    env.sent(cancelled(1))
    env.on(RetryRequested((1,)))
    assert len(env.state.ready) == 2


def test_a_result_of_what_was_never_sent_and_still_waits_does_not_count(env_of: EnvOf) -> None:
    env = env_of()
    env.on(submitted(1), task(2, 1))
    env.on(finished(1, ok(2)))
    env.are(TaskState.WAITING, 2)
    assert env.state.superseded == 1
