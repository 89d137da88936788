"""What every placement policy owes the scheduler, and what each is meant to do."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from someone import ANY, Shares, Someone, counts, make

from mpiexec_runner.model.decisions import Demand
from mpiexec_runner.model.tasks import Needs
from mpiexec_runner.policies.placement import PLACEMENTS

NAMES = sorted(PLACEMENTS)
MAY_WAIT = {"dynamic"}
"""Policies that may hold tasks back while there is room."""

workers = st.builds(
    Someone,
    id=st.just(0),
    slots=st.integers(1, 8),
    held=st.integers(0, 1000),
    backlog_s=st.floats(0, 1000),
    slowness=st.floats(0.05, 100),
    cores=st.integers(1, 128),
    memory_bytes=st.integers(0, 2**40),
    gpus=st.integers(0, 4),
    tags=st.sampled_from([(), ("gpu",), ("cpu", "ssd")]),
)
crowds = st.lists(st.tuples(workers, st.integers(1, 50)), min_size=1, max_size=12).map(
    lambda drawn: [(worker._replace(id=id_), room) for id_, (worker, room) in enumerate(drawn, start=3)]
)
needs = st.builds(Needs, cpus=st.integers(0, 4), memory_bytes=st.integers(0, 2**36), gpus=st.integers(0, 1))
demands = st.builds(
    Demand,
    priority=st.integers(1, 10),
    needs=needs,
    mean_s=st.sampled_from([0.0, 1e-5, 0.5, 100.0]),
    near=st.integers(-1, 16),
    waiting=st.integers(0, 1000),
    speed=st.floats(0, 100),
    held_s=st.floats(0, 1e5),
    quiet_s=st.floats(0, 1e5),
)
turns = st.integers(0, 10**7)


def check(name: str, count: int, candidates: Shares, shares: Shares) -> None:
    """See that shares are within what the port allows, and that nothing stays behind without need."""
    room = {worker.id: places for worker, places in candidates}
    assert all(n >= 1 for _, n in shares)
    placed = counts(shares)
    assert all(n <= room[id_] for id_, n in placed.items())
    total = sum(placed.values())
    assert total <= count
    if name not in MAY_WAIT:
        assert total == min(count, sum(room.values())), "no task stays behind while there is room"


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None, print_blob=True)
@given(count=st.integers(1, 400), candidates=crowds, turn=turns, demand=demands, seed=st.integers(0, 9))
def test_never_more_than_the_room_nor_than_there_is(
    name: str, count: int, candidates: Shares, turn: int, demand: Demand, seed: int
) -> None:
    shares = list(make(name, seed).share(count, candidates, turn, demand))
    check(name, count, candidates, shares)
    again = list(make(name, seed).share(count, candidates, turn, demand))
    assert again == shares, "the same again, also by a policy that was made anew"


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None, print_blob=True)
@given(
    count=st.integers(1, 3000), there=st.integers(129, 1500), turn=turns, demand=demands, pick=st.randoms()
)
def test_a_large_crowd_is_served_as_a_small_one(
    name: str, count: int, there: int, turn: int, demand: Demand, pick: object
) -> None:
    candidates = [
        (Someone(id_, slowness=1.0 + id_ % 3, gpus=int(id_ % 7 == 0)), 1 + pick.randrange(3))  # type: ignore[attr-defined]
        for id_ in range(there)
    ]
    check(name, count, candidates, list(make(name).share(count, candidates, turn, demand)))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None, print_blob=True)
@given(candidates=crowds, turn=turns, demand=demands)
def test_as_much_work_as_there_is_room_for_reaches_everybody(
    name: str, candidates: Shares, turn: int, demand: Demand
) -> None:
    everything = sum(room for _, room in candidates)
    shares = list(make(name).share(everything, candidates, turn, demand._replace(waiting=10**18)))
    assert counts(shares) == {worker.id: room for worker, room in candidates}


@pytest.mark.parametrize("name", ["round_robin", "random", "weighted"])
@settings(max_examples=30, deadline=None, print_blob=True)
@given(there=st.integers(1, 10), first=turns)
def test_task_by_task_everybody_has_a_turn(name: str, there: int, first: int) -> None:
    candidates = [(Someone(id_, cores=1 + id_ % 4), 9) for id_ in range(there)]
    policy = make(name)
    reached = {
        id_
        for turn in range(first, first + 60 * there)
        for id_ in counts(policy.share(1, candidates, turn, ANY))
    }
    assert reached == set(range(there))


@pytest.mark.parametrize("name", NAMES)
def test_equals_that_fill_up_all_get_work(name: str) -> None:
    """Task by task, each booked as the core books it: who has no room is not asked."""
    policy, held = make(name), dict.fromkeys(range(5), 0)
    for turn in range(20):
        candidates = [(Someone(id_, held=n, backlog_s=float(n)), 4 - n) for id_, n in held.items() if n < 4]
        for worker, n in policy.share(1, candidates, turn, ANY._replace(mean_s=1.0)):
            held[worker.id] += n
    assert held == dict.fromkeys(range(5), 4)


# --- least_loaded, round_robin, random


def test_least_loaded_gives_to_whom_has_least_to_do() -> None:
    candidates = [(Someone(1, held=5), 9), (Someone(2, held=0), 9), (Someone(3, held=2), 9)]
    assert counts(make("least_loaded").share(2, candidates, 0, ANY)) == {2: 2}
    assert counts(make("least_loaded").share(5, candidates, 0, ANY)) == {2: 4, 3: 1}


def test_least_loaded_looks_at_some_of_very_many() -> None:
    class Crowd(list[tuple[Someone, int]]):
        looks = 0

        def __getitem__(self, place):  # type: ignore[no-untyped-def,override]
            self.looks += 1
            return super().__getitem__(place)

        def __iter__(self):  # type: ignore[no-untyped-def]
            raise AssertionError("all of them were looked at")

    crowd = Crowd((Someone(id_), 1) for id_ in range(10_000))
    assert sum(counts(make("least_loaded").share(3, crowd, 7, ANY)).values()) == 3
    assert 0 < crowd.looks <= 128


def test_least_loaded_counts_by_slot() -> None:
    candidates = [(Someone(1, slots=1, held=1), 9), (Someone(2, slots=8, held=4), 9)]
    assert counts(make("least_loaded").share(3, candidates, 0, ANY)) == {2: 3}


def test_least_loaded_evens_out_equals() -> None:
    candidates = [(Someone(id_), 1000) for id_ in range(4)]
    shares = counts(make("least_loaded").share(1000, candidates, 0, ANY))
    assert max(shares.values()) - min(shares.values()) <= 1000 // 8


def test_round_robin_goes_on_where_it_stopped() -> None:
    policy = make("round_robin")
    candidates = [(Someone(id_), 9) for id_ in (1, 2, 3)]
    assert counts(policy.share(2, candidates, 0, ANY)) == {1: 1, 2: 1}
    assert counts(policy.share(2, candidates, 2, ANY)) == {3: 1, 1: 1}
    assert counts(policy.share(7, candidates, 4, ANY)) == {2: 3, 3: 2, 1: 2}


def test_round_robin_passes_over_the_full() -> None:
    assert counts(make("round_robin").share(9, [(Someone(1), 1), (Someone(2), 5)], 0, ANY)) == {1: 1, 2: 5}


def test_random_reaches_everybody() -> None:
    shares = counts(make("random").share(200, [(Someone(id_), 100) for id_ in range(5)], 0, ANY))
    assert sorted(shares) == [0, 1, 2, 3, 4]
    assert min(shares.values()) > 20


# --- weighted


def test_weighted_gives_in_proportion_to_cores_slots_and_speed() -> None:
    candidates = [
        (Someone(1), 100),
        (Someone(2, cores=2), 100),
        (Someone(3, slots=4), 100),
        (Someone(4, slowness=0.5), 100),
        (Someone(5, slowness=10.0, cores=10), 100),
    ]
    assert counts(make("weighted").share(100, candidates, 7, ANY)) == {1: 10, 2: 20, 3: 40, 4: 20, 5: 10}


def test_weighted_passes_on_what_does_not_fit() -> None:
    candidates = [(Someone(1, cores=98), 10), (Someone(2), 100), (Someone(3), 100)]
    assert counts(make("weighted").share(50, candidates, 0, ANY)) == {1: 10, 2: 20, 3: 20}


def test_weighted_is_in_proportion_one_by_one_too() -> None:
    candidates = [(Someone(1), 9), (Someone(2, cores=3), 9), (Someone(3, cores=6), 9)]
    policy, got = make("weighted"), Counter[int]()
    for turn in range(1000):
        got.update(counts(policy.share(1, candidates, turn, ANY)))
    assert [round(got[id_] / 100) for id_ in (1, 2, 3)] == [1, 3, 6]


# --- capability


def test_capability_keeps_devices_for_those_who_need_them() -> None:
    candidates = [(Someone(1, gpus=4, tags=("gpu",)), 9), (Someone(2, held=8), 2), (Someone(3, held=5), 2)]
    assert counts(make("capability").share(3, candidates, 0, ANY)) == {3: 2, 2: 1}
    assert counts(make("capability").share(5, candidates, 0, ANY)) == {3: 2, 2: 2, 1: 1}


def test_capability_fits_memory_and_cores_as_closely_as_it_can() -> None:
    small, large = Someone(1, memory_bytes=2**34, cores=4), Someone(2, memory_bytes=2**38, cores=4)
    wide = Someone(3, memory_bytes=2**34, cores=64)
    candidates = [(small, 1), (large, 1), (wide, 1)]
    demand = ANY._replace(needs=Needs(cpus=2, memory_bytes=2**30))
    assert [worker.id for worker, _ in make("capability").share(3, candidates, 0, demand)] == [1, 3, 2]


# --- priority


@pytest.mark.parametrize(("priority", "first"), [(10, 4), (8, 4), (7, 1), (1, 1)])
def test_priority_keeps_the_best_for_what_is_urgent(priority: int, first: int) -> None:
    candidates = [
        (Someone(1), 1),
        (Someone(2, slowness=2.0, cores=64), 1),
        (Someone(3, cores=2), 1),
        (Someone(4, cores=64), 1),
    ]
    demand = ANY._replace(priority=priority)
    assert list(counts(make("priority").share(1, candidates, 0, demand))) == [first]
    assert len(counts(make("priority").share(4, candidates, 0, demand))) == 4


# --- locality


def test_locality_goes_where_the_data_is_however_busy() -> None:
    candidates = [(Someone(1), 9), (Someone(2, held=50), 3), (Someone(3), 9)]
    assert counts(make("locality").share(2, candidates, 0, ANY._replace(near=2))) == {2: 2}
    assert counts(make("locality").share(5, candidates, 0, ANY._replace(near=2))) == {2: 3, 1: 1, 3: 1}


@pytest.mark.parametrize("near", [-1, 0, 2, 9])
def test_locality_does_not_wait_for_whom_has_no_room(near: int) -> None:
    candidates = [(Someone(1, held=4), 9), (Someone(3), 9)]
    assert counts(make("locality").share(2, candidates, 0, ANY._replace(near=near))) == {3: 2}


def test_locality_finds_the_near_one_among_very_many() -> None:
    candidates = [(Someone(id_), 1) for id_ in range(0, 20_000, 2)]
    assert counts(make("locality").share(1, candidates, 5, ANY._replace(near=7778))) == {7778: 1}
