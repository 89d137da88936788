"""Results that stay for tasks which are submitted when the one that they use has ended."""

from collections.abc import Callable

import msgspec
from core_env import Env, finished, kind, ok, settle, submitted

from mpiexec_runner.model.events import TasksSubmitted
from mpiexec_runner.model.tasks import Result, TaskSpec, TaskState

EnvOf = Callable[..., Env]


def sent(env: Env, task: int, value: bytes) -> None:
    """A task is sent with what the first one left."""
    result = Result(1, TaskState.SUCCEEDED, value=value)
    env.sent(msgspec.structs.replace(env.run(1, {task: 1}), results=[result]))


def one_ended(env_of: EnvOf, *, keep_result: bool) -> Env:
    env = env_of(msgspec.structs.replace(kind(1), keep_result=keep_result))
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)))
    return env


def later(id_: int) -> TasksSubmitted:
    return TasksSubmitted([TaskSpec(id_, 1, b"", after=(1,), uses=(1,))])


def test_a_kept_result_is_sent_to_whoever_comes_later(env_of: EnvOf) -> None:
    env = one_ended(env_of, keep_result=True)
    for id_ in (2, 3):
        env.on(later(id_))
        sent(env, id_, b"v")
        env.on(finished(1, ok(id_)))
        env.sent(settle(ok(id_)))


def test_another_is_forgotten(env_of: EnvOf) -> None:
    env = one_ended(env_of, keep_result=False)
    env.on(later(2))
    sent(env, 2, b"")
    env.on(finished(1, ok(2)))
    env.sent(settle(ok(2)))
