"""Time as hub and worker know it: what it is, how they wait, and what they have threads of their own by.

A port, and the system's own adapter. A simulation has another, under which nothing really waits. Nothing
here knows what is waited for.
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from mpiexec_runner.runtime.waiting import SPIN_S, Waiter


class Signal(Protocol):
    """What one thread waits for and another sets, as ``threading.Event``."""

    def set(self) -> None:
        """Let those go on that wait."""

    def clear(self) -> None:
        """Let them wait again."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most so many seconds; whether it is. May come back early."""


class Thread(Protocol):
    """A thread that was started."""

    def is_alive(self) -> bool:
        """Whether it still runs."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most so many seconds."""


class Clock(Protocol):
    """The time, and all that takes some."""

    def time(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def waiter(self, spin_s: float = SPIN_S) -> Waiter:
        """A new one, for one thread, which only yields for so many seconds after traffic."""

    def signal(self) -> Signal:
        """A new one, not set."""

    def start(self, run: Callable[[], None], name: str) -> Thread:
        """Start a thread that nobody has to wait for at the end of the process."""


class SystemClock:
    """See :class:`Clock`."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)  # last: the name hides the module from here on

    def waiter(self, spin_s: float = SPIN_S) -> Waiter:
        """See :class:`Clock`."""
        return Waiter(spin_s)

    def signal(self) -> Signal:
        """See :class:`Clock`."""
        return threading.Event()

    def start(self, run: Callable[[], None], name: str) -> Thread:
        """See :class:`Clock`."""
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread


SYSTEM = SystemClock()
