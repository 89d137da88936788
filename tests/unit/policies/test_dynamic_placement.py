"""Dynamic placement: who gets what, who is held back, and how near a whole run comes to an oracle's."""

import heapq
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from someone import ANY, Someone, counts, make

from mpiexec_runner.model.decisions import Demand
from mpiexec_runner.model.tasks import Needs

SECOND = ANY._replace(mean_s=1.0, waiting=10**6)


def test_the_earliest_finish_counts_not_the_number_of_tasks() -> None:
    fast, slow = Someone(1, held=3, backlog_s=3.0), Someone(2, slowness=10.0)
    assert counts(make("dynamic").share(6, [(fast, 9), (slow, 9)], 0, SECOND)) == {1: 6}
    assert counts(make("dynamic").share(9, [(fast, 9), (slow, 9)], 0, SECOND)) == {1: 8, 2: 1}


def test_slots_share_what_is_ahead() -> None:
    narrow, wide = Someone(1, held=1, backlog_s=1.0), Someone(2, slots=8, held=4, backlog_s=4.0)
    assert counts(make("dynamic").share(1, [(narrow, 9), (wide, 9)], 0, SECOND)) == {2: 1}


def test_before_anything_is_measured_it_goes_by_the_number_held() -> None:
    candidates = [(Someone(1, held=2), 9), (Someone(2, held=1), 9), (Someone(3, held=4), 9)]
    assert counts(make("dynamic").share(3, candidates, 0, ANY)) == {2: 2, 1: 1}


def test_devices_stay_free_for_who_needs_them_as_long_as_it_costs_little() -> None:
    device, plain = Someone(1, gpus=1), Someone(2)
    assert counts(make("dynamic").share(1, [(device, 9), (plain, 9)], 0, SECOND)) == {2: 1}
    wanting = SECOND._replace(needs=Needs(gpus=1))
    assert counts(make("dynamic").share(1, [(device, 9), (plain, 9)], 0, wanting)) == {1: 1}
    busy = plain._replace(held=1, backlog_s=1.0)
    assert counts(make("dynamic").share(1, [(device, 9), (busy, 9)], 0, SECOND)) == {1: 1}


def seven_others(waiting: int, **more: float) -> Demand:
    """A task of one second while seven ordinary workers are busy with one like it each."""
    return SECOND._replace(waiting=waiting, **({"speed": 7.1, "held_s": 7.0} | more))


@pytest.mark.parametrize(("waiting", "placed"), [(0, 0), (61, 0), (64, 1), (1000, 1)])
def test_a_slow_worker_waits_when_the_others_are_done_before_it(waiting: int, placed: int) -> None:
    shares = make("dynamic").share(1, [(Someone(1, slowness=10.0), 1)], 0, seven_others(waiting))
    assert sum(n for _, n in shares) == placed


def test_an_ordinary_worker_never_waits() -> None:
    others = seven_others(0, speed=8.0, held_s=1e-6)
    assert counts(make("dynamic").share(1, [(Someone(1, slowness=1.09), 1)], 0, others)) == {1: 1}


@pytest.mark.parametrize(
    "why",
    [{"speed": 0.0}, {"held_s": 0.0}, {"speed": 0.1}, {"held_s": 1e5}, {"quiet_s": 3.0}],
    ids=[
        "nobody says who is there",
        "nobody holds work",
        "nobody else",
        "the others are long busy",
        "a hang",
    ],
)
def test_nobody_waits_in_vain(why: dict[str, float]) -> None:
    slow = [(Someone(1, slowness=10.0), 1)]
    assert counts(make("dynamic").share(1, slow, 0, seven_others(0, **why))) == {1: 1}


def test_a_slow_worker_waits_for_those_who_are_given_work_now() -> None:
    candidates = [(Someone(1), 1), (Someone(2), 1), (Someone(3, slowness=10.0), 1)]
    assert counts(make("dynamic").share(3, candidates, 0, SECOND._replace(waiting=0))) == {1: 1, 2: 1}
    assert counts(make("dynamic").share(3, candidates, 0, SECOND._replace(waiting=50))) == {1: 1, 2: 1, 3: 1}


def test_equals_do_not_wait_for_each_other_however_slow() -> None:
    candidates = [(Someone(id_, slowness=10.0), 1) for id_ in range(5)]
    demand = SECOND._replace(waiting=0, speed=0.5)
    assert sum(counts(make("dynamic").share(5, candidates, 0, demand)).values()) == 5


# --- whole runs in virtual time


def farm(
    name: str,
    durations: list[float],
    slowness: list[float],
    slots: int = 1,
    told: list[float] | None = None,
) -> float:
    """The makespan of a run in which tasks go to free slots only, as long ones do.

    ``slowness`` is the workers' true one, ``told`` what the policy is told of it.
    """
    policy, mean_s, told = make(name), sum(durations) / len(durations), told or slowness
    speed = sum(slots / each for each in told)
    left, held = list(reversed(durations)), [0] * len(slowness)
    running: list[tuple[float, int]] = []
    now, turn = 0.0, 0
    while left or running:
        while left:
            candidates = [
                (Someone(id_, slots, n, mean_s * n, told[id_]), slots - n)
                for id_, n in enumerate(held)
                if n < slots
            ]
            count = min(len(left), sum(room for _, room in candidates))
            demand = Demand(5, Needs(), mean_s, -1, len(left) - count, speed, mean_s * len(running))
            shares = policy.share(count, candidates, turn, demand) if count else []
            for worker, n in shares:
                held[worker.id] += n
                turn += n
                for _ in range(n):
                    heapq.heappush(running, (now + left.pop() * slowness[worker.id], worker.id))
            if not shares:
                break
        assert running, "nobody works, and tasks are left"
        now, id_ = heapq.heappop(running)
        held[id_] -= 1
    return now


def oracle(durations: list[float], slowness: list[float]) -> float:
    """The makespan when all is known: the longest first, each to whom it ends first on."""
    ends = [0.0] * len(slowness)
    for duration in sorted(durations, reverse=True):
        best = min(range(len(ends)), key=lambda id_: ends[id_] + duration * slowness[id_])
        ends[best] += duration * slowness[best]
    return max(ends)


ONE_OF_EIGHT = [1.0] * 7 + [10.0]


@pytest.mark.parametrize("tasks", [8, 20, 56, 64, 70, 80, 100, 141, 200, 500, 1000])
def test_equal_tasks_with_one_of_eight_slow_come_within_15_percent_of_an_oracle(tasks: int) -> None:
    durations = [1.0] * tasks
    assert farm("dynamic", durations, ONE_OF_EIGHT) <= 1.15 * oracle(durations, ONE_OF_EIGHT)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tasks", [100, 200, 500, 1000])
def test_unequal_tasks_with_one_of_eight_slow_come_within_15_percent_too(tasks: int, seed: int) -> None:
    draw = random.Random(seed)
    durations = [draw.uniform(0.5, 1.5) for _ in range(tasks)]
    assert farm("dynamic", durations, ONE_OF_EIGHT) <= 1.15 * oracle(durations, ONE_OF_EIGHT)


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("tasks", [20, 50, 100])
def test_equals_that_seem_to_differ_a_little_are_not_held_back_to_harm(tasks: int, slots: int) -> None:
    draw = random.Random(tasks)
    told, durations = [draw.uniform(0.8, 1.3) for _ in range(8)], [1.0] * tasks
    alike = farm("least_loaded", durations, [1.0] * 8, slots)
    assert farm("dynamic", durations, [1.0] * 8, slots, told) <= 1.1 * alike


@pytest.mark.parametrize("tasks", [28, 50, 100, 300])
def test_with_several_slots_a_slow_worker_costs_no_more_than_to_do_without_it(tasks: int) -> None:
    durations = [1.0] * tasks
    without = farm("least_loaded", durations, [1.0] * 7, 4)
    assert farm("dynamic", durations, ONE_OF_EIGHT, 4) <= without


@settings(max_examples=60, deadline=None, print_blob=True)
@given(
    slowness=st.lists(st.floats(0.3, 30.0), min_size=1, max_size=9),
    durations=st.lists(st.floats(0.01, 20.0), min_size=1, max_size=80),
    slots=st.integers(1, 3),
)
def test_every_run_ends_whatever_the_workers(
    slowness: list[float], durations: list[float], slots: int
) -> None:
    """The farm itself sees that it never stands still."""
    assert farm("dynamic", durations, slowness, slots) < math.inf
