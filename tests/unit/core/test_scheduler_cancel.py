"""Cancelling a task, wherever it is by then."""

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
    end_attempts,
    ended,
    failed,
    finished,
    joined,
    kind,
    left,
    ok,
    over,
    returned,
    settle,
    submitted,
    welcome,
)
from msgspec.structs import replace

from mpiexec_runner.core.tasks import NOBODY
from mpiexec_runner.model.events import CancelRequested, RunOpened
from mpiexec_runner.model.tasks import TaskState, Verdict

EnvOf = Callable[..., Env]


@pytest.fixture
def at_worker(env_of: EnvOf) -> Env:
    """Task 1 is with worker 1, being cancelled; task 2 is ready."""
    env = env_of(kind(1, retries=3))
    env.join(1)
    env.on(submitted(1, 2))
    env.sent(env.run(1, {1: 1}))
    env.on(cancel(1))
    env.sent(end_attempts(1, (1, 1)))
    env.are(TaskState.ASSIGNED, 1)
    return env


def test_cancel_ready(env: Env) -> None:
    env.on(submitted(1, 2))
    env.on(cancel(1))
    env.sent(cancelled(1))
    env.join(1)
    env.sent(env.run(1, {2: 1}))


def test_cancel_waiting_for_its_back_off(env_of: EnvOf) -> None:
    env = env_of(kind(1, retries=3))
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, failed(1)))
    env.on(cancel(1))
    env.sent(cancelled(1))
    env.silence(10, 1)
    env.are(TaskState.CANCELLED, 1)


def test_cancel_assigned(at_worker: Env) -> None:
    at_worker.on(finished(1, ended(1)))
    at_worker.sent(settle(ended(1)), at_worker.run(1, {2: 1}))
    at_worker.are(TaskState.CANCELLED, 1)


def test_cancel_running(at_worker: Env) -> None:
    at_worker.on(began(1, (1, 1)))
    at_worker.are(TaskState.RUNNING, 1)
    at_worker.on(finished(1, ended(1)))
    at_worker.sent(settle(ended(1)), at_worker.run(1, {2: 1}))
    at_worker.are(TaskState.CANCELLED, 1)


@pytest.mark.parametrize("outcome", [ok(1), failed(1)], ids=["succeeded", "failed"])
def test_cancel_finished(env: Env, outcome: object) -> None:
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, outcome))
    env.sent(settle(outcome))
    env.on(cancel(1))


def test_cancel_unknown_or_forgotten(env_of: EnvOf) -> None:
    env = env_of(kind(1, keep=False))
    env.on(submitted(1))
    env.on(cancel(1, 1, 99, -1, 0))
    env.sent(cancelled(1))
    env.on(cancel(1))


def test_cancel_twice_is_told_once(at_worker: Env) -> None:
    at_worker.on(cancel(1), cancel(1, 1))
    at_worker.on(finished(1, ended(1)))
    at_worker.sent(settle(ended(1)), at_worker.run(1, {2: 1}))


def test_cancel_but_it_finishes_anyway(at_worker: Env) -> None:
    at_worker.on(finished(1, ok(1)))
    at_worker.sent(settle(ok(1)), at_worker.run(1, {2: 1}))
    at_worker.are(TaskState.SUCCEEDED, 1)


def test_cancel_and_it_fails_meanwhile_is_not_tried_again(at_worker: Env) -> None:
    at_worker.on(finished(1, failed(1)))
    at_worker.sent(settle(replace(failed(1), verdict=Verdict.CANCELLED)), at_worker.run(1, {2: 1}))
    at_worker.are(TaskState.CANCELLED, 1)


def test_cancel_and_it_comes_back_unbegun(at_worker: Env) -> None:
    at_worker.on(returned(1, (1, 1)))
    at_worker.sent(cancelled(1), at_worker.run(1, {2: 1}))


def test_cancel_and_its_worker_is_lost(at_worker: Env) -> None:
    at_worker.on(died(1))
    at_worker.sent(LOST, cancelled(1))
    at_worker.are(TaskState.READY, 2)


def test_cancel_and_its_worker_leaves(at_worker: Env) -> None:
    at_worker.on(left(1))
    at_worker.sent(cancelled(1))


def test_cancel_and_its_worker_joins_again(at_worker: Env) -> None:
    at_worker.on(joined(1, 1))
    at_worker.sent(cancelled(1), welcome(1, 2))
    at_worker.on(beat(1, 2))
    at_worker.sent(at_worker.run(1, {2: 1}))


def test_cancel_and_its_result_comes_after_its_worker_was_lost(at_worker: Env) -> None:
    at_worker.on(died(1))
    at_worker.sent(LOST, cancelled(1))
    at_worker.on(finished(1, ok(1)))
    at_worker._unclaimed = at_worker._unclaimed[-1:]
    at_worker.sent(welcome(1, 2))
    at_worker.are(TaskState.CANCELLED, 1)
    assert at_worker.state.superseded == 1


def test_cancel_and_the_run_opens_again(at_worker: Env) -> None:
    at_worker.on(RunOpened(2))
    at_worker.sent(cancelled(1))
    at_worker.are(TaskState.READY, 2)


def test_cancel_and_poisoned_at_once_is_cancelled(env_of: EnvOf) -> None:
    env = env_of(crash_limit=1)
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(cancel(1), died(1))
    env.sent(end_attempts(1, (1, 1)), LOST, cancelled(1))


def test_cancel_all(env_of: EnvOf) -> None:
    env = env_of(kind(1, retries=1))
    env.join(1, 2)
    env.on(submitted(1, 2, 3, 4))
    env.sent(env.run(1, {1: 1}), env.run(2, {2: 1}))
    env.on(finished(1, failed(1)))
    env.sent(env.run(1, {3: 1}))
    env.on(CancelRequested(None), closed())
    env.sent(cancelled(1), cancelled(4), end_attempts(2, (2, 1)), end_attempts(1, (3, 1)))
    env.on(finished(2, ended(2)), finished(1, ended(3)))
    env.sent(settle(ended(2)), settle(ended(3)), over())
    assert all(task.worker == NOBODY for task in env.state.tasks.values())
