"""Whatever goes wrong on a virtual cluster, every task ends exactly once, and so does the run."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim_env import jobs, kind, watched

from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.settings import SchedulerSettings
from mpiexec_runner.errors import InvariantBroken
from mpiexec_runner.model.events import CancelRequested, PauseRequested
from mpiexec_runner.model.tasks import TaskSpec
from mpiexec_runner.policies.placement import PLACEMENTS
from mpiexec_runner.policies.retry import ExponentialBackoff
from mpiexec_runner.sim.faults import Fault, FaultPlan, Misfortune
from mpiexec_runner.sim.work import VirtualWork

KINDS = (
    kind(1, retries=2, backoff_s=0.1),
    kind(2, priority=9, retries=1, timeout_s=3.0),
    kind(3, keep=False, expected_s=0.5),
)
choices = st.builds(
    SchedulerSettings,
    placement=st.sampled_from(sorted(PLACEMENTS)),
    work_stealing=st.booleans(),
    crash_limit=st.integers(1, 3),
    prefetch_s=st.sampled_from([0.0, 0.05, 1.0]),
)


def mixed(tasks: int, seed: int) -> VirtualWork:
    """Tasks of three kinds, most of them short."""
    draws = random.Random(seed)
    lasts_s = [draws.choice([1e-5, 1e-3, 0.02, 0.02, 0.5, 5.0]) for _ in range(tasks)]
    return VirtualWork(KINDS, [TaskSpec(id_, 1 + id_ % 3, b"") for id_ in range(1, tasks + 1)], lasts_s)


@settings(max_examples=60, deadline=None, print_blob=True)
@given(
    seed=st.integers(0, 2**32),
    spare=st.integers(3, 5),  # two may hang for so long that they are lost
    slots=st.integers(1, 3),
    tasks=st.integers(1, 60),
    kills=st.integers(0, 2),
    vanishes=st.integers(0, 1),
    poison=st.integers(0, 1),
    others=st.sampled_from(["", "hang=2,hang_s=20", "slow=2,slow_s=3", "hang=1,hang_s=2,slow=1", "drag=0.1"]),
    fail=st.sampled_from([0.0, 0.1, 0.5]),
    slow=st.sampled_from(["", "1/2:10"]),
    cancels=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 60)), max_size=4),
    choice=choices,
)
def test_every_task_ends_once_and_so_does_the_run(
    seed, spare, slots, tasks, kills, vanishes, poison, others, fail, slow, cancels, choice
):
    faults = ",".join(filter(None, (f"kill={kills},vanish={vanishes},poison={poison},fail={fail}", others)))
    watched(
        mixed(tasks, seed),
        kills + vanishes + poison * choice.crash_limit + spare,
        slots=slots,
        slow=slow,
        faults=faults,
        seed=seed,
        scheduler=choice,
        requests=[(after_s, CancelRequested((task,))) for after_s, task in sorted(cancels)],
    )


@pytest.mark.parametrize("faults", ["", "kill=2,vanish=1,hang=1,hang_s=15,slow=2,fail=0.1,drag=0.1,poison=1"])
def test_the_same_seed_makes_the_same_run(faults):
    first, second = (watched(mixed(200, 5), 8, slots=2, faults=faults, seed=5) for _ in range(2))
    assert first.report == second.report
    assert first.trace == second.trace


def test_another_seed_makes_another_run():
    faults = "kill=2,fail=0.1"
    first, second = (watched(mixed(200, 5), 8, faults=faults, seed=seed) for seed in (1, 2))
    assert first.trace != second.trace


@pytest.mark.parametrize("placement", sorted(PLACEMENTS))
def test_without_misfortune_everything_succeeds_at_the_first_attempt(simulate, placement):
    report = simulate(jobs([0.01] * 300), 6, slots=2, scheduler=SchedulerSettings(placement=placement))
    assert (report.succeeded, report.attempts, report.superseded) == (300, 300, 0)


def test_a_poison_task_is_given_up_and_the_others_are_not(simulate):
    report = simulate(jobs([1.0] * 30), 5, faults="poison=1", scheduler=SchedulerSettings(crash_limit=3))
    assert (report.succeeded, report.failed, report.lost_workers) == (29, 1, 3)


def test_a_worker_that_hangs_for_long_is_lost_and_comes_back(simulate):
    report = simulate(jobs([1.0] * 200), 4, faults="hang=1,hang_s=20", seed=3)
    assert (report.succeeded, report.lost_workers) == (200, 1)
    assert report.of_workers.low > 0.4


def test_failures_are_retried(simulate):
    report = simulate(jobs([0.5] * 100, retries=10, backoff_s=0.1), faults="fail=0.3", seed=1)
    assert report.succeeded == 100
    assert report.attempts == 100 + report.retries
    assert 20 < report.retries < 70


def test_a_run_without_workers_starves(simulate):
    doom = FaultPlan(tuple(Fault(1.5, worker, Misfortune.VANISH) for worker in (1, 2)))
    report = simulate(jobs([1.0] * 10), 2, faults=doom, end="starved")
    assert report.succeeded == 2


def test_many_workers(simulate):
    report = simulate(jobs([3.0] * 600), 200)
    assert report.succeeded == 600
    assert report.ratio < 1.05


class Never:
    """A placement that never finds the moment right."""

    def share(self, count, candidates, turn, demand):
        return []


def test_a_placement_that_never_decides_does_not_stop_a_run(simulate):
    def make(settings, heartbeat, seed):
        return TaskScheduler(settings, heartbeat, Never(), ExponentialBackoff())

    assert simulate(jobs([1.0] * 5), make=make, seed=3).succeeded == 5


def test_a_run_that_gets_nowhere_says_so(simulate):
    paused = [(0.0, PauseRequested(True))]
    with pytest.raises(
        InvariantBroken, match=r"seed 3\): no task came to its end in 100 turns; .*5 READY"
    ) as told:
        simulate(jobs([1.0] * 5), requests=paused, seed=3, patience_turns=100)
    assert any("again with: seed=3" in note for note in told.value.__notes__)
