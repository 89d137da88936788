"""How many workers are to be active."""

import pytest

from mpiexec_runner.policies.scaling import FollowDemand, PoolDemand, ScalingSettings


def demand(active, held, waiting=0, workers=10, slots=1.0):
    return PoolDemand(workers, active, slots, held, waiting)


def test_it_grows_at_once_to_what_there_is_to_do():
    policy = FollowDemand(ScalingSettings(target=1.0))
    assert policy.wanted(demand(1, 1, 5)) == 6
    assert policy.wanted(demand(6, 6, 500)) == 10


def test_what_waits_may_need_several_workers_at_once():
    assert FollowDemand(ScalingSettings()).wanted(demand(3, 0, 1)) == 4


def test_it_shrinks_with_patience():
    policy = FollowDemand(ScalingSettings(target=1.0, patience=3))
    assert [policy.wanted(demand(8, 2)) for _ in range(3)] == [8, 8, 2]


def test_a_busy_look_in_between_begins_the_wait_anew():
    policy = FollowDemand(ScalingSettings(target=1.0, patience=2))
    seen = [policy.wanted(demand(8, held)) for held in (2, 8, 2, 2)]
    assert seen == [8, 8, 8, 2]


@pytest.mark.parametrize(("held", "wanted"), [(0, 2), (100, 5)])
def test_it_keeps_to_the_bounds(held, wanted):
    policy = FollowDemand(ScalingSettings(min_workers=2, max_workers=5, patience=1))
    assert policy.wanted(demand(4, held)) == wanted


def test_above_the_upper_bound_there_is_no_patience():
    assert FollowDemand(ScalingSettings(max_workers=5)).wanted(demand(10, 100)) == 5


def test_slots_are_counted():
    assert FollowDemand(ScalingSettings(target=1.0)).wanted(demand(1, 4, 4, slots=4.0)) == 2
