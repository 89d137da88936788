"""What an oracle could do."""

import random

import pytest
from sim_env import jobs, kind, web

from mpiexec_runner.model.tasks import Needs, TaskSpec
from mpiexec_runner.sim.oracle import foresee
from mpiexec_runner.sim.work import VirtualWork


def chain(lasts_s, after):
    """Tasks of one kind; ``after[i]`` are the numbers of those that task i + 1 depends on."""
    tasks = [TaskSpec(id_, 1, b"", after=before) for id_, before in enumerate(after, 1)]
    return VirtualWork((kind(),), tasks, lasts_s)


def test_longest_first_is_grahams_example():
    oracle = foresee(jobs([5.0, 5.0, 4.0, 4.0, 3.0, 3.0, 3.0]), [1] * 3, [1.0] * 3)
    assert (oracle.bound_s, oracle.schedule_s) == (9.0, 11.0)


def test_one_long_task_bounds_all():
    oracle = foresee(jobs([10.0, 1.0, 1.0]), [1] * 4, [1.0] * 4)
    assert (oracle.bound_s, oracle.schedule_s) == (10.0, 10.0)


def test_a_slow_worker_gets_less():
    oracle = foresee(jobs([1.0] * 11), [1, 1], [1.0, 10.0])
    assert oracle.bound_s == pytest.approx(10.0)
    assert oracle.schedule_s == pytest.approx(10.0)


def test_slots_count():
    assert foresee(jobs([1.0] * 8), [2, 2], [1.0, 1.0]).schedule_s == pytest.approx(2.0)


def test_a_chain_takes_its_time():
    work = chain([1.0, 2.0, 3.0, 1.0], [(), (1,), (2,), ()])
    assert foresee(work, [1] * 3, [1.0, 1.0, 5.0]) == (6.0, 6.0)


def test_tasks_may_stand_before_those_that_they_depend_on():
    work = chain([0.0, 2.0, 0.0], [(2,), (), (1,)])
    assert foresee(work, [1] * 3, [1.0] * 3) == (2.0, 2.0)


def test_groups_take_several_workers():
    pair = kind(1, needs=Needs(ranks=2))
    work = VirtualWork(
        (pair, kind(2)), [TaskSpec(1, 1, b""), TaskSpec(2, 1, b""), TaskSpec(3, 2, b"")], [2.0] * 3
    )
    oracle = foresee(work, [1] * 3, [1.0] * 3)
    assert oracle.bound_s == pytest.approx(10 / 3)
    assert oracle.schedule_s == pytest.approx(4.0)


def test_a_schedule_is_never_shorter_than_the_bound_nor_twice_as_long():
    draws = random.Random(1)
    for _ in range(50):
        work = jobs([draws.expovariate(1.0) for _ in range(draws.randint(1, 40))])
        workers = draws.randint(1, 9)
        oracle = foresee(work, [1] * workers, [1.0] * workers)
        assert oracle.bound_s <= oracle.schedule_s <= 2 * oracle.bound_s


def test_a_schedule_with_dependencies_is_never_shorter_than_the_bound():
    for seed in range(30):
        work = web(40, seed)
        oracle = foresee(work, [1] * 4, [1.0, 1.0, 1.0, 3.0])
        assert oracle.bound_s <= oracle.schedule_s <= 4 * oracle.bound_s
