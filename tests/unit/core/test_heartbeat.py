"""HeartbeatManager: heartbeats even and uneven, processes that work, checks, who can be counted on."""

import math
from collections.abc import Callable

import msgspec
import pytest
from core_env import (
    HEARTBEAT,
    Env,
    beat,
    failed,
    finished,
    image,
    note,
    ok,
    restored,
    retract,
    settle,
    submitted,
    welcome,
)

from mpiexec_runner.core.heartbeat import ENOUGH, WINDOW, deviations_of, phi_of
from mpiexec_runner.core.settings import HeartbeatSettings
from mpiexec_runner.model.events import TasksSubmitted, Tick, WorkerBeat, WorkersSeenWorking, WorkerSwitched
from mpiexec_runner.model.tasks import TaskSpec, TaskState
from mpiexec_runner.model.workers import Health, Load, WorkerInfo, WorkerState

EnvOf = Callable[..., Env]
SUSPECT, LOST = WorkerState.SUSPECT, WorkerState.LOST


@pytest.fixture
def even(env: Env) -> Env:
    """Worker 1 has sent enough heartbeats, one as long after the other as the next; worker 2 speaks, too."""
    env.join(1, 2)
    env.silence((ENOUGH + 1) * HEARTBEAT.interval_s, 1, 2)
    return env


def silence(env: Env, seconds: float, *speaking: int) -> None:
    """Let time pass until something is asked for, which is left to be claimed."""
    env.silence(seconds - HEARTBEAT.interval_s, *speaking)
    beats = [beat(worker, env.state.workers[worker].incarnation) for worker in speaking]
    env.on(*beats, Tick(), after_s=HEARTBEAT.interval_s)


# --- the detector


@pytest.mark.parametrize(
    ("deviations", "phi"), [(0.0, 0.30103), (1.2816, 1.0), (4.26489, 5.0), (7.03448, 12.0)]
)
def test_phi_is_the_power_of_ten_of_the_normal_tail(deviations: float, phi: float) -> None:
    assert phi_of(deviations) == pytest.approx(phi, rel=1e-4)
    assert deviations_of(phi) == pytest.approx(deviations, abs=1e-4)


def test_phi_of_a_silence_beyond_all_numbers_is_infinite() -> None:
    assert phi_of(50.0) == math.inf
    assert deviations_of(100.0) < 40.0


def test_phi_grows_with_the_silence(even: Env) -> None:
    manager, worker = even.core.heartbeats, even.state.workers[1]
    seen = [manager.phi(worker, even.now + seconds) for seconds in (0, 5, 10, 20, 40)]
    assert seen == sorted(seen)
    assert seen[1] == pytest.approx(phi_of(0.0))
    assert manager.limits(worker)[0] == pytest.approx(5 + 2.5 * deviations_of(5.0))


def test_after_even_heartbeats_silence_is_noticed_soon(even: Env) -> None:
    silence(even, 20, 2)
    even.sent(note(1, "suspect: silent for 20 s"))
    silence(even, 40, 2)
    even.sent(note(1, "lost: silent for 60 s"))


def test_after_uneven_heartbeats_it_takes_longer(env: Env) -> None:
    env.join(1, 2)
    for _ in range(ENOUGH):
        env.silence(20, 2)
        env.silence(10, 1, 2)
    suspect_s, lost_s = env.core.heartbeats.limits(env.state.workers[1])
    assert suspect_s == HEARTBEAT.suspect_s
    assert lost_s == pytest.approx(15 + 10 * deviations_of(12.0))
    silence(env, 30, 2)
    env.sent(note(1, "suspect: silent for 30 s"))


def test_before_enough_heartbeats_the_hard_limits_count(env: Env) -> None:
    env.join(1)
    assert env.core.heartbeats.phi(env.state.workers[1], env.now + 1000) == 0.0
    assert env.core.heartbeats.limits(env.state.workers[1]) == (30.0, 90.0)


def test_no_evenness_loses_a_worker_before_the_floor() -> None:
    settings = HeartbeatSettings(interval_s=1, timeout_s=90, phi_deviation_s=0.001)
    assert settings.floor_s == 60
    assert HeartbeatSettings(phi_floor_s=80).floor_s == 80
    with pytest.raises(ValueError, match="phi_floor_s"):
        HeartbeatSettings(phi_floor_s=10)
    with pytest.raises(ValueError, match="phi_lost"):
        HeartbeatSettings(phi_lost=2)


def test_what_is_remembered_of_heartbeats_is_bounded(env: Env) -> None:
    env.join(1)
    env.silence((WINDOW + 10) * HEARTBEAT.interval_s, 1)
    assert env.state.workers[1].gaps == [HEARTBEAT.interval_s] * WINDOW


def test_a_new_incarnation_begins_with_a_rhythm_of_its_own(even: Env) -> None:
    silence(even, 20, 2)
    even.sent(note(1, "suspect: silent for 20 s"))
    silence(even, 40, 2)
    even.sent(note(1, "lost: silent for 60 s"))
    even.on(beat(1))
    even.sent(note(1, "heard again after it was lost"), welcome(1, 2))
    assert even.state.workers[1].gaps == []


def test_the_gap_while_the_hub_was_away_is_no_gap(even: Env) -> None:
    even.on(Tick(), after_s=1000)
    even.on(beat(1), beat(2))
    assert max(even.state.workers[1].gaps) == HEARTBEAT.interval_s


def test_a_snapshot_from_before_there_were_rhythms_is_read(even: Env) -> None:
    kept = msgspec.msgpack.decode(image(even.state))
    kept["workers"] = [worker[:-3] for worker in kept["workers"]]
    assert len(even.state.workers[1].gaps) >= ENOUGH
    assert restored(msgspec.msgpack.encode(kept)).workers[1].gaps == []


# --- processes that work


def working(*workers: int) -> WorkersSeenWorking:
    return WorkersSeenWorking(workers)


def test_a_silent_worker_whose_process_works_stays_suspect(env: Env) -> None:
    env.on(submitted(1))
    env.join(1)
    env.sent(env.run(1, {1: 1}))
    silence(env, 30)
    env.sent(note(1, "suspect: silent for 30 s"))
    assert [worker.id for worker in env.core.heartbeats.doubtful(env.now)] == [1]
    env.on(working(1))
    env.sent(note(1, "silent for 30 s, but its process works"))
    for _ in range(20):
        env.silence(25)
        env.on(working(1), Tick(), after_s=5)
    env.is_(1, SUSPECT)
    env.on(finished(1, ok(1)))
    env.sent(note(1, "heard again"), settle(ok(1)))


def test_a_worker_whose_process_stops_to_work_is_lost_after_all(env: Env) -> None:
    env.join(1)
    silence(env, 30)
    env.sent(note(1, "suspect: silent for 30 s"))
    env.silence(50)
    env.on(working(1))
    env.sent(note(1, "silent for 80 s, but its process works"))
    env.silence(85)
    env.is_(1, SUSPECT)
    env.on(Tick(), after_s=5)
    env.sent(note(1, "lost: silent for 170 s"))


def test_a_process_that_works_for_ever_is_lost_at_last(env: Env) -> None:
    env.join(1)
    silence(env, 30)
    env.sent(note(1, "suspect: silent for 30 s"))
    env.on(working(1))
    env.sent(note(1, "silent for 30 s, but its process works"))
    for _ in range(713):
        env.on(working(1), Tick(), after_s=5)
    env.on(working(1), Tick(), after_s=5)
    env.sent(note(1, "lost: silent for 3600 s"))


def test_what_was_seen_before_a_message_says_nothing_of_the_silence_after_it(env: Env) -> None:
    env.join(1)
    silence(env, 30)
    env.sent(note(1, "suspect: silent for 30 s"))
    env.on(working(1))
    env.sent(note(1, "silent for 30 s, but its process works"))
    env.on(beat(1))
    env.sent(note(1, "heard again"))
    silence(env, 30)
    env.sent(note(1, "suspect: silent for 30 s"))
    silence(env, 60)
    env.sent(note(1, "lost: silent for 90 s"))


def test_what_was_seen_stays_seen_while_the_hub_was_away(env: Env) -> None:
    env.join(1)
    silence(env, 30)
    env.sent(note(1, "suspect: silent for 30 s"))
    env.silence(50)
    env.on(working(1))
    env.sent(note(1, "silent for 80 s, but its process works"))
    env.on(Tick(), after_s=1000)
    env.silence(85)
    env.is_(1, SUSPECT)
    env.on(Tick(), after_s=5)
    env.sent(note(1, "lost: silent for 170 s"))


@pytest.mark.parametrize("who", [1, 42], ids=["lost", "unknown"])
def test_what_is_seen_of_nobody_is_harmless(env: Env, who: int) -> None:
    env.join(1)
    silence(env, 30)
    env.sent(note(1, "suspect: silent for 30 s"))
    silence(env, 60)
    env.sent(note(1, "lost: silent for 90 s"))
    env.on(working(who))
    env.is_(1, LOST)


# --- what workers find in themselves


def told(worker: int, health: Health, said: str = "disk_space: full") -> WorkerBeat:
    return WorkerBeat(worker, 1, Load(health=health, note=said if health else ""))


DEGRADED = "degraded: disk_space: full; it gets work last"
UNHEALTHY = "unhealthy: disk_space: full; it gets nothing new until it recovers"


def test_an_unhealthy_worker_gets_nothing_until_it_recovers(env: Env) -> None:
    env.join(1)
    env.on(told(1, Health.UNHEALTHY))
    env.sent(note(1, UNHEALTHY))
    env.on(submitted(1))
    env.are(TaskState.READY, 1)
    assert env.state.workers[1].throttled == "unhealthy: disk_space: full"
    env.on(told(1, Health.UNHEALTHY, "disk_space: fuller"))
    env.on(told(1, Health.HEALTHY))
    env.sent(note(1, "healthy again"), env.run(1, {1: 1}))


def test_an_unhealthy_worker_gives_back_what_it_has_not_begun(env: Env) -> None:
    env.join(1)
    env.measure(0.001)
    env.on(submitted(2, 3))
    env.sent(env.run(1, {2: 1, 3: 1}))
    env.on(told(1, Health.UNHEALTHY))
    env.sent(note(1, UNHEALTHY), retract(1, (2, 1), (3, 1)))


def test_a_degraded_worker_gets_work_last(env: Env) -> None:
    env.join(1, 2, slots=2)
    env.on(told(1, Health.DEGRADED))
    env.sent(note(1, DEGRADED))
    env.on(submitted(1, 2))
    env.sent(env.run(2, {1: 1, 2: 1}))
    env.on(submitted(3, 4))
    env.sent(env.run(1, {3: 1, 4: 1}))


def test_a_degraded_worker_gets_what_the_others_have_no_room_for(env: Env) -> None:
    env.join(1, 2, slots=2)
    env.on(told(1, Health.DEGRADED))
    env.sent(note(1, DEGRADED))
    env.on(submitted(1, 2, 3))
    env.sent(env.run(1, {1: 1}), env.run(2, {2: 1, 3: 1}))


def test_degraded_then_unhealthy_then_well(env: Env) -> None:
    env.join(1)
    env.on(told(1, Health.DEGRADED))
    env.sent(note(1, DEGRADED))
    env.on(told(1, Health.UNHEALTHY))
    env.sent(note(1, UNHEALTHY))
    assert env.state.degraded == 0
    env.on(told(1, Health.DEGRADED))
    env.sent(note(1, DEGRADED))
    assert env.state.degraded == 1
    env.on(told(1, Health.HEALTHY))
    env.sent(note(1, "healthy again"))


# --- who can be counted on


def test_who_is_available(env: Env) -> None:
    for worker, host in ((1, "a"), (2, "a"), (3, "b")):
        env.arrive(worker, WorkerInfo(host, worker))
    manager = env.core.heartbeats
    assert manager.get_available([3, 1, 7, "b", "a", "site"]) == [3, 1, "b", "a", "site"]
    env.on(told(1, Health.UNHEALTHY), WorkerSwitched(3, False))
    env.sent(note(1, UNHEALTHY), note(3, "disabled by hand"))
    assert manager.get_available([1, 2, 3, "a", "b"]) == [2, "a"]


@pytest.mark.parametrize(
    ("names", "ratio", "healthy"),
    [
        ([1, 2, 3], 1.0, False),
        ([1, 2, 3], 0.6, True),
        ([1, 2, 3], 0.7, False),
        (["a", "b"], 0.5, True),
        (["a"], 1.0, False),
        ([7], 0.5, False),
        ([], 1.0, True),
        ([1], 0.0, True),
    ],
)
def test_how_many_have_to_be_healthy(env: Env, names: list[int | str], ratio: float, healthy: bool) -> None:
    for worker, host in ((1, "a"), (2, "a"), (3, "b")):
        env.arrive(worker, WorkerInfo(host, worker))
    env.on(told(1, Health.DEGRADED))
    env.sent(note(1, DEGRADED))
    assert env.core.heartbeats.are_healthy(names, ratio) is healthy


def test_a_ratio_is_a_ratio(env: Env) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        env.core.heartbeats.are_healthy([1], 2.0)


# --- failure ratios


def play(env: Env, *story: tuple[int, Callable[..., object]]) -> None:
    """Let what workers run end so, one after another; each gets the next task."""
    for worker, how in story:
        (task,) = env.state.workers[worker].tasks
        env.on(finished(worker, how(task)))
        following = max(t.spec.id for w in env.state.workers.values() for t in w.tasks.values())
        env.sent(settle(how(task)), env.run(worker, {following: 1}))


@pytest.fixture
def mostly_failing(env_of: EnvOf) -> Env:
    """Workers 1 and 2 on one host; of what worker 1 ran, nearly all failed: one more, and it is too much."""
    env = env_of(exclude_after=3, probe_after_s=60.0)
    for worker in (1, 2):
        env.arrive(worker, WorkerInfo("a", worker))
    env.on(submitted(*range(1, 40)))
    env.sent(env.run(1, {1: 1}), env.run(2, {2: 1}))
    play(
        env, (1, failed), *[(2, ok)] * 3, (1, failed), (2, ok), (1, ok), (2, ok), *[(1, failed), (2, ok)] * 2
    )
    return env


WHY = "excluded: 84 % of its latest tasks failed"


def test_a_worker_over_the_ratio_is_excluded_alone(mostly_failing: Env) -> None:
    env = mostly_failing
    (task,) = env.state.workers[1].tasks
    env.on(finished(1, failed(task)))
    env.sent(note(1, WHY), settle(failed(task)))
    assert env.core.heartbeats.get_available([1, 2, "a"]) == [2, "a"]
    assert not env.core.heartbeats.are_healthy([1, 2])


def test_a_worker_is_probed_with_one_task_and_let_in_again(mostly_failing: Env) -> None:
    env = mostly_failing
    (task,) = env.state.workers[1].tasks
    env.on(finished(1, failed(task)))
    env.sent(note(1, WHY), settle(failed(task)))
    env.silence(55, 1, 2)
    env.on(Tick(), beat(1), beat(2), after_s=5)
    (probe,) = env.state.workers[1].tasks
    env.sent(note(1, "probed with one task"), env.run(1, {probe: 1}))
    env.on(finished(1, failed(probe)))
    env.sent(note(1, "excluded: the task that it was probed with failed"), settle(failed(probe)))
    env.silence(115, 1, 2)
    env.on(Tick(), beat(1), beat(2), after_s=5)
    (probe,) = env.state.workers[1].tasks
    env.sent(note(1, "probed with one task"), env.run(1, {probe: 1}))
    play(env, (1, ok), (1, failed))


def test_a_worker_that_begins_again_begins_with_a_clean_slate(mostly_failing: Env) -> None:
    env = mostly_failing
    (task,) = env.state.workers[1].tasks
    env.on(finished(1, failed(task)))
    env.sent(note(1, WHY), settle(failed(task)))
    silence(env, 20, 2)
    silence(env, 5, 2)
    while env.state.workers[1].state is not LOST:
        env._unclaimed.clear()
        silence(env, 5, 2)
    env.sent(note(1, "lost: silent for 90 s"))
    env.on(beat(1))
    env.sent(note(1, "heard again after it was lost"), welcome(1, 2))
    assert env.state.workers[1].disabled == ""
    assert "rank 1" not in env.state.hosts


def test_where_as_many_fail_elsewhere_nobody_is_excluded(env_of: EnvOf) -> None:
    env = env_of(exclude_after=3)
    for worker in (1, 2):
        env.arrive(worker, WorkerInfo("a", worker))
    env.on(submitted(*range(1, 60)))
    env.sent(env.run(1, {1: 1}), env.run(2, {2: 1}))
    play(env, (2, ok), (2, ok), *[(1, failed), (2, failed), (2, failed), (2, ok)] * 8)


def test_no_worker_is_excluded_where_the_ratio_is_switched_off(env_of: EnvOf) -> None:
    env = env_of(exclude_after=3, exclude_ratio=None)
    for worker in (1, 2):
        env.arrive(worker, WorkerInfo("a", worker))
    env.on(submitted(*range(1, 60)))
    env.sent(env.run(1, {1: 1}), env.run(2, {2: 1}))
    play(env, *[(1, failed), (2, ok)] * 12)


def test_a_site_over_the_ratio_is_not_available_until_its_probe_is_due(env_of: EnvOf) -> None:
    env = env_of(exclude_after=2, probe_after_s=60.0, exclude_ratio=1.0)
    for worker in (1, 2):
        env.arrive(worker, WorkerInfo("a", worker))
    manager = env.core.heartbeats
    for one, other in zip(range(1, 11, 2), range(2, 12, 2), strict=True):
        env.on(TasksSubmitted([TaskSpec(one, 1, b"", site="detroit"), TaskSpec(other, 1, b"", site="kyoto")]))
        homes = {task.spec.site: w.id for w in env.state.workers.values() for task in w.tasks.values()}
        env._unclaimed.clear()
        env.on(finished(homes["kyoto"], ok(other)))
        env._unclaimed.clear()
        env.on(finished(homes["detroit"], failed(one)))
        env._unclaimed.clear()
    assert manager.get_available(["detroit", "kyoto"]) == ["kyoto"]
    env.silence(60, 1, 2)
    assert manager.get_available(["detroit", "kyoto"]) == ["detroit", "kyoto"]
    env._unclaimed.clear()
