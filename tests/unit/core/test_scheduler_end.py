"""How a run ends: complete, drained, abandoned, starved; and how another life begins."""

from collections.abc import Callable

import pytest
from core_env import (
    LOST,
    Env,
    abandon,
    beat,
    began,
    cancel,
    cancelled,
    closed,
    died,
    drain,
    end_attempts,
    ended,
    failed,
    finished,
    joined,
    kind,
    left,
    note,
    ok,
    over,
    retract,
    returned,
    settle,
    submitted,
    welcome,
)

from mpiexec_runner.core.scheduler import ABANDON_GRACE_S
from mpiexec_runner.model.commands import RunEnd
from mpiexec_runner.model.events import RunOpened, StopReason, Tick
from mpiexec_runner.model.tasks import TaskState

EnvOf = Callable[..., Env]


def stopped(tasks_left: int, reason: StopReason = StopReason.INTERRUPTED) -> object:
    by_hand = reason in (StopReason.INTERRUPTED, StopReason.REQUEST)
    end = RunEnd.INTERRUPTED if by_hand else RunEnd.STOPPED
    return over(end, f"stopped by {reason.words}; {tasks_left} tasks are left")


@pytest.fixture
def under_way(env_of: EnvOf) -> Env:
    """Worker 1 runs tasks 1 and 2; 3 is ready."""
    env = env_of(kind(1, retries=1))
    env.join(1, slots=2)
    env.on(submitted(1, 2, 3))
    env.sent(env.run(1, {1: 1, 2: 1}))
    env.on(began(1, (1, 1), (2, 1)))
    return env


@pytest.fixture
def drained(under_way: Env) -> Env:
    """As before, and told to stop."""
    under_way.on(drain())
    under_way.sent(retract(1, (1, 1), (2, 1)))
    return under_way


# --- complete


def test_complete_when_all_are_at_their_end(under_way: Env) -> None:
    under_way.on(closed())
    under_way.on(finished(1, ok(1), ok(2)))
    under_way.sent(settle(ok(1), ok(2)), under_way.run(1, {3: 1}))
    under_way.on(finished(1, ok(3)))
    under_way.sent(settle(ok(3)), over())


def test_not_complete_while_more_may_come(env: Env) -> None:
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)))
    env.on(submitted(2))
    env.sent(env.run(1, {2: 1}))


def test_not_complete_while_a_task_waits_for_its_back_off(env_of: EnvOf) -> None:
    env = env_of(kind(1, retries=1))
    env.join(1)
    env.on(submitted(1), closed())
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, failed(1)))
    env.tick()
    env.sent(env.run(1, {1: 2}))
    env.on(finished(1, failed(1, 2)))
    env.sent(settle(failed(1, 2)), over())


def test_complete_without_any_worker(env: Env) -> None:
    env.on(submitted(1), closed())
    env.on(cancel(1))
    env.sent(cancelled(1), over())


# --- drained


def test_drain_with_nothing_held_ends_at_once(env: Env) -> None:
    env.on(submitted(1, 2))
    env.on(drain())
    env.sent(stopped(2))


@pytest.mark.parametrize("reason", StopReason)
def test_drain_says_why(env: Env, reason: StopReason) -> None:
    env.on(submitted(1))
    env.on(drain(reason))
    env.sent(stopped(1, reason))


def test_drain_waits_for_what_runs_and_starts_nothing(drained: Env) -> None:
    drained.on(returned(1))
    drained.on(finished(1, ok(1)))
    drained.sent(settle(ok(1)))
    drained.on(finished(1, ok(2)))
    drained.sent(settle(ok(2)), stopped(1))


def test_drain_takes_back_what_has_not_begun(env: Env) -> None:
    env.join(1)
    env.measure(0.001)
    env.on(submitted(2, 3, 4))
    env.sent(env.run(1, {2: 1, 3: 1, 4: 1}))
    env.on(drain())
    env.sent(retract(1, (2, 1), (3, 1), (4, 1)))
    env.on(returned(1, (3, 1), (4, 1)))
    env.on(finished(1, ok(2)))
    env.sent(settle(ok(2)), stopped(2))


def test_drain_and_what_fails_is_left_for_another_life(drained: Env) -> None:
    drained.on(finished(1, failed(1), ok(2)))
    drained.sent(settle(ok(2)), stopped(2))
    drained.are(TaskState.WAITING, 1)


def test_drain_and_all_is_done_is_complete(env: Env) -> None:
    env.join(1)
    env.on(submitted(1), closed())
    env.sent(env.run(1, {1: 1}))
    env.on(drain())
    env.sent(retract(1, (1, 1)))
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)), over())


def test_drain_and_the_worker_is_lost(drained: Env) -> None:
    drained.on(died(1))
    drained.sent(LOST, stopped(3))


def test_drain_and_a_worker_joins_gets_nothing(drained: Env) -> None:
    drained.join(2)
    drained.on(finished(1, ok(1), ok(2)))
    drained.sent(settle(ok(1), ok(2)), stopped(1))


def test_drain_twice_without_abandon_changes_nothing(drained: Env) -> None:
    drained.on(drain(StopReason.SIGNAL))
    drained.on(finished(1, ok(1), ok(2)))
    drained.sent(settle(ok(1), ok(2)), stopped(1))


# --- abandoned


@pytest.fixture
def abandoned(drained: Env) -> Env:
    """Told to stop a second time: what runs is to end."""
    drained.on(abandon())
    drained.sent(end_attempts(1, (1, 1), (2, 1)))
    return drained


def test_abandon_ends_what_runs_and_leaves_it_for_another_life(abandoned: Env) -> None:
    abandoned.on(finished(1, ended(1), ended(2)))
    abandoned.sent(stopped(3))
    abandoned.are(TaskState.READY, 1, 2, 3)
    assert abandoned.task(1).retries == 0


def test_abandon_and_it_finishes_anyway(abandoned: Env) -> None:
    abandoned.on(finished(1, ok(1), ended(2)))
    abandoned.sent(settle(ok(1)), stopped(2))


def test_abandon_leaves_without_what_does_not_end(abandoned: Env) -> None:
    asked = abandoned.now
    abandoned.silence(5, 1)
    abandoned.tick()
    abandoned.sent(stopped(3))
    assert abandoned.now == asked + ABANDON_GRACE_S


def test_abandon_again_does_not_prolong_the_grace(abandoned: Env) -> None:
    asked = abandoned.now
    abandoned.silence(5, 1)
    abandoned.on(abandon(), drain())
    abandoned.tick()
    abandoned.sent(stopped(3))
    assert abandoned.now == asked + ABANDON_GRACE_S


def test_abandon_at_once(under_way: Env) -> None:
    under_way.on(abandon(StopReason.SIGNAL))
    under_way.sent(end_attempts(1, (1, 1), (2, 1)))
    under_way.on(finished(1, ended(1), ended(2)))
    under_way.sent(stopped(3, StopReason.SIGNAL))


def test_abandon_and_cancelled_is_cancelled(abandoned: Env) -> None:
    abandoned.on(cancel(1))
    abandoned.sent(end_attempts(1, (1, 1)))
    abandoned.on(finished(1, ended(1), ended(2)))
    abandoned.sent(settle(ended(1)), stopped(2))


# --- starved


def starved(tasks_left: int) -> object:
    return over(RunEnd.STARVED, f"no worker was heard for 90 s; {tasks_left} tasks are left")


def test_starved_when_no_worker_ever_comes(env: Env) -> None:
    opened = env.now
    env.on(submitted(1), after_s=30)
    env.tick()
    env.sent(starved(1))
    assert env.now == opened + 90


@pytest.mark.parametrize("goes", [died(1), left(1)], ids=["lost", "left"])
def test_starved_when_the_last_worker_goes(under_way: Env, goes: object) -> None:
    under_way.on(goes)
    under_way._unclaimed.clear()
    gone = under_way.now
    while under_way.now < gone + 90:
        under_way.sent()
        under_way.tick()
    under_way.sent(starved(3))
    assert under_way.now == gone + 90


def test_starving_is_over_when_somebody_comes(env: Env) -> None:
    env.on(submitted(1))
    env.on(Tick(), after_s=89)
    env.join(1)
    env.sent(env.run(1, {1: 1}))
    env.silence(20)


def test_not_starved_by_repeated_news_of_the_same_loss(under_way: Env) -> None:
    under_way.on(died(1))
    under_way.sent(LOST)
    under_way.on(died(1), after_s=50)
    under_way.on(left(1), Tick(), after_s=40)
    under_way.sent(starved(3))


def test_a_run_that_has_nothing_to_do_waits_without_workers_for_ever(env: Env) -> None:
    assert env.core.next_deadline() == float("inf")
    env.on(Tick(), after_s=10_000)
    assert env.core.next_deadline() == float("inf")


def test_starved_while_draining_ends_as_drained(drained: Env) -> None:
    drained.on(left(1))
    drained.sent(stopped(3))


# --- another life


def test_opening_requeues_all_in_order_and_burns_nothing(env_of: EnvOf) -> None:
    env = env_of(kind(1, retries=1), crash_limit=1)
    env.join(1, 2, slots=2)
    env.on(submitted(1, 2, 3, 4, 5))
    env.sent(env.run(1, {1: 1, 2: 1}), env.run(2, {3: 1, 4: 1}))
    env.on(began(1, (1, 1)))
    env.on(RunOpened(2))
    env.are(TaskState.READY, 1, 2, 3, 4, 5)
    assert not env.state.workers
    assert env.state.epoch == 2
    assert {(task.retries, task.crashes) for task in env.state.tasks.values()} == {(0, 0)}
    env.join(7, slots=5)
    env.sent(env.run(7, {1: 2, 2: 2, 3: 2, 4: 2, 5: 1}))


def test_opening_after_a_drain_begins_anew(drained: Env) -> None:
    drained.on(finished(1, ok(1), ended(2)))
    drained.sent(settle(ok(1)), stopped(2))
    drained.on(RunOpened(2))
    assert not drained.core.draining
    drained.join(1, slots=2)
    drained.sent(drained.run(1, {2: 2, 3: 1}))


def test_opening_after_an_abandoned_life_has_no_grace_left_over(abandoned: Env) -> None:
    abandoned.on(RunOpened(2))
    abandoned.join(1)
    abandoned.sent(abandoned.run(1, {1: 2}))
    abandoned.silence(60, 1)


def test_opening_after_completion_takes_new_tasks(env: Env) -> None:
    env.on(closed())
    env.sent(over())
    env.on(RunOpened(2), submitted(1), closed())
    env.join(1)
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)), over())


def test_opening_keeps_a_back_off(env_of: EnvOf) -> None:
    env = env_of(kind(1, retries=1, backoff_s=60))
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, failed(1)))
    env.on(RunOpened(2), after_s=1)
    env.join(1)
    env.are(TaskState.WAITING, 1)
    env.silence(55, 1)
    env.on(beat(1), after_s=4)
    env.sent(env.run(1, {1: 2}))


def test_opening_long_after_does_not_count_the_time_between(under_way: Env) -> None:
    under_way.on(RunOpened(2), joined(1), after_s=1e6)
    under_way.sent(note(1, "joined from node"), welcome(1))
    under_way.on(Tick(), after_s=80)


def test_results_of_an_earlier_life_count(under_way: Env) -> None:
    under_way.on(RunOpened(2))
    under_way.on(finished(1, ok(1), failed(2)))
    under_way.sent(settle(ok(1)))
    under_way.are(TaskState.READY, 2, 3)
