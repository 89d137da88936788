"""The call of a group is ended for its time and memory, and left when it has been."""

import itertools
import signal
import threading
import time

import pytest

from mpiexec_runner.execute.ending import Reason
from mpiexec_runner.runtime import oversight
from mpiexec_runner.runtime.oversight import GIVE_UP_AFTER_S, INTERRUPT_AFTER_S, Oversight, interruptible


def test_what_takes_too_long_is_to_be_ended() -> None:
    watched = Oversight(0, 1.0, 10.0, 100.0)
    assert watched.why_to_end(109.9) is None
    assert watched.why_to_end(110.0) is Reason.TIMEOUT


def test_what_takes_too_much_memory_is_to_be_ended() -> None:
    watched = Oversight(100 * 2**20, 1.0, float("inf"), 0.0)
    assert watched.why_to_end(1.0) is None
    held = b"x" * 2**28
    assert watched.why_to_end(1.5) is None, "it is looked at once a second"
    assert watched.why_to_end(2.0) is Reason.MEMORY
    assert "100 MiB are allowed" in watched.detail
    assert watched.peak_bytes > len(held) * 0.9


def test_who_does_not_leave_is_given_up() -> None:
    watched = Oversight(0, 1.0, float("inf"), 0.0)
    assert not watched.press(1e9), "nobody has told it to"
    watched.end(10.0)
    watched.end(20.0)
    assert not watched.press(10.0 + GIVE_UP_AFTER_S - 0.1)
    assert watched.press(10.0 + GIVE_UP_AFTER_S)


@pytest.mark.parametrize("sleeps", [True, False])
def test_a_call_is_left_when_it_was_told_to(sleeps: bool) -> None:
    ended, begun, left = threading.Event(), threading.Event(), threading.Event()
    watched = Oversight(0, 1.0, float("inf"), 0.0)

    def call() -> None:
        begun.set()
        while True:
            if sleeps:
                time.sleep(1000)

    def press() -> None:
        begun.wait()
        watched.press(0.0)
        ended.set()
        watched.end(0.0)
        presses = itertools.count(1)
        while not left.wait(0.1):  # a signal just before the call begins to wait does not wake it
            watched.press(next(presses) * INTERRUPT_AFTER_S)

    helper = threading.Thread(target=press)
    helper.start()
    with pytest.raises(oversight.Interrupted):
        interruptible(call, ended.is_set)()
    left.set()
    helper.join()
    assert signal.getsignal(oversight.INTERRUPT) is signal.SIG_DFL


def test_a_call_that_was_not_told_to_end_goes_on() -> None:
    def call(x: int) -> int:
        signal.raise_signal(oversight.INTERRUPT)
        return x + 1

    assert interruptible(call, lambda: False)(1) == 2
