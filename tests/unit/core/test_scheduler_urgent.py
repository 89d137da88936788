"""Urgent tasks, which pass what waits at the workers; and that the others get their turn all the same."""

from collections.abc import Callable

import pytest
from core_env import Env, began, finished, kind, ok, settle, submitted

from mpiexec_runner.model.events import PriorityRequested
from mpiexec_runner.model.tasks import TaskState

EnvOf = Callable[..., Env]
URGENT = kind(2, priority=10)


@pytest.fixture
def full(env_of: EnvOf) -> Env:
    """Worker 1 has no room: it runs task 2 and holds 3 to 5 in line. Task 6 waits."""
    env = env_of(kind(1), URGENT)
    env.join(1)
    env.measure(0.01)
    env.on(submitted(2, 3, 4, 5, 6))
    env.sent(env.run(1, {2: 1, 3: 1, 4: 1, 5: 1}))
    return env


def test_it_passes_what_its_worker_has_in_line(full: Env) -> None:
    full.on(submitted(7, kind=2))
    full.sent(full.run(1, {7: 1}, urgent=True))


def test_one_for_each_slot_and_no_more(full: Env) -> None:
    full.on(submitted(7, 8, kind=2))
    full.sent(full.run(1, {7: 1}, urgent=True))
    full.on(finished(1, ok(7)))
    full.sent(settle(ok(7)), full.run(1, {8: 1}, urgent=True))


def test_a_task_that_is_made_urgent_passes_too(full: Env) -> None:
    full.on(PriorityRequested((6,), 10))
    full.sent(full.run(1, {6: 1}, urgent=True))


def test_it_does_not_pass_what_runs(env_of: EnvOf) -> None:
    env = env_of(kind(1), URGENT)
    env.join(1)
    env.on(submitted(1, 2))
    env.sent(env.run(1, {1: 1}))
    env.on(began(1, (1, 1)))
    env.on(submitted(3, kind=2))
    env.are(TaskState.READY, 2, 3)
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)), env.run(1, {3: 1}, urgent=True))


def test_nothing_starves_under_an_endless_stream_of_more_urgent_tasks(env_of: EnvOf) -> None:
    env = env_of(kind(1, priority=4), kind(2, priority=5), ageing_s=25.0)
    env.join(1)
    env.on(submitted(1), submitted(2, 3, 4, kind=2))
    env.sent(env.run(1, {2: 1}))
    running = 2
    for following in (3, 4, 5, 6, 1, 7):  # 7 comes 30 s after 1: that is more than one priority is worth
        env.on(submitted(env.state.next_task, kind=2), finished(1, ok(running)), after_s=10.0)
        env.sent(settle(ok(running)), env.run(1, {following: 1}))
        running = following


def test_each_priority_is_worth_so_much_waiting(env_of: EnvOf) -> None:
    env = env_of(kind(1, priority=4), kind(2, priority=6), ageing_s=5.0)
    env.join(1)
    env.on(submitted(1, 2, 3))
    env.sent(env.run(1, {1: 1}))
    env.on(submitted(4, kind=2), after_s=9.0)
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)), env.run(1, {4: 1}))
    env.on(submitted(5, kind=2), after_s=2.0)
    env.on(finished(1, ok(4)))
    env.sent(settle(ok(4)), env.run(1, {2: 1}))
