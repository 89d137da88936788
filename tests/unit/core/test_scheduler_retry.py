"""Failed attempts: tried again later and later, until there is no more to try."""

from collections.abc import Callable

import pytest
from core_env import Env, began, died, failed, finished, kind, note, ok, settle, submitted

from mpiexec_runner.model.tasks import FailureClass, FailureRule, Needs, TaskState
from mpiexec_runner.model.workers import WorkerInfo

EnvOf = Callable[..., Env]
HOPELESS = (FailureClass.NOT_FOUND, FailureClass.RESULT, FailureClass.SETUP)


def first_attempt(env_of: EnvOf, **rule: float) -> Env:
    env = env_of(kind(1, **rule))
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    return env


@pytest.mark.parametrize("begun", [True, False], ids=["told to have begun", "not told"])
def test_a_failed_attempt_is_tried_again_after_a_pause(env_of: EnvOf, begun: bool) -> None:
    env = first_attempt(env_of, retries=1)
    if begun:
        env.on(began(1, (1, 1)))
    env.on(finished(1, failed(1)))
    env.are(TaskState.WAITING, 1)
    env.silence(4.9, 1)
    env.tick()
    env.sent(env.run(1, {1: 2}))
    env.on(finished(1, ok(1, 2)))
    env.sent(settle(ok(1, 2)))


def test_pauses_double_and_then_it_is_given_up(env_of: EnvOf) -> None:
    env = first_attempt(env_of, retries=3, backoff_s=0.5)
    for attempt, pause_s in enumerate((0.5, 1.0, 2.0), start=1):
        env.on(finished(1, failed(1, attempt)))
        assert env.core.next_deadline() == env.now + pause_s
        env.tick()
        env.sent(env.run(1, {1: attempt + 1}))
    env.on(finished(1, failed(1, 4)))
    env.sent(settle(failed(1, 4)))
    env.are(TaskState.FAILED, 1)


def test_a_pause_of_nothing_is_over_in_the_same_batch(env_of: EnvOf) -> None:
    env = first_attempt(env_of, retries=1, backoff_s=0.0)
    env.on(finished(1, failed(1)))
    env.sent(env.run(1, {1: 2}))


@pytest.mark.parametrize("why", FailureClass)
def test_what_the_next_attempt_would_only_repeat_is_not_tried_again(env_of: EnvOf, why: FailureClass) -> None:
    env = first_attempt(env_of, retries=5)
    env.on(finished(1, failed(1, why=why)))
    if why in HOPELESS:
        env.sent(settle(failed(1, why=why)))
    env.are(TaskState.FAILED if why in HOPELESS else TaskState.WAITING, 1)


def test_the_slot_is_free_for_others_during_the_pause(env_of: EnvOf) -> None:
    env = first_attempt(env_of, retries=1)
    env.on(submitted(2))
    env.on(finished(1, failed(1)))
    env.sent(env.run(1, {2: 1}))
    env.silence(5, 1)
    env.are(TaskState.READY, 1)
    env.on(finished(1, ok(2)))
    env.sent(settle(ok(2)), env.run(1, {1: 2}))


def test_a_task_that_waited_joins_the_end_of_the_queue(env_of: EnvOf) -> None:
    env = first_attempt(env_of, retries=1)
    env.on(submitted(2, 3))
    env.on(finished(1, failed(1)))
    env.sent(env.run(1, {2: 1}))
    env.silence(5, 1)
    env.on(finished(1, ok(2)))
    env.sent(settle(ok(2)), env.run(1, {3: 1}))


def test_several_pauses_end_each_at_its_time(env_of: EnvOf) -> None:
    env = env_of(kind(1, retries=1, backoff_s=3.0), kind(2, retries=1, backoff_s=1.0))
    env.join(1, slots=2)
    env.on(submitted(1, kind=1), submitted(2, kind=2))
    env.sent(env.run(1, {1: 1, 2: 1}))
    env.on(finished(1, failed(1), failed(2)))
    start = env.now
    env.tick()
    env.sent(env.run(1, {2: 2}))
    assert env.now == start + 1.0
    env.tick()
    env.sent(env.run(1, {1: 2}))
    assert env.now == start + 3.0


def test_a_failure_told_twice_counts_once(env_of: EnvOf) -> None:
    env = first_attempt(env_of, retries=1)
    env.on(finished(1, failed(1), failed(1)), finished(1, failed(1)))
    env.are(TaskState.WAITING, 1)
    assert (env.task(1).retries, env.state.superseded) == (1, 2)


# --- elsewhere, and with more memory


def failed_on_1(env_of: EnvOf, **rule: object) -> Env:
    """Task 1 has failed on worker 1 and is to be tried again in this moment; worker 2 runs task 2."""
    env = env_of(kind(1, retries=2, backoff_s=0.0, **rule))
    env.join(1, 2)
    env.on(submitted(1, 2))
    env.sent(env.run(1, {1: 1}), env.run(2, {2: 1}))
    env.on(finished(1, failed(1)))
    return env


def test_it_waits_for_another_worker_than_the_one_it_failed_on(env_of: EnvOf) -> None:
    env = failed_on_1(env_of)
    env.on(submitted(3))
    env.sent(env.run(1, {3: 1}))
    env.on(finished(2, ok(2)))
    env.sent(settle(ok(2)), env.run(2, {1: 2}))
    env.on(finished(1, ok(3)))
    env.sent(settle(ok(3)))
    env.on(finished(2, failed(1, 2)))
    env.sent(env.run(1, {1: 3}))  # it has failed on all that there are


def test_it_goes_to_the_same_worker_when_no_other_is_left(env_of: EnvOf) -> None:
    env = failed_on_1(env_of)
    env.on(died(2))
    env.sent(note(2, "lost: rank died"), env.run(1, {1: 2}))


def test_it_may_be_tried_where_it_failed(env_of: EnvOf) -> None:
    env = failed_on_1(env_of, elsewhere=False)
    env.sent(env.run(1, {1: 2}))


def test_it_gets_more_memory_until_nobody_has_that_much(env_of: EnvOf) -> None:
    more = FailureRule("memory", memory_factor=2.0)
    env = env_of(kind(1, retries=9, backoff_s=0.0, on=(more,), needs=Needs(memory_bytes=40)))
    env.arrive(1, WorkerInfo("node", 1, slots=2, memory_bytes=100))
    env.on(submitted(1, 2))
    env.sent(env.run(1, {1: 1, 2: 1}))
    env.on(finished(1, failed(2, why=FailureClass.MEMORY)))
    env.are(TaskState.READY, 2)  # 80 bytes, of which 40 are taken
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)), env.run(1, {2: 2}))
    assert env.task(2).kind.spec.needs.memory_bytes == 80
    env.on(finished(1, failed(2, 2, FailureClass.MEMORY)))
    env.sent(settle(failed(2, 2, FailureClass.MEMORY)))


def test_any_other_failure_gets_no_more_memory(env_of: EnvOf) -> None:
    more = FailureRule("memory", memory_factor=2.0)
    env = env_of(kind(1, retries=1, backoff_s=0.0, on=(more,), needs=Needs(memory_bytes=80)))
    env.arrive(1, WorkerInfo("node", 1, memory_bytes=100))
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, failed(1)))
    env.sent(env.run(1, {1: 2}))
    assert env.task(1).kind.spec.needs.memory_bytes == 80
