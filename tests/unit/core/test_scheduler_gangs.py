"""Tasks that run on several workers at once."""

from collections.abc import Callable

import pytest
from core_env import (
    Env,
    began,
    cancel,
    died,
    end_attempts,
    ended,
    failed,
    finished,
    kind,
    note,
    ok,
    over,
    returned,
    settle,
    submitted,
)

from mpiexec_runner.core.settings import LimitSettings
from mpiexec_runner.model.commands import RunEnd, RunGroup
from mpiexec_runner.model.events import SubmissionsClosed, WorkerJoined
from mpiexec_runner.model.tasks import Needs, TaskState
from mpiexec_runner.model.workers import WorkerInfo

EnvOf = Callable[..., Env]


def group(env: Env, task: int, *workers: int, attempt: int = 1) -> RunGroup:
    return RunGroup(workers, env.task(task).spec, attempt)


@pytest.fixture
def pair(env_of: EnvOf) -> Env:
    """Task 1 runs on workers 1 and 2."""
    env = env_of(kind(1, needs=Needs(ranks=2)), kind(2, needs=Needs(ranks=3)), kind(3, expected_s=1.0))
    env.join(1, 2)
    env.on(submitted(1))
    env.sent(group(env, 1, 1, 2))
    return env


def test_it_succeeds_when_all_have_told_and_the_first_has_the_value(pair: Env) -> None:
    pair.on(finished(1, ok(1)))
    pair.are(TaskState.ASSIGNED, 1)
    pair.on(finished(2, ok(1, elapsed_s=9.0)))
    pair.sent(settle(ok(1)))


def test_one_failure_ends_the_others_and_counts_once(pair: Env) -> None:
    pair.on(finished(2, failed(1)))
    pair.sent(end_attempts(1, (1, 1)))
    pair.on(finished(1, ended(1)))
    pair.sent(settle(failed(1)))
    assert [pair.state.workers[id_].failed for id_ in (1, 2)] == [0, 1]


def test_a_member_lost_ends_it_for_the_others_and_it_is_tried_again_whole(pair: Env) -> None:
    pair.on(died(2))
    pair.sent(note(2, "lost: rank died"), end_attempts(1, (1, 1)))
    pair.are(TaskState.READY, 1)
    pair.join(3)
    pair.sent(group(pair, 1, 1, 3, attempt=2))


def test_a_late_success_of_one_rank_is_not_that_of_all(pair: Env) -> None:
    pair.on(died(1))
    pair.sent(note(1, "lost: rank died"), end_attempts(2, (1, 1)))
    pair.on(finished(2, ok(1)))
    pair.are(TaskState.READY, 1)


def test_a_member_that_dies_after_another_failed_does_not_hide_the_failure(pair: Env) -> None:
    pair.on(finished(2, failed(1)))
    pair.sent(end_attempts(1, (1, 1)))
    pair.on(died(1))
    pair.sent(note(1, "lost: rank died"), settle(failed(1)))
    pair.are(TaskState.FAILED, 1)


def test_a_cancel_reaches_all(pair: Env) -> None:
    pair.on(cancel(1))
    pair.sent(end_attempts(1, (1, 1)), end_attempts(2, (1, 1)))
    pair.on(finished(1, ended(1)))
    pair.sent(end_attempts(2, (1, 1)))
    pair.on(finished(2, ended(1)))
    pair.sent(settle(ended(1)))
    pair.are(TaskState.CANCELLED, 1)


def test_one_that_is_given_back_ends_it_for_the_others(pair: Env) -> None:
    pair.on(returned(2, (1, 1)))
    pair.sent(end_attempts(1, (1, 1)), group(pair, 1, 1, 2, attempt=2))


def test_a_smaller_gang_does_not_pass_the_one_that_workers_are_kept_for(pair: Env) -> None:
    pair.join(3)
    pair.on(submitted(2, kind=2))
    pair.on(submitted(3), after_s=1.0)
    pair.on(finished(1, ok(1)))
    pair.are(TaskState.READY, 2, 3)
    pair.on(finished(2, ok(1)))
    pair.sent(settle(ok(1)), group(pair, 2, 1, 2, 3))


def test_a_stuck_rank_is_disabled_until_it_comes_out(pair: Env) -> None:
    pair.on(finished(2, failed(1)))
    pair.sent(end_attempts(1, (1, 1)))
    pair.silence(59, 1, 2)
    pair.on(after_s=1.0)
    pair.sent(note(1, "stuck in the group of task 1"), settle(failed(1)))
    pair.on(submitted(2))
    pair.are(TaskState.READY, 2)
    pair.on(finished(1, ended(1)))
    pair.sent(group(pair, 2, 1, 2))
    pair.are(TaskState.ASSIGNED, 2)


def on_hosts(env: Env, **workers: str) -> None:
    """Let workers join, each from a host: ``w1="a"``."""
    for name, host in workers.items():
        env.arrive(int(name[1:]), WorkerInfo(host, int(name[1:]), slots=1))


def test_a_group_that_a_limit_never_lets_begin_is_refused(env_of: EnvOf) -> None:
    trio = kind(1, needs=Needs(ranks=3))
    env = env_of(trio, limits=LimitSettings(per_host=1), expected=4)
    on_hosts(env, w1="a", w2="a", w3="a")
    env.on(submitted(1))
    env.on(WorkerJoined(4, 0, WorkerInfo("b", 4, slots=1)))
    env._unclaimed.clear()
    why = "it needs 3 workers at once, and 2 of the 4 that fit may work at once: limits.per_host is 1"
    env.are(TaskState.FAILED, 1)
    assert env.state.whys[1] == (TaskState.FAILED, f"no worker can run it: {why}")


def test_what_is_left_of_the_hosts_has_to_be_enough_for_a_group(env_of: EnvOf) -> None:
    env = env_of(kind(1, needs=Needs(ranks=2)), limits=LimitSettings(per_host=1), expected=3)
    on_hosts(env, w1="a", w2="a", w3="b")
    env.on(died(3), submitted(1), SubmissionsClosed())
    env.sent(note(3, "lost: rank died"))
    env.silence(89.9, 1, 2)
    env.on(after_s=0.2)
    env.sent(over(RunEnd.STARVED, "no worker that is left can run what is left: 1 tasks"))


def test_others_on_its_hosts_leave_room_for_a_group_that_waits(env_of: EnvOf) -> None:
    env = env_of(kind(1, needs=Needs(ranks=2)), kind(2, expected_s=10.0), limits=LimitSettings(per_host=1))
    on_hosts(env, w1="a", w2="a", w3="a", w4="b", w5="b", w6="b")
    env.on(submitted(1, kind=2))
    env.sent(env.run(1, {1: 1}))
    env.on(submitted(2, kind=2), began(1, (1, 1)), after_s=5.0)
    env.sent(env.run(4, {2: 1}))
    env.on(began(4, (2, 1)), submitted(3), submitted(*range(4, 20), kind=2), after_s=1.0)
    env.on(finished(1, ok(1)), after_s=4.0)
    env.sent(settle(ok(1)))
    env.on(finished(4, ok(2)), after_s=5.0)
    env.sent(settle(ok(2)), group(env, 3, 1, 4))
