"""Tasks over which a worker may have been lost are run where they can harm none, until they end."""

from collections.abc import Callable

import pytest
from core_env import Env, abandon, died, ended, failed, finished, kind, ok, submitted

from mpiexec_runner.model.commands import RunTasks
from mpiexec_runner.model.events import RunOpened

EnvOf = Callable[..., Env]


@pytest.fixture
def env(env_of: EnvOf) -> Env:
    """Worker 1 has task 4 before it, and task 5 behind that."""
    env = env_of(kind(1, retries=3, backoff_s=0.0))
    env.join(1)
    for _ in range(3):
        env.measure(0.001)  # short tasks are sent several at once
    env.on(submitted(4, 5))
    assert [*env.state.workers[1].tasks] == [4, 5]
    env._unclaimed.clear()
    return env


def isolated(env: Env) -> list[int]:
    """The tasks that were sent now and are to be isolated."""
    commands, env._unclaimed = env._unclaimed, []
    return [id_ for command in commands if isinstance(command, RunTasks) for id_ in command.isolate]


def test_the_first_in_line_is_a_suspect_when_its_worker_is_lost(env: Env) -> None:
    env.on(died(1))
    isolated(env)
    env.join(2)
    assert isolated(env) == [4]
    # To fail is no proof of innocence: it has killed what it was isolated in, perhaps.
    env.on(finished(2, failed(4, 2)))
    assert isolated(env) == [4]
    env.on(finished(2, ok(4, 3)))
    assert not env.state.suspects
    isolated(env)


def test_a_life_that_was_cut_short_leaves_suspects(env: Env) -> None:
    env.on(RunOpened(2))
    env.join(3)
    assert isolated(env) == [4]


def test_a_life_that_was_ended_leaves_none(env: Env) -> None:
    env.on(abandon())
    env._unclaimed.clear()
    env.on(finished(1, ended(4), ended(5)))
    assert env.state.ended
    env._unclaimed.clear()
    env.on(RunOpened(2))
    env.join(3)
    assert not isolated(env)
