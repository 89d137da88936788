"""How a process group is brought to its end: asked first, then killed. For commands and child processes.

It knows signals and times (given by the caller), not what the process was for.
"""

import contextlib
import enum
import math
import os
import signal
import subprocess
from typing import assert_never

from mpiexec_runner.model.tasks import Failure, FailureClass, Verdict

GRACE_S = 5.0
"""Between SIGTERM and SIGKILL."""
KILLED_WITHIN_S = 5.0
"""How long is waited for a killed process to be gone, while nothing else can be done."""


class Reason(enum.Enum):
    """Why a process is ended from outside."""

    TIMEOUT = "timeout"
    OVERDUE = "overdue"
    """The hub says that it takes too long for its kind."""
    CANCEL = "cancel"
    MEMORY = "memory"


class Ending:
    """Watches over one process group.

    Parameters
    ----------
    group
        The process group, led by a child of this process that has not been waited for: its number cannot
        have been given to anybody else.
    deadline
        When its time is up, in seconds on the caller's clock; infinite for never.
    """

    def __init__(self, group: int, deadline: float) -> None:
        self._group = group
        self._deadline = deadline
        self._kill_at = math.inf
        self.reason: Reason | None = None

    @property
    def next_act(self) -> float:
        """When :meth:`act` has something to do at the latest."""
        return self._deadline if self.reason is None else self._kill_at

    def ask(self, reason: Reason, now: float) -> None:
        """Send SIGTERM, once; SIGKILL follows after :data:`GRACE_S` seconds."""
        if self.reason is None:
            self.reason = reason
            self._kill_at = now + GRACE_S
            self._send(signal.SIGTERM)

    def end(self, reason: Reason, now: float) -> None:
        """Send SIGKILL, without asking first."""
        if self.reason is None:
            self.reason = reason
        self._kill_at = now + GRACE_S
        self._send(signal.SIGKILL)

    def act(self, now: float) -> None:
        """Do what the time demands."""
        if now >= self._kill_at:
            self._send(signal.SIGKILL)
            self._kill_at = now + GRACE_S
        elif self.reason is None and now >= self._deadline:
            self.ask(Reason.TIMEOUT, now)

    def kill(self) -> None:
        """Send SIGKILL at once."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        try:
            os.killpg(self._group, number)
        except (ProcessLookupError, PermissionError):
            # Gone already, or about to become another user's by a set-uid program: nothing left to do.
            return


def wait_killed(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a process that was killed, but not for ever; its exit code, as if killed where it lives on.

    One that waits for a device or a file server that does not answer cannot be killed before that does.
    """
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(KILLED_WITHIN_S)
    return -signal.SIGKILL


def verdict_of(reason: Reason, elapsed_s: float, detail: str = "") -> tuple[Verdict, Failure | None]:
    """How an attempt counts that was ended from outside.

    Parameters
    ----------
    reason
        Why.
    elapsed_s
        How long it had run, in seconds.
    detail
        What is to be said of it, where there is more to say than that.
    """
    match reason:
        case Reason.CANCEL:
            return Verdict.CANCELLED, None
        case Reason.TIMEOUT:
            text = detail or f"ended after {elapsed_s:.1f} s: over its time-out"
            return Verdict.FAILED, Failure(FailureClass.TIMEOUT, text)
        case Reason.OVERDUE:
            text = detail or f"ended after {elapsed_s:.1f} s: over the time-out by what its kind takes"
            return Verdict.FAILED, Failure(FailureClass.TIMEOUT, text)
        case Reason.MEMORY:
            text = detail or f"ended after {elapsed_s:.1f} s: over its memory"
            return Verdict.FAILED, Failure(FailureClass.MEMORY, text)
        case _:
            assert_never(reason)


def exit_failure(code: int, last_line: str = "") -> Failure:
    """The failure that an exit code means.

    Parameters
    ----------
    code
        As ``subprocess`` tells it: negative for the signal that ended the process.
    last_line
        The last thing that it said, if anything.
    """
    said = f": {last_line}" if last_line else ""
    if code >= 0:
        return Failure(FailureClass.EXIT_CODE, f"exit code {code}{said}")
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return Failure(FailureClass.SIGNAL, f"ended by {name}{said}", name=name)
