"""Workers that come, fall silent, are lost, come back, and say what nobody asked for."""

from collections.abc import Callable

import pytest
from core_env import (
    HEARTBEAT,
    LOST,
    Env,
    beat,
    began,
    closed,
    died,
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
    poisoned,
    returned,
    settle,
    submitted,
    welcome,
)

from mpiexec_runner.model.events import AnyEvent, Tick, WorkerBeat
from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.model.workers import Load, WorkerState

EnvOf = Callable[..., Env]
HEARD_AGAIN = note(1, "heard again after it was lost")


@pytest.fixture
def working(env_of: EnvOf) -> Env:
    """Worker 1 holds task 1; a task is tried three times."""
    env = env_of(kind(1, retries=2))
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    return env


# --- lost


def test_lost_with_a_task_assigned(working: Env) -> None:
    working.on(died(1))
    working.sent(LOST)
    working.are(TaskState.READY, 1)
    working.join(2)
    working.sent(working.run(2, {1: 2}))


def test_lost_with_a_task_running(working: Env) -> None:
    working.on(began(1, (1, 1)))
    working.join(2)
    working.on(died(1))
    working.sent(LOST, working.run(2, {1: 2}))
    assert working.task(1).retries == 0


def test_lost_with_nothing(env: Env) -> None:
    env.join(1)
    env.on(died(1))
    env.sent(LOST)
    assert env.state.lost_workers == 1


def test_lost_before_it_answered_the_welcome(env: Env) -> None:
    env.on(joined(1))
    env.sent(note(1, "joined from node"), welcome(1))
    env.on(died(1))
    env.sent(LOST)


def test_lost_twice_is_told_once(working: Env) -> None:
    working.on(died(1), died(1))
    working.sent(LOST)
    working.on(died(1))
    assert working.state.lost_workers == 1


def test_what_a_lost_worker_held_keeps_its_order_before_its_equals(env: Env) -> None:
    env.join(1, slots=3)
    env.on(submitted(1, 2, 3, 4))
    env.sent(env.run(1, {1: 1, 2: 1, 3: 1}))
    env.on(died(1))
    env.sent(LOST)
    env.join(2, slots=4)
    env.sent(env.run(2, {1: 2, 2: 2, 3: 2, 4: 1}))


def test_left_in_order_gives_its_tasks_back_and_is_not_counted_lost(working: Env) -> None:
    working.join(2)
    working.on(left(1))
    working.sent(working.run(2, {1: 2}))
    working.is_(1, WorkerState.DRAINED)
    working.on(left(1), died(1), beat(1))
    working.is_(1, WorkerState.DRAINED)
    assert (working.state.lost_workers, working.task(1).crashes) == (0, 0)


def test_left_in_order_and_came_back(working: Env) -> None:
    working.on(left(1))
    working.on(joined(1, 1))
    working.sent(welcome(1, 2))
    working.on(beat(1, 2))
    working.sent(working.run(1, {1: 2}))


def test_left_in_order_after_it_was_lost(working: Env) -> None:
    working.on(died(1))
    working.sent(LOST)
    working.on(left(1))
    working.is_(1, WorkerState.DRAINED)


# --- late results


def test_a_late_result_that_is_the_first_counts(working: Env) -> None:
    working.on(died(1))
    working.sent(LOST)
    working.on(finished(1, ok(1, 1)))
    working.sent(HEARD_AGAIN, welcome(1, 2), settle(ok(1, 1)))
    working.are(TaskState.SUCCEEDED, 1)


def test_a_late_result_that_is_the_first_ends_the_attempt_elsewhere(working: Env) -> None:
    working.join(2)
    working.on(died(1))
    working.sent(LOST, working.run(2, {1: 2}))
    working.on(submitted(2))
    working.on(finished(1, ok(1, 1)))
    working.sent(
        HEARD_AGAIN, welcome(1, 2), end_attempts(2, (1, 2)), settle(ok(1, 1)), working.run(2, {2: 1})
    )
    working.on(finished(2, ended(1, 2)))
    assert working.state.superseded == 1


def test_a_late_result_that_is_the_second_is_superseded(working: Env) -> None:
    working.join(2)
    working.on(died(1))
    working.sent(LOST, working.run(2, {1: 2}))
    working.on(finished(2, ok(1, 2)))
    working.sent(settle(ok(1, 2)))
    working.on(finished(1, ok(1, 1)))
    working.sent(HEARD_AGAIN, welcome(1, 2))
    assert working.state.superseded == 1


def test_a_late_result_ends_a_back_off(working: Env) -> None:
    working.join(2)
    working.on(died(1))
    working.sent(LOST, working.run(2, {1: 2}))
    working.on(finished(2, failed(1, 2)))
    working.are(TaskState.WAITING, 1)
    working.on(finished(1, ok(1, 1)))
    working.sent(HEARD_AGAIN, welcome(1, 2), settle(ok(1, 1)))
    working.silence(20, 1, 2)
    working.are(TaskState.SUCCEEDED, 1)


@pytest.mark.parametrize("elsewhere", [True, False], ids=["held elsewhere", "ready"])
def test_a_late_failure_does_not_count(working: Env, elsewhere: bool) -> None:
    if elsewhere:
        working.join(2)
    working.on(died(1))
    working.sent(LOST, *([working.run(2, {1: 2})] if elsewhere else []))
    working.on(finished(1, failed(1, 1)))
    working.sent(HEARD_AGAIN, welcome(1, 2))
    working.are(TaskState.ASSIGNED if elsewhere else TaskState.READY, 1)
    assert (working.task(1).retries, working.state.superseded) == (0, 1)


# --- poison


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_task_that_loses_one_worker_after_another_is_poison(env_of: EnvOf, limit: int) -> None:
    env = env_of(crash_limit=limit)
    env.on(submitted(1), closed())
    for worker in range(1, limit + 1):
        env.join(worker)
        env.sent(env.run(worker, {1: worker}))
        env.on(began(worker, (1, worker)))
        env.on(died(worker))
        lost = note(worker, "lost: rank died")
        if worker < limit:
            env.sent(lost)
        else:
            env.sent(lost, poisoned(1, limit), over())
    env.are(TaskState.FAILED, 1)


def test_a_failure_in_between_is_not_in_a_row(env_of: EnvOf) -> None:
    env = env_of(kind(1, retries=1, backoff_s=0), crash_limit=2)
    env.on(submitted(1))
    env.join(1)
    env.sent(env.run(1, {1: 1}))
    env.on(died(1))
    env.sent(LOST)
    env.join(2)
    env.sent(env.run(2, {1: 2}))
    env.on(finished(2, failed(1, 2)))
    env.sent(env.run(2, {1: 3}))
    env.on(died(2))
    env.sent(note(2, "lost: rank died"))
    env.are(TaskState.READY, 1)


def test_only_the_first_in_line_are_suspected(env_of: EnvOf) -> None:
    env = env_of(crash_limit=1)
    env.join(1, slots=2)
    env.measure(0.001)
    env.on(submitted(2, 3, 4, 5))
    env.sent(env.run(1, {2: 1, 3: 1, 4: 1, 5: 1}))
    env.on(died(1))
    env.sent(LOST, poisoned(2, 1), poisoned(3, 1))
    env.are(TaskState.READY, 4, 5)


def test_poison_that_nobody_wants_kept_is_forgotten(env_of: EnvOf) -> None:
    env = env_of(kind(1, keep=False), crash_limit=1)
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(died(1))
    env.sent(LOST, poisoned(1, 1))
    assert not env.state.tasks


def test_a_late_result_of_poison_comes_too_late(env_of: EnvOf) -> None:
    env = env_of(crash_limit=1)
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(died(1))
    env.sent(LOST, poisoned(1, 1))
    env.on(finished(1, ok(1)))
    env.sent(HEARD_AGAIN, welcome(1, 2))
    env.are(TaskState.FAILED, 1)


# --- incarnations


def test_joins_again_with_another_number_and_what_it_held_is_void(working: Env) -> None:
    working.on(joined(1, 1))
    working.sent(welcome(1, 2))
    working.are(TaskState.READY, 1)
    working.on(beat(1, 1))
    working.is_(1, WorkerState.JOINING)
    working.on(beat(1, 2))
    working.sent(working.run(1, {1: 2}))
    assert working.task(1).crashes == 0


def test_joins_again_and_again(working: Env) -> None:
    working.on(joined(1, 1), joined(1, 1))
    working.sent(welcome(1, 2), welcome(1, 3))
    working.on(beat(1, 2))
    working.is_(1, WorkerState.JOINING)
    working.on(beat(1, 3))
    working.sent(working.run(1, {1: 2}))


def test_joins_again_with_other_slots(working: Env) -> None:
    working.on(joined(1, 1, slots=3), submitted(2, 3, 4))
    working.sent(welcome(1, 2))
    working.on(beat(1, 2))
    working.sent(working.run(1, {1: 2, 2: 1, 3: 1}))


@pytest.mark.parametrize("before", [0, 1, 7])
def test_a_worker_of_an_earlier_hub_gets_a_number_that_is_new_to_it(env: Env, before: int) -> None:
    env.on(joined(1, before))
    env.sent(note(1, "joined from node"), welcome(1, before + 1))
    env.on(beat(1, before))
    env.is_(1, WorkerState.JOINING)


def test_a_worker_without_slots_gets_nothing(env: Env) -> None:
    env.on(submitted(1))
    env.join(1, slots=0)
    env.join(2)
    env.sent(env.run(2, {1: 1}))


def test_a_lost_worker_that_speaks_is_welcomed_once(working: Env) -> None:
    working.on(died(1))
    working.sent(LOST)
    working.on(beat(1, 1), began(1, (1, 1)), beat(1, 1))
    working.sent(HEARD_AGAIN, welcome(1, 2))
    working.is_(1, WorkerState.JOINING)
    working.on(beat(1, 2))
    working.sent(working.run(1, {1: 2}))


def test_a_heartbeat_brings_news_of_the_load(working: Env) -> None:
    load = Load(1.5, 2**30, 1)
    working.on(WorkerBeat(1, 1, load))
    assert working.state.workers[1].load == load


# --- silence


def test_silent_is_suspect_then_lost(working: Env) -> None:
    working.join(2)
    working.silence(25, 2)
    working.on(beat(2), Tick(), after_s=5)
    working.sent(note(1, "suspect: silent for 30 s"))
    working.silence(55, 2)
    working.on(beat(2), Tick(), after_s=5)
    working.sent(note(1, "lost: silent for 90 s"), working.run(2, {1: 2}))


def test_suspect_gets_no_new_work(env: Env) -> None:
    env.join(1)
    env.silence(25)
    env.on(submitted(1), after_s=5)
    env.sent(note(1, "suspect: silent for 30 s"))
    env.are(TaskState.READY, 1)


@pytest.mark.parametrize(
    "sign",
    [beat(1), beat(1, 0), began(1), finished(1), returned(1)],
    ids=["beat", "stale beat", "began", "finished", "returned"],
)
def test_any_message_clears_a_suspect(env: Env, sign: AnyEvent) -> None:
    env.join(1)
    env.silence(25)
    env.on(submitted(1), after_s=5)
    env.sent(note(1, "suspect: silent for 30 s"))
    env.on(sign)
    env.sent(note(1, "heard again"), env.run(1, {1: 1}))


def test_silence_of_the_only_worker_is_seen_by_ticks_alone(working: Env) -> None:
    """Nothing else happens, and every tick comes a little late: that is no absence of the hub."""

    def tick_late(times: int) -> None:
        for _ in range(times):
            working.on(Tick(), after_s=working.core.next_deadline() - working.now + 0.003)

    tick_late(6)
    working.sent(note(1, "suspect: silent for 30 s"))
    tick_late(12)
    working.sent(note(1, "lost: silent for 90 s"))


def test_silence_while_it_joins_is_loss_without_suspicion(env: Env) -> None:
    env.on(joined(1))
    env.sent(note(1, "joined from node"), welcome(1))
    env.silence(85)
    env.on(Tick(), after_s=5)
    env.sent(note(1, "lost: silent for 90 s"))


def test_a_hub_that_was_away_forgives_the_silence_of_that_time(working: Env) -> None:
    working.on(Tick(), after_s=3600)
    working.is_(1, WorkerState.ALIVE)
    working.silence(25)
    working.on(Tick(), after_s=5)
    working.sent(note(1, "suspect: silent for 30 s"))


def test_a_hub_that_was_away_does_not_forgive_what_was_before(working: Env) -> None:
    working.silence(25)
    working.on(Tick(), after_s=1000)
    working.on(Tick(), after_s=5)
    working.sent(note(1, "suspect: silent for 30 s"))


def test_nobody_is_watched_when_nobody_is_there(env: Env) -> None:
    env.join(1)
    env.on(died(1))
    env.sent(LOST)
    env.on(Tick(), after_s=HEARTBEAT.interval_s)
    assert env.core.next_deadline() == float("inf")


# --- what nobody asked for


@pytest.mark.parametrize(
    "message",
    [
        began(1, (99, 1), (1, 7), (-1, 0)),
        finished(1, failed(99), ended(98), ok(97)),
        finished(1, failed(1, 2), ended(1, 0)),
        returned(1, (99, 1), (1, 7)),
        began(42, (1, 1)),
        finished(42, failed(1)),
        returned(42, (1, 1)),
        beat(42),
        died(42),
        left(42),
    ],
    ids=lambda event: f"{type(event).__name__} of worker {event.worker}",
)
def test_unknown_workers_tasks_and_attempts_are_harmless(working: Env, message: AnyEvent) -> None:
    working.on(message)
    working.holds(1, 1)
    working.on(finished(1, ok(1)))
    working.sent(settle(ok(1)))


def test_what_another_worker_holds_cannot_be_failed_or_returned(working: Env) -> None:
    working.join(2)
    working.on(returned(2, (1, 1)), began(2, (1, 1)), finished(2, failed(1, 1), ended(1, 1)))
    working.holds(1, 1)
    working.are(TaskState.ASSIGNED, 1)


def test_messages_told_twice_count_once(working: Env) -> None:
    working.on(began(1, (1, 1), (1, 1)), began(1, (1, 1)))
    assert working.state.workers[1].running == 1
    working.on(finished(1, ok(1), ok(1)), finished(1, ok(1)))
    working.sent(settle(ok(1)))
    assert working.state.superseded == 2
    working.on(began(1, (1, 1)), returned(1, (1, 1)))
    working.are(TaskState.SUCCEEDED, 1)


def test_finished_before_it_began(working: Env) -> None:
    working.on(finished(1, ok(1)), began(1, (1, 1)))
    working.sent(settle(ok(1)))
    assert working.state.workers[1].running == 0


def test_returned_after_it_began_is_taken_back(working: Env) -> None:
    working.on(began(1, (1, 1)), returned(1, (1, 1)))
    working.sent(working.run(1, {1: 2}))
    assert working.state.workers[1].running == 0


def test_a_result_before_the_hello(env: Env) -> None:
    env.on(submitted(1))
    env.on(finished(1, ok(1)), joined(1))
    env.sent(settle(ok(1)), note(1, "joined from node"), welcome(1))


def test_ended_without_being_asked_to_is_ready_again(working: Env) -> None:
    working.on(finished(1, ended(1)))
    working.sent(working.run(1, {1: 2}))
    assert working.task(1).retries == 0
