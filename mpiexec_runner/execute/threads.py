"""Calls in threads of the rank: several at once, with all of its memory in common.

A thread cannot be killed. A call that is cancelled, or is told to have taken too long, is forgotten: it runs
on, and what it returns late is dropped. So what must end in time belongs into a process.
"""

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from mpiexec_runner.execute import additions, calls
from mpiexec_runner.execute.allowance import Allowance, on_cores
from mpiexec_runner.execute.ending import Reason, verdict_of
from mpiexec_runner.execute.port import Result
from mpiexec_runner.model.tasks import Failure, FailureClass, Outcome, TaskSpec, Verdict


class Bell:
    """A descriptor that is rung from another thread, and stays readable until it is closed."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """The descriptor; valid until it is closed."""
        return self._descriptor

    def ring(self) -> None:
        """Make it readable. Without effect once it is closed: its number may be another file's by then."""
        with self._lock:
            if self._descriptor >= 0:
                os.eventfd_write(self._descriptor, 1)

    def close(self) -> None:
        """Close it."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


class ThreadAttempt:
    """A call that runs in a thread. See :class:`~mpiexec_runner.execute.port.Running`.

    Parameters
    ----------
    function, spec, number, buffers, pickled
        See :func:`~mpiexec_runner.execute.calls.attempt`.
    allowance
        The cores that the thread is held to.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        spec: TaskSpec,
        number: int,
        buffers: list[memoryview],
        allowance: Allowance,
        *,
        pickled: bool,
    ) -> None:
        self._spec, self._number = spec, number
        self._started, self._clock = time.time(), time.perf_counter()
        self._bell = Bell()
        self._result: Result | None = None
        self._reason: Reason | None = None

        def run() -> None:
            try:
                additions.begin()
                with on_cores(allowance.mask):
                    self._result = calls.attempt(
                        function, spec, number, buffers, pickled=pickled, process_time=time.thread_time
                    )
            except BaseException as error:  # noqa: BLE001 - nobody else waits for this thread
                failure = Failure(FailureClass.SETUP, f"it cannot be begun: {error}")
                self._result = (
                    Outcome(spec.id, number, Verdict.FAILED, self._started, 0.0, failure=failure),
                    [],
                )
            self._bell.ring()

        threading.Thread(target=run, name=f"task-{spec.id}", daemon=True).start()

    @property
    def next_act(self) -> float:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        return math.inf if self._reason is None else 0.0

    def fileno(self) -> int:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        return self._bell.fileno()

    def poll(self, now: float) -> Result | None:  # noqa: ARG002 - the signature of the port
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        result = self._result
        if result is None and self._reason is not None:
            elapsed_s = time.perf_counter() - self._clock
            verdict, failure = verdict_of(self._reason, elapsed_s)
            outcome = Outcome(self._spec.id, self._number, verdict, self._started, elapsed_s, failure=failure)
            result = outcome, []
        if result is not None:
            self._bell.close()
        return result

    def stop(self, reason: Reason, now: float) -> None:  # noqa: ARG002 - the signature of the port
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        if self._reason is None:
            self._reason = reason
            with contextlib.suppress(OSError):
                self._bell.ring()

    def abandon(self) -> None:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        self._bell.close()
