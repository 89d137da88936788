"""How long to wait: not at all while traffic flows, then in growing steps, never beyond what is due."""

import math
import os
import select

import pytest

from mpiexec_runner.runtime import waiting
from mpiexec_runner.runtime.waiting import IDLE_SPIN_S, LONGEST_S, SPIN_S, Waiter


class Clock:
    """The time, as the module under test sees it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(waiting, "time", made)
    return made


def test_no_wait_while_traffic_flows(clock: Clock) -> None:
    for waiter, spin_s in ((Waiter(), SPIN_S), (Waiter(IDLE_SPIN_S), IDLE_SPIN_S)):
        waiter.traffic()
        clock.now += 0.9 * spin_s
        assert waiter.next_s(math.inf) == 0.0
        waiter.wait(math.inf)
    assert clock.slept == []


@pytest.mark.parametrize("idle_s", [2 * SPIN_S, 0.001, 0.01])
def test_a_quarter_of_the_time_since_the_last_traffic(clock: Clock, idle_s: float) -> None:
    waiter = Waiter()
    clock.now += idle_s
    assert waiter.next_s(math.inf) == pytest.approx(idle_s / 4)


def test_never_longer_than_the_longest(clock: Clock) -> None:
    waiter, patient = Waiter(), Waiter(longest_s=2.0)
    clock.now += 3600
    assert waiter.next_s(math.inf) == LONGEST_S
    assert patient.next_s(math.inf) == 2.0


@pytest.mark.parametrize(("due_s", "expected_s"), [(0.001, 0.001), (0.0, 0.0), (-5.0, 0.0), (1.0, LONGEST_S)])
def test_never_beyond_what_is_due(clock: Clock, due_s: float, expected_s: float) -> None:
    waiter = Waiter()
    clock.now += 3600
    assert waiter.next_s(clock.now + due_s) == pytest.approx(expected_s)


def test_traffic_makes_it_quick_again(clock: Clock) -> None:
    waiter = Waiter()
    clock.now += 3600
    waiter.traffic()
    assert waiter.next_s(math.inf) == 0.0


def test_steps_grow_until_the_longest(clock: Clock) -> None:
    waiter = Waiter()
    clock.now += 2 * SPIN_S
    for _ in range(40):
        waiter.wait(math.inf)
    assert clock.slept == sorted(clock.slept)
    assert clock.slept[-1] == LONGEST_S


def test_a_readable_descriptor_ends_the_wait(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    try:
        waiter = Waiter(longest_s=3600.0)
        clock.now += 1e6
        waiter.watch(reader)
        os.write(writer, b"x")
        waiter.wait(math.inf)  # comes back, or the test's own time limit says that it did not
        waiter.forget(reader)
        waiter.wait(math.inf)
        assert clock.slept == [3600.0]
    finally:
        os.close(reader)
        os.close(writer)


def test_a_watching_wait_is_at_least_a_millisecond_long(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also right after traffic: what runs beside needs the core. ``poll`` counts in milliseconds."""
    asked: list[int] = []

    class Poll:
        def register(self, descriptor: int, events: int) -> None:
            pass

        def poll(self, timeout_ms: int) -> list[tuple[int, int]]:
            asked.append(timeout_ms)
            return []

    monkeypatch.setattr(select, "poll", Poll)
    waiter = Waiter()
    waiter.watch(7)
    for idle_s in (0.0, 2 * SPIN_S, 0.012, 3600):
        clock.now = waiter._last + idle_s
        waiter.wait(math.inf)
    assert asked == [1, 1, 3, 5]
