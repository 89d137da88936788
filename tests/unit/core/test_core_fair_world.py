"""In a world where workers do as they are told, every task comes to its end, once, and so does the run."""

import pytest
from core_env import info, kind
from fair_world import Fate, World
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mpiexec_runner.core.settings import LimitSettings, SchedulerSettings
from mpiexec_runner.model.tasks import Needs, TaskState
from mpiexec_runner.model.workers import WorkerInfo
from mpiexec_runner.policies.placement import PLACEMENTS

KINDS = (
    kind(1, retries=2, backoff_s=0.01),
    kind(2, priority=9, retries=1, backoff_s=1),
    kind(3, keep=False),
)
MORE_KINDS = (
    *KINDS,
    kind(4, needs=Needs(cpus=2), retries=1, backoff_s=0.01),
    kind(5, needs=Needs(tags=("gpu",)), priority=10, labels=("licence",)),
    kind(6, needs=Needs(ranks=2), retries=1, backoff_s=0.01),
    kind(7, needs=Needs(ranks=4), priority=3),
    kind(8, needs=Needs(ranks=3), priority=10, labels=("licence",), keep=False),
    kind(9, timeout_factor=20.0, labels=("licence",), keep=False),
)
MIXED = (
    WorkerInfo("one", 1, slots=2, cores=4),
    WorkerInfo("one", 2, slots=1, cores=2),
    WorkerInfo("two", 3, slots=3, cores=3, gpus=1, tags=("gpu",)),
    WorkerInfo("two", 4, slots=1, cores=1, memory_bytes=2**30, tags=("gpu", "ssd")),
    WorkerInfo("three", 5, slots=4, cores=8),
)
fates = st.builds(
    Fate,
    fails=st.sampled_from([0.0, 0.1, 0.5]),
    long=st.sampled_from([0.0, 0.05, 0.3]),
    cancels=st.sampled_from([0.0, 0.2]),
    stops=st.integers(0, 2),
    crashes=st.integers(0, 4),
    hangs=st.integers(0, 4),
    repeats=st.sampled_from([0.0, 0.1]),
    slow=st.sampled_from([0.0, 0.3]),
    depends=st.sampled_from([0.0, 0.3, 0.9]),
    asks=st.sampled_from([0, 0, 5]),
)
choices = st.builds(
    SchedulerSettings,
    placement=st.sampled_from(sorted(PLACEMENTS)),
    crash_limit=st.sampled_from([1, 3, 1000]),
    work_stealing=st.booleans(),
    prefetch_s=st.sampled_from([0.0, 0.05, 1.0]),
    ageing_s=st.sampled_from([0.1, 300.0]),
)
limits = st.builds(
    LimitSettings,
    concurrent=st.sampled_from([None, None, 1, 4]),
    per_host=st.sampled_from([None, None, 1, 2, 3]),
    per_label=st.sampled_from([{}, {"licence": 1}, {"licence": 2, "gpu": 1}]),
)
# What a failing world is made of is its seed: there is little to gain from a smaller one.
worlds = settings(
    max_examples=60, deadline=None, print_blob=True, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)


def check_end(world: World, tasks: int) -> None:
    assert sorted(world.settled) == list(range(1, tasks + 1))
    assert set(world.settled.values()) <= {1}
    state = world.core.state
    assert not state.unfinished
    assert not (state.results or state.avoided or state.pinned or state.twins or state.gangs) or any(
        task.state is not TaskState.SUCCEEDED for task in state.tasks.values()
    )
    assert sum(end.end == "complete" for end in world.ends) == 1


@worlds
@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 4),
    slots=st.integers(1, 3),
    tasks=st.integers(1, 60),
    fate=fates,
    choice=choices,
)
def test_every_task_is_settled_once_and_the_run_ends(
    seed: int, workers: int, slots: int, tasks: int, fate: Fate, choice: SchedulerSettings
) -> None:
    world = World(seed, [info(slots)] * workers, KINDS, tasks, fate, choice)
    world.run()
    check_end(world, tasks)


@worlds
@given(seed=st.integers(0, 2**32), tasks=st.integers(1, 60), fate=fates, choice=choices, limit=limits)
def test_so_it_is_with_groups_needs_and_limits(
    seed: int, tasks: int, fate: Fate, choice: SchedulerSettings, limit: LimitSettings
) -> None:
    world = World(seed, MIXED, MORE_KINDS, tasks, fate, choice, limit)
    world.run()
    check_end(world, tasks)


@pytest.mark.parametrize("placement", sorted(PLACEMENTS))
def test_in_a_world_without_misfortune_everything_succeeds_at_the_first_attempt(placement: str) -> None:
    settings = SchedulerSettings(placement=placement, speculation=False)
    world = World(7, [info(2)] * 4, KINDS[:1], 500, Fate(fails=0.0, long=0.02), settings)
    world.run()
    check_end(world, 500)
    state = world.core.state
    assert (state.superseded, state.lost_workers) == (0, 0)
    assert {task.state.name for task in state.tasks.values()} == {"SUCCEEDED"}
    assert {task.retries for task in state.tasks.values()} == {0}
