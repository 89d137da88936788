"""Hosts on which task after task fails while others succeed: excluded, probed, opened again."""

from collections.abc import Callable

import pytest
from core_env import Env, died, failed, finished, note, ok, retract, settle, submitted

from mpiexec_runner.model.events import Tick, WorkerSwitched
from mpiexec_runner.model.tasks import Outcome
from mpiexec_runner.model.workers import WorkerInfo

EnvOf = Callable[..., Env]
WHY = "excluded: {} tasks in a row failed on a"
PROBED = "its host is probed with one task"


def two_hosts(env_of: EnvOf, **settings: object) -> Env:
    """Workers 1 and 2 are on host a and run tasks 1 and 2, worker 3 is on host b and runs task 3."""
    env = env_of(**{"exclude_after": 2, "probe_after_s": 60.0, **settings})
    for worker, host in ((1, "a"), (2, "a"), (3, "b")):
        env.arrive(worker, WorkerInfo(host, worker))
    env.on(submitted(*range(1, 13)))
    env.sent(env.run(1, {1: 1}), env.run(2, {2: 1}), env.run(3, {3: 1}))
    return env


def play(env: Env, *story: tuple[int, Callable[[int], Outcome]]) -> None:
    """Let what these workers run end so, one after another; each gets the next task, from 4 on."""
    for following, (worker, how) in enumerate(story, start=4):
        (task,) = env.state.workers[worker].tasks
        env.on(finished(worker, how(task)))
        env.sent(settle(how(task)), env.run(worker, {following: 1}))


@pytest.fixture
def excluded(env_of: EnvOf) -> Env:
    """Host a is excluded and holds nothing, worker 3 on host b runs task 6; 7 and more wait."""
    env = two_hosts(env_of)
    env.on(finished(1, failed(1)))
    env.sent(settle(failed(1)), env.run(1, {4: 1}))
    for done, following in ((3, 5), (5, 6)):
        env.on(finished(3, ok(done)))
        env.sent(settle(ok(done)), env.run(3, {following: 1}))
    env.on(finished(2, failed(2)))
    env.sent(note(1, WHY.format(2)), retract(1, (4, 1)), note(2, WHY.format(2)), settle(failed(2)))
    env.on(finished(1, ok(4)))
    env.sent(settle(ok(4)))
    return env


def probe(env: Env, task: int, *, after_s: float) -> None:
    """Let the pause of host a pass; worker 1 gets one task, worker 2 none."""
    env.silence(after_s - 1.0, 1, 2, 3)
    env.on(Tick(), after_s=1.0)
    env.sent(note(1, PROBED), note(2, PROBED), env.run(1, {task: 1}))


def test_a_probe_that_succeeds_opens_the_host(excluded: Env) -> None:
    assert excluded.state.tally.excluded == 1
    probe(excluded, 7, after_s=60.0)
    excluded.on(finished(1, ok(7)))
    excluded.sent(settle(ok(7)), excluded.run(1, {8: 1}), excluded.run(2, {9: 1}))
    excluded.on(finished(1, failed(8)))
    excluded.sent(settle(failed(8)), excluded.run(1, {10: 1}))


def test_a_probe_that_fails_doubles_the_pause(excluded: Env) -> None:
    probe(excluded, 7, after_s=60.0)
    excluded.on(finished(1, failed(7)))
    excluded.sent(note(1, WHY.format(3)), note(2, WHY.format(3)), settle(failed(7)))
    probe(excluded, 8, after_s=120.0)
    excluded.on(finished(1, failed(8)))
    excluded.sent(note(1, WHY.format(4)), note(2, WHY.format(4)), settle(failed(8)))
    probe(excluded, 9, after_s=240.0)


def test_it_is_let_in_when_nobody_else_can_run_what_is_left(excluded: Env) -> None:
    excluded.on(died(3))
    again = "not excluded any more: nobody else can run what is left"
    lost = note(3, "lost: rank died")
    excluded.sent(lost, note(1, again), note(2, again), excluded.run(1, {6: 2}), excluded.run(2, {7: 1}))


def test_the_last_host_is_never_excluded(env_of: EnvOf) -> None:
    env = two_hosts(env_of)
    play(env, (3, failed), (1, ok), (1, ok))
    env.on(finished(1, ok(6)), finished(2, ok(2)), WorkerSwitched(1, False), WorkerSwitched(2, False))
    env.sent(settle(ok(6)), settle(ok(2)), note(1, "disabled by hand"), note(2, "disabled by hand"))
    for task in (4, 7, 8):
        env.on(finished(3, failed(task)))
        env.sent(settle(failed(task)), env.run(3, {max(7, task + 1): 1}))


def test_tasks_that_fail_everywhere_say_nothing_of_a_host(env_of: EnvOf) -> None:
    env = two_hosts(env_of)
    for task in range(1, 10):
        worker = (task - 1) % 3 + 1
        env.on(finished(worker, failed(task)))
        env.sent(settle(failed(task)), env.run(worker, {task + 3: 1}))


def test_a_success_between_begins_the_count_anew(env_of: EnvOf) -> None:
    env = two_hosts(env_of)
    play(env, (1, failed), (3, ok), (3, ok), (2, ok), (1, failed))


def test_no_host_is_excluded_where_that_is_switched_off(env_of: EnvOf) -> None:
    env = two_hosts(env_of, exclude_after=0)
    play(env, *[(1, failed), (3, ok)] * 4)
