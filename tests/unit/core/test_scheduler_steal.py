"""Tasks taken back from a worker that has not begun them, for one that has nothing to do."""

from collections.abc import Callable

import pytest
from core_env import (
    LOST,
    Env,
    beat,
    began,
    cancel,
    cancelled,
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
    retract,
    returned,
    settle,
    submitted,
    welcome,
)

from mpiexec_runner.model.commands import RetractTasks
from mpiexec_runner.model.events import Tick
from mpiexec_runner.model.tasks import TaskState

EnvOf = Callable[..., Env]
SHORT_S = 0.01


@pytest.fixture
def busy(env_of: EnvOf) -> Env:
    """Worker 1 runs task 2, which lasts, and has 3, 4 and 5 in line. There is nobody else yet."""
    env = env_of(kind(1, retries=2))
    env.join(1)
    env.measure(SHORT_S)
    env.on(submitted(2, 3, 4, 5))
    env.sent(env.run(1, {2: 1, 3: 1, 4: 1, 5: 1}))
    env.on(began(1, (2, 1)))
    return env


@pytest.fixture
def stolen(busy: Env) -> Env:
    """As before; worker 2 has come, and worker 1 was asked for 4 and 5."""
    busy.join(2)
    busy.sent(retract(1, (4, 1), (5, 1)))
    return busy


def test_steal_returned(stolen: Env) -> None:
    stolen.on(returned(1, (4, 1), (5, 1)))
    stolen.sent(stolen.run(2, {4: 1, 5: 1}))
    stolen.on(finished(2, ok(4, 1), ok(5, 1)))
    stolen.sent(settle(ok(4, 1), ok(5, 1)), retract(1, (3, 1)))


def test_steal_began_meanwhile(stolen: Env) -> None:
    stolen.on(finished(1, ok(2, 1, SHORT_S), ok(3, 1, SHORT_S)), began(1, (4, 1)), returned(1, (5, 1)))
    stolen.sent(settle(ok(2, 1, SHORT_S), ok(3, 1, SHORT_S)), stolen.run(2, {5: 1}))
    stolen.holds(1, 4)
    stolen.are(TaskState.RUNNING, 4)


def test_steal_finished_meanwhile(stolen: Env) -> None:
    outcomes = [ok(id_, 1, SHORT_S) for id_ in (2, 3, 4, 5)]
    stolen.on(finished(1, *outcomes), returned(1))
    stolen.sent(settle(*outcomes))


def test_steal_failed_meanwhile(stolen: Env) -> None:
    stolen.on(finished(1, failed(4)), returned(1, (5, 1)))
    stolen.are(TaskState.WAITING, 4)
    stolen.sent(stolen.run(2, {5: 1}))


def test_steal_cancelled_before_it_comes_back(stolen: Env) -> None:
    stolen.on(cancel(4))
    stolen.sent(end_attempts(1, (4, 1)))
    stolen.on(returned(1, (4, 1), (5, 1)))
    stolen.sent(cancelled(4), stolen.run(2, {5: 1}))


def test_steal_cancelled_on_its_worker(stolen: Env) -> None:
    stolen.on(cancel(4))
    stolen.sent(end_attempts(1, (4, 1)))
    stolen.on(finished(1, ended(4)), returned(1, (5, 1)))
    stolen.sent(settle(ended(4)), stolen.run(2, {5: 1}))


def test_steal_victim_lost(stolen: Env) -> None:
    stolen.on(died(1))
    stolen.sent(LOST, stolen.run(2, {2: 2, 3: 2, 4: 2, 5: 2}))
    stolen.on(returned(1, (4, 1), (5, 1)))
    stolen.sent(note(1, "heard again after it was lost"), welcome(1, 2))


def test_steal_victim_left(stolen: Env) -> None:
    stolen.on(left(1))
    stolen.sent(stolen.run(2, {2: 2, 3: 2, 4: 2, 5: 2}))


def test_steal_victim_joins_again(stolen: Env) -> None:
    stolen.on(joined(1, 1))
    stolen.sent(welcome(1, 2), stolen.run(2, {2: 2, 3: 2, 4: 2, 5: 2}))
    stolen.on(returned(1, (4, 1), (5, 1)))
    assert not stolen.state.workers[1].retracting


def test_steal_thief_lost(stolen: Env) -> None:
    stolen.on(died(2))
    stolen.sent(note(2, "lost: rank died"))
    stolen.on(returned(1, (4, 1), (5, 1)))
    stolen.are(TaskState.READY, 4, 5)
    stolen.on(finished(1, ok(2, 1, SHORT_S)))
    stolen.sent(settle(ok(2, 1, SHORT_S)), stolen.run(1, {4: 1, 5: 1}))


def test_steal_thief_got_other_work_meanwhile(stolen: Env) -> None:
    stolen.on(submitted(6))
    stolen.sent(stolen.run(2, {6: 1}))
    stolen.on(returned(1, (4, 1), (5, 1)))
    stolen.sent(stolen.run(2, {4: 1, 5: 1}))


def test_steal_asks_once_until_it_is_answered(stolen: Env) -> None:
    stolen.on(beat(1), beat(2), Tick())
    stolen.join(3)
    stolen.on(returned(1))
    stolen.sent(retract(1, (4, 1), (5, 1)))


def test_steal_from_the_longest_line(env: Env) -> None:
    env.join(1)
    env.measure(SHORT_S)
    env.on(submitted(2, 3))
    env.sent(env.run(1, {2: 1, 3: 1}))
    env.join(2)
    env.on(submitted(4, 5, 6, 7))
    env.sent(env.run(2, {4: 1, 5: 1, 6: 1}), env.run(1, {7: 1}))
    env.on(began(1, (2, 1)), began(2, (4, 1)), submitted(8))
    env.sent(env.run(1, {8: 1}))
    env.join(3)
    env.sent(retract(1, (7, 1), (8, 1)))


def test_no_steal_before_anything_is_known_to_last(env: Env) -> None:
    env.join(1)
    env.measure(SHORT_S)
    env.on(submitted(2, 3))
    env.sent(env.run(1, {2: 1, 3: 1}))
    env.join(2)


def test_no_steal_while_others_are_ready(busy: Env) -> None:
    busy.on(submitted(6, 7, 8, 9))
    busy.join(2)
    busy.sent(busy.run(2, {6: 1, 7: 1, 8: 1, 9: 1}))


def test_no_steal_when_the_settings_forbid_it(env_of: EnvOf) -> None:
    env = env_of(work_stealing=False)
    env.join(1)
    env.measure(SHORT_S)
    env.on(submitted(2, 3, 4))
    env.sent(env.run(1, {2: 1, 3: 1, 4: 1}))
    env.on(began(1, (2, 1)))
    env.join(2)


def test_no_steal_from_a_worker_that_is_suspect(busy: Env) -> None:
    busy.silence(25)
    busy.on(Tick(), after_s=5)
    busy.sent(note(1, "suspect: silent for 30 s"))
    busy.join(2)


def test_steal_from_a_worker_that_was_suspect(busy: Env) -> None:
    busy.silence(25)
    busy.on(Tick(), after_s=5)
    busy.sent(note(1, "suspect: silent for 30 s"))
    busy.join(2)
    busy.on(beat(1))
    busy.sent(note(1, "heard again"), retract(1, (4, 1), (5, 1)))


def test_a_stolen_task_is_not_stolen_back_and_forth(env_of: EnvOf) -> None:
    """Worker 1 never comes to an end with what it began; the others do all the rest."""
    env = env_of()
    env.join(1)
    env.measure(SHORT_S)
    env.on(submitted(2, 3, 4, 5))
    env.sent(env.run(1, {2: 1, 3: 1, 4: 1, 5: 1}))
    env.on(began(1, (2, 1)))
    env.join(2)
    steps = 0
    while env.state.unfinished > 1:
        steps += 1
        assert steps < 10
        asked = [c for c in env._unclaimed if isinstance(c, RetractTasks)]
        env._unclaimed.clear()
        attempts = asked[0].attempts if asked else []
        if attempts:
            env.on(returned(1, *attempts))
            env._unclaimed.clear()
        held = list(env.state.workers[2].tasks.values())
        env.on(finished(2, *[ok(task.spec.id, task.attempt, SHORT_S) for task in held]))
    env._unclaimed.clear()
    env.holds(1, 2)
