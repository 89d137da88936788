"""How much a worker may hold in advance: sized in seconds of work, not in tasks."""

from collections.abc import Callable

import pytest
from core_env import Env, failed, finished, kind, ok, settle, submitted

from mpiexec_runner.core.fleet import OVERHEAD_S
from mpiexec_runner.model.tasks import TaskState

EnvOf = Callable[..., Env]


def held(env: Env, worker: int = 1) -> int:
    return env.state.workers[worker].held


def submit_many(env: Env, count: int = 10_000, kind: int = 1) -> None:
    """Submit more than anybody can take, and claim what is sent."""
    first = env.state.next_task
    env.on(submitted(*range(first, first + count), kind=kind))
    env._unclaimed.clear()  # how many they are is what these tests are about


@pytest.mark.parametrize("slots", [1, 4])
def test_unknown_duration_fills_free_slots_only(env: Env, slots: int) -> None:
    env.join(1, slots=slots)
    submit_many(env)
    assert held(env) == slots


@pytest.mark.parametrize("elapsed_s", [0.05, 1.0, 3600.0])
def test_long_tasks_stay_with_the_hub_until_a_slot_is_free(env: Env, elapsed_s: float) -> None:
    env.join(1, slots=2)
    env.measure(elapsed_s)
    submit_many(env)
    assert held(env) == 2


@pytest.mark.parametrize("elapsed_s", [0.0, 1e-6, 0.001, 0.01])
@pytest.mark.parametrize("slots", [1, 3])
def test_short_tasks_are_prefetched_for_as_long_as_the_settings_say(
    env: Env, elapsed_s: float, slots: int
) -> None:
    env.join(1, slots=slots)
    env.measure(elapsed_s)
    submit_many(env, 20_000)
    assert held(env) == int(env.settings.prefetch_s * slots / (elapsed_s + OVERHEAD_S))


def test_a_worker_is_kept_supplied(env: Env) -> None:
    env.join(1)
    env.measure(0.01)
    env.on(submitted(*range(2, 10)))
    env.sent(env.run(1, {2: 1, 3: 1, 4: 1, 5: 1}))
    env.on(finished(1, ok(2, elapsed_s=0.01)))
    env.sent(settle(ok(2, elapsed_s=0.01)), env.run(1, {6: 1}))


def test_no_window_without_prefetch(env_of: EnvOf) -> None:
    env = env_of(prefetch_s=0)
    env.join(1, slots=2)
    env.measure(1e-6)
    submit_many(env)
    assert held(env) == 2


def test_the_window_shrinks_as_tasks_turn_out_longer(env: Env) -> None:
    env.join(1)
    env.measure(0.001)
    for _ in range(30):
        env.measure(1.0)
    submit_many(env)
    assert held(env) == 1


def test_one_kind_does_not_speak_for_another(env_of: EnvOf) -> None:
    env = env_of(kind(1), kind(2))
    env.join(1)
    env.measure(1e-6)
    submit_many(env, kind=2)
    assert held(env) == 1


def test_what_is_held_of_one_kind_leaves_less_room_for_another(env_of: EnvOf) -> None:
    env = env_of(kind(1), kind(2))
    env.join(1)
    env.measure(0.01, kind=1)
    env.measure(0.001, kind=2)
    env.on(submitted(3, 4, 5, kind=1))
    env.sent(env.run(1, {3: 1, 4: 1, 5: 1}))
    submit_many(env, kind=2)
    assert held(env) == 3 + int((0.05 - 0.03 - 3 * OVERHEAD_S) / (0.001 + OVERHEAD_S))


def test_few_short_tasks_are_spread_not_heaped(env: Env) -> None:
    env.join(1, 2)
    env.measure(1e-6)
    env.on(submitted(2, 3, 4, 5))
    env.sent(env.run(1, {2: 1, 3: 1}), env.run(2, {4: 1, 5: 1}))


@pytest.mark.parametrize("elapsed_s", [float("nan"), float("inf"), float("-inf"), -1.0, -OVERHEAD_S])
def test_a_duration_that_no_clock_can_have_said_changes_no_window(env: Env, elapsed_s: float) -> None:
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, ok(1, elapsed_s=elapsed_s)))
    env._unclaimed.clear()  # not a number equals nothing
    env.are(TaskState.SUCCEEDED, 1)
    assert env.state.kinds[1].measured == 0
    submit_many(env)
    assert held(env) == 1


def test_failures_are_not_measured(env: Env) -> None:
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, failed(1)))
    env.sent(settle(failed(1)))
    assert env.state.kinds[1].measured == 0
