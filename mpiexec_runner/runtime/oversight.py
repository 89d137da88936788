"""Watches a rank in the call of a group: its time, its memory, and whether it leaves when it is told to.

It knows no hub and no queue. The call is in the rank's main thread, where nothing can kill it: it can be
interrupted between two steps of Python, and its communicator can be revoked. A call that neither gets out of,
such as one in a library that waits for ever, keeps its rank: that is given up (``worker.py``).
"""

import contextlib
import math
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from mpiexec_runner.execute.ending import Reason
from mpiexec_runner.execute.memory import family_of, resident_bytes

INTERRUPT_AFTER_S = 1.0
"""A call that was told to end is interrupted when it has not done so by itself after this time, and again."""
GIVE_UP_AFTER_S = 30.0
"""A rank that does not get out of a call in this time is given up."""
INTERRUPT = signal.SIGURG
"""Ignored by programs that do not ask for it, and used by next to none."""


class Interrupted(BaseException):
    """Raised in a call that was told to end; no ``Exception``, so that few handlers catch it."""


class Oversight:
    """Of one call.

    Parameters
    ----------
    limit_bytes
        How much more memory the rank, and what it starts, may use than when the call began; 0 for no limit.
        What an earlier task left to the rank is free to be used.
    every_s
        Seconds between two looks at it.
    timeout_s
        How long the call may take; infinite for ever.
    now
        When it begins.
    """

    def __init__(self, limit_bytes: int, every_s: float, timeout_s: float, now: float) -> None:
        self._limit_bytes, self._every_s = limit_bytes, every_s
        self._until = now + timeout_s
        self._look_at = now + every_s if limit_bytes else math.inf
        self._others = set(family_of(os.getpid())[1:]) if limit_bytes else set()
        self._before_bytes = resident_bytes([os.getpid()]) if limit_bytes else 0
        self._ended_at = math.inf
        self._interrupt_at = math.inf
        self.peak_bytes = 0
        self.detail = ""

    def why_to_end(self, now: float) -> Reason | None:
        """Why the call is to be ended now, if it is."""
        if now >= self._until:
            return Reason.TIMEOUT
        if now < self._look_at:
            return None
        self._look_at = now + self._every_s
        own, *below = family_of(os.getpid())
        used = resident_bytes([own, *(pid for pid in below if pid not in self._others)]) - self._before_bytes
        self.peak_bytes = max(self.peak_bytes, used)
        if used <= self._limit_bytes:
            return None
        self.detail = (
            f"ended: this rank of the group used {used / 2**20:,.0f} MiB of memory more than before, and "
            f"{self._limit_bytes / 2**20:,.0f} MiB are allowed to each (resources: memory)"
        )
        return Reason.MEMORY

    def end(self, now: float) -> None:
        """The call was told to end."""
        if self._ended_at == math.inf:
            self._ended_at, self._interrupt_at = now, now + INTERRUPT_AFTER_S

    def press(self, now: float) -> bool:
        """See that it does so; whether the rank is to be given up."""
        if now >= self._interrupt_at:
            self._interrupt_at = now + INTERRUPT_AFTER_S
            _interrupt()
        return now >= self._ended_at + GIVE_UP_AFTER_S


def interruptible(function: Callable[..., Any], ended: Callable[[], bool]) -> Callable[..., Any]:
    """Return a function that is left with :class:`Interrupted` some time after ``ended`` came true.

    That works in the main thread, where Python handles signals, and at once in calls that wait for the
    system, such as :func:`time.sleep`; elsewhere it is the function itself.
    """
    if threading.current_thread() is not threading.main_thread():
        return function

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of handlers
        if ended():
            raise Interrupted("it was told to end")

    def call(*args: Any, **kwargs: Any) -> Any:
        before = signal.signal(INTERRUPT, leave)
        try:
            return function(*args, **kwargs)
        finally:
            signal.signal(INTERRUPT, before)

    return call


def _interrupt() -> None:
    main = threading.main_thread().ident
    if main is not None:  # where the call has just been left, the signal does nothing
        with contextlib.suppress(ProcessLookupError):
            signal.pthread_kill(main, INTERRUPT)
