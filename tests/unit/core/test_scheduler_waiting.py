"""What falls due while ready tasks wait: second attempts, relative time-outs, limits with room again."""

from collections.abc import Callable

import pytest
from core_env import START, Env, beat, began, finished, kind, ok, settle, submitted

from mpiexec_runner.core.settings import LimitSettings
from mpiexec_runner.model.commands import CancelAttempts, RunTasks
from mpiexec_runner.model.events import Tick, WorkerJoined
from mpiexec_runner.model.tasks import Failure, FailureClass, Needs, Outcome, TaskKind, Verdict
from mpiexec_runner.model.workers import WorkerInfo

EnvOf = Callable[..., Env]


def late(env: Env) -> None:
    """Task 4 runs on worker 1 and is soon late: others took 10 s. Worker 2 has nothing to do."""
    env.join(1)
    for _ in range(3):
        env.measure(10.0)
    env.on(submitted(4))
    env.sent(env.run(1, {4: 1}))
    env.on(began(1, (4, 1)))
    env.join(2)


def wait(env: Env, seconds: int = 60) -> None:
    for _ in range(seconds):
        if env._unclaimed:
            return
        env.silence(1.0, *env.state.workers)


@pytest.mark.parametrize(
    ("other", "limits"),
    [
        (kind(2, needs=Needs(gpus=1)), None),
        (kind(2, needs=Needs(ranks=3)), None),
        (kind(2, labels=("licence",)), LimitSettings(per_label={"licence": 1})),
    ],
    ids=["nobody fits", "a group", "a limit"],
)
def test_a_late_task_gets_a_second_attempt_though_others_wait(
    env_of: EnvOf, other: TaskKind, limits: LimitSettings | None
) -> None:
    env = env_of(kind(1), other, limits=limits)
    late(env)
    if limits is not None:
        env.join(3)
        env.on(submitted(5, kind=2))
        env.sent(env.run(2, {5: 1}))
        env.on(began(2, (5, 1)))
    env.on(submitted(6, kind=2))
    wait(env)
    env.sent(env.run(3 if limits is not None else 2, {4: 2}, aside=True))


def test_a_second_attempt_stands_back_behind_what_can_be_placed(env_of: EnvOf) -> None:
    env = env_of()
    late(env)
    env.on(submitted(5))
    env.sent(env.run(2, {5: 1}))
    env.on(began(2, (5, 1)))
    env.on(submitted(6))
    env.silence(30.0, 1, 2)
    env.on(finished(2, ok(5)))
    env.sent(settle(ok(5)), env.run(2, {6: 1}))


# --- relative time-outs


def test_a_relative_time_out_falls_due_by_itself(env_of: EnvOf) -> None:
    env = env_of(kind(1, timeout_factor=3.0), speculation=False)
    env.join(1)
    for _ in range(3):
        env.measure(0.5)
    env.on(submitted(4))
    env.sent(env.run(1, {4: 1}))
    env.on(began(1, (4, 1)))
    due = env.now + 3.0 * env.state.kinds[1].median_s
    assert env.core.next_deadline() == due < START + 5.0
    env.tick()
    env.sent(CancelAttempts(1, [(4, 1)], overdue=True))
    assert env.core.next_deadline() > env.now
    over = Outcome(4, 1, Verdict.FAILED, START, 1.5, failure=Failure(FailureClass.TIMEOUT, "overdue"))
    env.on(finished(1, over))
    env.sent(settle(over))


def test_it_falls_due_when_enough_is_measured_while_a_task_runs(env_of: EnvOf) -> None:
    env = env_of(kind(1, timeout_factor=2.0), speculation=False)
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(began(1, (1, 1)))
    env.join(2)
    for _ in range(3):
        env.measure(1.0, worker=2)
    assert env.core.next_deadline() == START + 2.0 * env.state.kinds[1].median_s
    env.tick()
    env.sent(CancelAttempts(1, [(1, 1)], overdue=True))


def test_a_worker_that_does_not_end_it_is_told_again_after_a_while(env_of: EnvOf) -> None:
    env = env_of(kind(1, timeout_factor=3.0), speculation=False)
    env.join(1)
    for _ in range(3):
        env.measure(0.5)
    env.on(submitted(4))
    env.sent(env.run(1, {4: 1}))
    env.on(began(1, (4, 1)))
    env.tick()
    env.sent(CancelAttempts(1, [(4, 1)], overdue=True))
    env.on(beat(1), Tick(), after_s=4.0)
    env.on(beat(1), Tick(), after_s=1.1)
    env.sent(CancelAttempts(1, [(4, 1)], overdue=True))


# --- limits of hosts


def arrive(env: Env, hosts: int, each: int) -> None:
    for id_ in range(1, hosts * each + 1):
        host = f"node{(id_ - 1) // each}"
        env.core.handle([WorkerJoined(id_, 0, WorkerInfo(host, id_))], env.now)
        env.core.handle([beat(id_)], env.now)


def held(commands: list[object]) -> dict[int, int]:
    """Who was sent which task."""
    runs = [command for command in commands if isinstance(command, RunTasks)]
    return {run.worker: spec.id for run in runs for spec in run.tasks}


def test_room_on_a_host_is_for_any_of_its_workers_and_costs_nobody_else_a_look() -> None:
    env = Env(limits=LimitSettings(per_host=1))
    arrive(env, hosts=10, each=8)
    given = held(env.core.handle([submitted(*range(1, 101))], env.now))
    assert len(given) == 10
    assert len({(id_ - 1) // 8 for id_ in given}) == 10
    for _ in range(20):
        worker, task = next(iter(given.items()))
        del given[worker]
        before = env.state.stamps
        new = held(env.core.handle([finished(worker, ok(task))], env.now))
        assert [(id_ - 1) // 8 for id_ in new] == [(worker - 1) // 8]
        assert env.state.stamps - before <= 2 * 8
        given |= new
    assert len(env.state.ready) == 70


def test_a_limit_of_the_run_lets_waiting_tasks_go_to_whom_has_had_room_all_the_time(env_of: EnvOf) -> None:
    env = env_of(kind(1), kind(2, labels=("licence",)), limits=LimitSettings(per_label={"licence": 1}))
    env.join(1, 2)
    env.on(submitted(1, 2, kind=2))
    env.sent(env.run(1, {1: 1}))
    env.on(submitted(3))
    env.sent(env.run(2, {3: 1}))
    env.on(finished(2, ok(3)))
    env.sent(settle(ok(3)))
    env.on(submitted(4))
    env.sent(env.run(2, {4: 1}))
    env.on(finished(1, ok(1)))
    env.sent(settle(ok(1)), env.run(1, {2: 1}))
