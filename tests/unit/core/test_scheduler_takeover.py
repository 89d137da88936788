"""Another hub goes on with a run whose workers are still there."""

from collections.abc import Callable

import pytest
from core_env import (
    HEARTBEAT,
    LOST,
    Env,
    abandon,
    beat,
    cancel,
    closed,
    died,
    end_attempts,
    ended,
    finished,
    info,
    kind,
    note,
    ok,
    over,
    settle,
    submitted,
)

from mpiexec_runner.model.commands import RunEnd, RunGroup, WelcomeWorker
from mpiexec_runner.model.events import HubReplaced, StopReason, Tick, WorkerJoined
from mpiexec_runner.model.tasks import Needs, TaskState
from mpiexec_runner.model.workers import WorkerState

EnvOf = Callable[..., Env]
STOPPED = over(RunEnd.INTERRUPTED, f"stopped by {StopReason.INTERRUPTED.words}; 1 tasks are left")


def called(worker: int, *running: tuple[int, int], incarnation: int = 1) -> WorkerJoined:
    """The answer of a worker to the call of a new hub."""
    return WorkerJoined(worker, incarnation, info(), list(running))


def kept(worker: int, incarnation: int = 2) -> WelcomeWorker:
    return WelcomeWorker(worker, incarnation, keep=True)


def void(worker: int, incarnation: int = 2) -> WelcomeWorker:
    return WelcomeWorker(worker, incarnation)


@pytest.fixture
def two(env_of: EnvOf) -> Env:
    """Workers 1 and 2 hold a task each; the hub is gone."""
    env = env_of(kind(1))
    env.join(1, 2)
    env.on(submitted(1, 2))
    env.sent(env.run(1, {1: 1}), env.run(2, {2: 1}))
    env.on(HubReplaced(2, 2))
    return env


def test_what_a_worker_runs_stays_with_it(two: Env) -> None:
    two.on(called(1, (1, 1)))
    two.sent(kept(1))
    two.holds(1, 1)
    two.are(TaskState.RUNNING, 1)
    two.on(finished(1, ok(1)))
    two.sent(settle(ok(1)))
    two.finish()


def test_a_beat_from_before_the_call_is_no_answer_to_it(env_of: EnvOf) -> None:
    env = env_of(kind(1))
    env.join(1)
    env.on(HubReplaced(2, 1))
    env.on(beat(1), submitted(1))
    env.sent()
    env.on(called(1))
    env.sent(void(1))
    env.on(beat(1, 2))
    env.sent(env.run(1, {1: 1}))


def test_what_it_does_not_run_goes_to_others(two: Env) -> None:
    two.on(called(1))
    two.sent(void(1))
    two.are(TaskState.READY, 1)
    two.on(beat(1, 2))
    two.sent(two.run(1, {1: 2}))


def test_what_is_not_on_record_is_ended(two: Env) -> None:
    two.on(called(1, (1, 1), (7, 1)))
    two.sent(kept(1), end_attempts(1, (7, 1)))


def test_another_attempt_than_that_on_record_does_not_count(two: Env) -> None:
    two.on(called(1, (1, 2)))
    two.sent(void(1))
    two.are(TaskState.READY, 1)


def test_nobody_gets_anything_new_before_it_has_answered(two: Env) -> None:
    two.on(submitted(3))
    two.is_(1, WorkerState.JOINING)
    two.on(called(1, (1, 1)))
    two.sent(kept(1))
    two.on(finished(1, ok(1)), beat(1, 2))
    two.sent(settle(ok(1)), two.run(1, {3: 1}))


def test_a_result_that_is_told_again_is_counted_once(two: Env) -> None:
    two.on(finished(1, ok(1)), called(1))
    two.sent(settle(ok(1)), void(1))
    two.on(finished(1, ok(1)))
    assert two.state.superseded == 1
    assert two.state.counts[TaskState.SUCCEEDED] == 1


def test_who_does_not_answer_is_lost_after_the_time_out(two: Env) -> None:
    two.on(called(1, (1, 1)), beat(1, 2))
    two.sent(kept(1))
    two.silence(HEARTBEAT.timeout_s - HEARTBEAT.interval_s, 1)
    two.on(beat(1, 2), Tick(), after_s=HEARTBEAT.interval_s)
    two.sent(note(2, "lost: silent for 90 s"))
    two.is_(2, WorkerState.LOST)
    two.are(TaskState.READY, 2)


def test_who_died_with_the_hub_is_lost(two: Env) -> None:
    two.on(died(1))
    two.sent(LOST)
    two.are(TaskState.READY, 1)


def test_a_stranger_of_an_older_incarnation_keeps_nothing(two: Env) -> None:
    two.on(called(1, (1, 1), incarnation=0))
    two.sent(void(1))
    two.are(TaskState.READY, 1)


def test_a_cancel_that_the_last_hub_may_not_have_passed_on_is_told_again(env_of: EnvOf) -> None:
    env = env_of(kind(1))
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(cancel(1))
    env.sent(end_attempts(1, (1, 1)))
    env.on(HubReplaced(2, 1))
    env.on(called(1, (1, 1)))
    env.sent(kept(1), end_attempts(1, (1, 1)))


@pytest.mark.parametrize("told", [True, False])
def test_a_run_that_was_being_ended_is_ended(env_of: EnvOf, told: bool) -> None:
    env = env_of(kind(1))
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(abandon())
    env.sent(end_attempts(1, (1, 1)))
    env.on(HubReplaced(2, 1))
    if told:
        env.on(called(1, (1, 1)))
        env.sent(kept(1), end_attempts(1, (1, 1)))
        env.on(finished(1, ended(1)))
    else:
        env.on(Tick(), after_s=10.0)
    env.sent(STOPPED)


def test_a_run_that_was_over_is_over_again(env_of: EnvOf) -> None:
    env = env_of(kind(1))
    env.join(1)
    env.on(submitted(1), closed())
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)), over())
    env.on(HubReplaced(2, 1))
    env.sent(over())


# --- groups


@pytest.fixture
def pair(env_of: EnvOf) -> Env:
    """Task 1 runs on workers 1 and 2 together; the hub is gone."""
    env = env_of(kind(1, needs=Needs(ranks=2)))
    env.join(1, 2)
    env.on(submitted(1))
    env.sent(RunGroup((1, 2), env.task(1).spec, 1))
    return env


def test_a_group_that_is_all_there_goes_on(pair: Env) -> None:
    pair.on(HubReplaced(2, 2), called(1, (1, 1)), called(2, (1, 1)))
    pair.sent(kept(1), kept(2))
    pair.on(finished(2, ok(1)), finished(1, ok(1)))
    pair.sent(settle(ok(1)))


def test_a_member_that_has_done_its_part_does_not_break_it(pair: Env) -> None:
    pair.on(finished(2, ok(1)), HubReplaced(2, 2), called(2), called(1, (1, 1)))
    pair.sent(kept(2), kept(1))
    pair.on(finished(1, ok(1)))
    pair.sent(settle(ok(1)))


def test_a_group_without_one_of_its_members_is_tried_again_whole(pair: Env) -> None:
    pair.on(HubReplaced(2, 2), called(1, (1, 1)))
    pair.sent(kept(1))
    pair.on(called(2))
    pair.sent(end_attempts(1, (1, 1)), void(2))
    pair.on(beat(1, 2), beat(2, 2))
    pair.sent(RunGroup((1, 2), pair.task(1).spec, 2))


def test_a_group_that_lost_a_member_with_the_hub(pair: Env) -> None:
    pair.on(HubReplaced(2, 1), died(2))
    pair.sent(note(2, "lost: rank died"), end_attempts(1, (1, 1)))
    pair.on(called(1, (1, 1)))
    pair.sent(void(1))
