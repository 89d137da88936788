"""Waiting that adapts: at once while traffic flows, in growing steps when it does not.

MPI offers no descriptor to wait on, so ranks look for messages. A wait is a quarter of the time since the
last traffic: an answer comes at most a quarter late, and a rank that has been idle for a while leaves its
core alone, also when ranks outnumber cores.
"""

import os
import select
import time

SPIN_S = 100e-6
"""How long a rank only yields after traffic. The hub's pauses are mostly longer: its ranks are at work."""
IDLE_SPIN_S = 1e-3
"""The same for a worker, which waits only when it has nothing to do: the next task is mostly on its way."""
POLL_S = 1e-3
"""The shortest wait for descriptors; ``poll(2)`` counts in milliseconds."""
LONGEST_S = 0.005


class Waiter:
    """Waits for traffic, for descriptors, and for a time."""

    def __init__(self, spin_s: float = SPIN_S, longest_s: float = LONGEST_S) -> None:
        self._spin_s, self._longest_s = spin_s, longest_s
        self._last = time.monotonic()
        self._poll = select.poll()
        self._watched = 0

    def traffic(self) -> None:
        """Something came: be quick for a while."""
        self._last = time.monotonic()

    def watch(self, descriptor: int) -> None:
        """Also wake when ``descriptor`` becomes readable."""
        self._poll.register(descriptor, select.POLLIN)
        self._watched += 1

    def forget(self, descriptor: int) -> None:
        """Stop to watch ``descriptor``."""
        self._poll.unregister(descriptor)
        self._watched -= 1

    def next_s(self, until: float) -> float:
        """How long the next wait is to be, in seconds, when something is due at ``until`` (monotonic)."""
        now = time.monotonic()
        idle_s = now - self._last
        if self._watched:  # what runs beside needs the core, and wakes us
            step_s = min(max(idle_s / 4, POLL_S), self._longest_s)
        else:
            step_s = 0.0 if idle_s < self._spin_s else min(idle_s / 4, self._longest_s)
        return max(0.0, min(step_s, until - now))

    def wait(self, until: float) -> None:
        """Wait once, not beyond ``until``."""
        step_s = self.next_s(until)
        if step_s == 0.0:
            os.sched_yield()
        elif self._watched:
            self._poll.poll(max(1, round(step_s * 1000)))
        else:
            time.sleep(step_s)
