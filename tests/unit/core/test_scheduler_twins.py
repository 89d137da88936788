"""Second attempts beside running ones that take far longer than they should."""

from collections.abc import Callable

import pytest
from core_env import (
    LOST,
    Env,
    began,
    died,
    drain,
    end_attempts,
    ended,
    failed,
    finished,
    kind,
    note,
    ok,
    retract,
    settle,
    submitted,
)

from mpiexec_runner.model.events import PauseRequested
from mpiexec_runner.model.tasks import TaskState

EnvOf = Callable[..., Env]
LATE_S = 40.0


def late(env_of: EnvOf, *, speculate: bool = True, retries: int = 0, **settings: object) -> Env:
    """Task 4 runs on worker 1 and is soon late: others took 10 s. Worker 2 has nothing to do."""
    env = env_of(kind(1, speculate=speculate, retries=retries), **settings)
    env.join(1)
    for _ in range(3):
        env.measure(10.0)
    env.on(submitted(4))
    env.sent(env.run(1, {4: 1}))
    env.on(began(1, (4, 1)))
    env.join(2)
    return env


def wait(env: Env) -> None:
    """Let time pass, with heartbeats, until something is asked for; or far beyond what is late."""
    for _ in range(int(LATE_S)):
        if env._unclaimed:
            return
        env.silence(1.0, *env.state.workers)


@pytest.fixture
def twins(env_of: EnvOf) -> Env:
    """Worker 2 has been given a second attempt of task 4."""
    env = late(env_of, retries=1)
    wait(env)
    env.sent(env.run(2, {4: 2}, aside=True))
    return env


def test_the_first_attempt_wins_and_the_other_is_ended(twins: Env) -> None:
    twins.on(finished(1, ok(4)))
    twins.sent(end_attempts(2, (4, 2)), settle(ok(4)))
    twins.on(finished(2, ended(4, 2)))
    assert (twins.state.tally.speculated, twins.state.tally.speculations_won) == (1, 0)


def test_the_second_attempt_wins_and_the_other_is_ended(twins: Env) -> None:
    twins.on(began(2, (4, 2)))
    twins.on(finished(2, ok(4, 2)))
    twins.sent(end_attempts(1, (4, 1)), settle(ok(4, 2)))
    twins.on(finished(1, ended(4)))
    assert (twins.state.tally.speculated, twins.state.tally.speculations_won) == (1, 1)


def test_when_the_first_fails_the_second_goes_on_and_no_retry_is_burned(twins: Env) -> None:
    twins.on(began(2, (4, 2)))
    twins.on(finished(1, failed(4)))
    twins.holds(1)
    twins.are(TaskState.RUNNING, 4)
    twins.on(finished(2, ok(4, 2)))
    twins.sent(settle(ok(4, 2)))
    assert twins.state.tally.retries == 0


def test_when_the_worker_of_the_first_dies_the_second_goes_on(twins: Env) -> None:
    twins.on(died(1))
    twins.sent(LOST)
    twins.holds(2, 4)
    twins.on(finished(2, ok(4, 2)))
    twins.sent(settle(ok(4, 2)))


@pytest.mark.parametrize("dies", [False, True], ids=["fails", "its worker dies"])
def test_when_the_second_comes_to_nothing_the_first_goes_on_alone(twins: Env, dies: bool) -> None:
    if dies:
        twins.on(died(2))
        twins.sent(note(2, "lost: rank died"))
        twins.join(3)
    else:
        twins.on(finished(2, failed(4, 2)))
    twins.silence(LATE_S, 1, 3 if dies else 2)
    twins.on(finished(1, ok(4)))
    twins.sent(settle(ok(4)))


def test_a_task_that_always_fails_comes_to_its_end_with_one_second_attempt_a_try(twins: Env) -> None:
    twins.on(finished(2, failed(4, 2)))
    twins.on(finished(1, failed(4)))
    twins.are(TaskState.WAITING, 4)
    twins.silence(4.9, 1, 2)
    twins.tick()
    twins.sent(twins.run(2, {4: 3}))
    twins.on(began(2, (4, 3)))
    wait(twins)
    twins.sent(twins.run(1, {4: 4}, aside=True))
    twins.on(finished(2, failed(4, 3)))
    twins.silence(LATE_S, 1, 2)
    twins.on(finished(1, failed(4, 4)))
    twins.sent(settle(failed(4, 4)))
    assert (twins.state.tally.speculated, twins.state.tally.retries) == (2, 1)


def test_there_is_none_where_it_is_not_allowed(env_of: EnvOf) -> None:
    for env in (late(env_of, speculate=False), late(env_of, speculation=False)):
        wait(env)
        env.sent()


def test_there_is_none_while_the_run_drains(env_of: EnvOf) -> None:
    env = late(env_of)
    env.on(drain())
    env.sent(retract(1, (4, 1)))
    wait(env)
    env.sent()


def test_there_is_none_while_the_run_is_paused(env_of: EnvOf) -> None:
    env = late(env_of)
    env.on(PauseRequested(True))
    wait(env)
    env.on(PauseRequested(False))
    wait(env)
    env.sent(env.run(2, {4: 2}, aside=True))
