"""When a second attempt is worth its while."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mpiexec_runner.model.decisions import AttemptView
from mpiexec_runner.policies.speculation import COST_S, MARGIN, LateAttempts

policy = LateAttempts()
times = st.floats(1e-6, 1e6)


def attempt(elapsed_s: float, slowness: float = 1.0, *, high_s: float = 14.0) -> AttemptView:
    """One of a kind that takes 10 s as a rule."""
    return AttemptView(elapsed_s, mean_s=11.0, median_s=10.0, high_s=high_s, slowness=slowness)


views = st.builds(
    lambda elapsed_s, median_s, tail, slowness: AttemptView(
        elapsed_s, median_s, median_s, median_s * tail, slowness
    ),
    times,
    times,
    st.floats(1, 50),
    st.floats(0.1, 50),
)


def test_what_was_never_measured_is_never_doubled() -> None:
    unknown = AttemptView(1e9, 0.0, 0.0, 0.0, 10.0)
    assert policy.begin_after_s(unknown) == math.inf
    assert not policy.is_worth(unknown, 0.1)


@pytest.mark.parametrize(
    ("elapsed_s", "idle_slowness", "worth"),
    [
        (5.0, 1.0, False),  # as expected
        (14.0, 1.0, False),  # no more than what others of its kind take
        (20.0, 1.0, False),  # late, by 10 s; a second attempt takes 12 s with its margin
        (22.2, 1.0, True),
        (22.2, 1.5, False),
        (30.0, 1.5, True),
        (16.5, 0.5, True),
    ],
)
def test_a_late_attempt_is_as_far_from_its_end_as_it_is_late(
    elapsed_s: float, idle_slowness: float, worth: bool
) -> None:
    assert policy.is_worth(attempt(elapsed_s), idle_slowness) is worth


def test_a_kind_with_a_long_tail_is_late_later() -> None:
    assert policy.begin_after_s(attempt(0.0)) == pytest.approx(22.05)
    assert policy.begin_after_s(attempt(0.0, high_s=80.0)) == 80.0
    assert not policy.is_worth(attempt(70.0, high_s=80.0), 1.0)


@pytest.mark.parametrize(("elapsed_s", "worth"), [(0.0, True), (80.0, True), (90.0, False), (150.0, False)])
def test_on_a_slow_worker_it_pays_from_the_beginning_and_not_near_the_end(
    elapsed_s: float, worth: bool
) -> None:
    assert policy.begin_after_s(attempt(0.0, slowness=10.0)) == 0.0
    assert policy.is_worth(attempt(elapsed_s, slowness=10.0), 1.0) is worth


def test_a_slow_worker_does_not_relieve_a_slow_worker() -> None:
    assert not policy.is_worth(attempt(0.0, slowness=10.0), 10.0)


def test_tiny_tasks_are_left_alone() -> None:
    assert not policy.is_worth(AttemptView(0.04, 1e-3, 1e-3, 1e-3, 1.0), 1.0)


@given(view=views)
def test_a_look_at_the_time_it_names_finds_a_second_attempt_worth_it(view: AttemptView) -> None:
    begin_s = policy.begin_after_s(view)
    assert policy.is_worth(view._replace(elapsed_s=begin_s * (1 + 1e-6) + 1e-9), 0.999)
    assume(begin_s > 0)
    assert not policy.is_worth(view._replace(elapsed_s=begin_s * (1 - 1e-6) - 1e-9), 1.0)


@given(view=views, idle=st.floats(0.1, 50))
def test_the_faster_the_idle_worker_the_sooner(view: AttemptView, idle: float) -> None:
    if policy.is_worth(view, idle):
        assert policy.is_worth(view, idle / 2)


@given(view=views, idle=st.floats(0.1, 50))
def test_who_is_late_enough_is_doubled_however_slow_the_idle(view: AttemptView, idle: float) -> None:
    least_s = MARGIN * view.median_s * idle + COST_S
    ever = view.median_s * view.slowness + max(view.high_s, 1.5 * view.median_s) * max(1.0, view.slowness)
    assert policy.is_worth(view._replace(elapsed_s=1.001 * (ever + least_s)), idle)
