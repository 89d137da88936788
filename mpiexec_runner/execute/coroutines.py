"""Calls of coroutine functions: many at once in one event loop, in a thread of the rank.

They can be cancelled wherever they await something. One that does not heed that, or blocks the loop, is
forgotten after a grace, and later calls get a new loop.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from mpiexec_runner.execute import calls
from mpiexec_runner.execute.ending import GRACE_S, Reason, verdict_of
from mpiexec_runner.execute.port import Result
from mpiexec_runner.execute.threads import Bell
from mpiexec_runner.model.tasks import Outcome, TaskSpec


class EventLoop:
    """An event loop in a daemon thread, started when it is first needed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        """The loop, which runs."""
        if self._loop is None:
            loop = self._loop = asyncio.new_event_loop()
            threading.Thread(target=_run, args=(loop,), name="event-loop", daemon=True).start()
        return self._loop

    def give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin nothing more in this one: something in it does not end. What is in it already goes on."""
        if self._loop is loop:
            self._loop = None

    def close(self) -> None:
        """Let it end, as soon as nothing keeps it."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


class CoroutineAttempt:
    """A coroutine that runs. See :class:`~mpiexec_runner.execute.port.Running`.

    Parameters
    ----------
    home
        Where it runs.
    function, spec, number, buffers, pickled
        See :func:`~mpiexec_runner.execute.calls.attempt_coroutine`.
    timeout_s
        Seconds after which it is cancelled and has failed; ``None`` for never.
    """

    def __init__(
        self,
        home: EventLoop,
        function: Callable[..., Any],
        spec: TaskSpec,
        number: int,
        buffers: list[memoryview],
        *,
        pickled: bool,
        timeout_s: float | None,
    ) -> None:
        self._home, self._spec, self._number = home, spec, number
        self._started, self._clock = time.time(), time.perf_counter()
        self._deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        self._forget_at = math.inf
        self._reason: Reason | None = None
        self._bell = Bell()
        self._loop = home.get()
        self._result: Result | None = None
        self._cancelled = False
        self._task: asyncio.Task[Result] | None = None

        def begin() -> None:
            attempt = calls.attempt_coroutine(function, spec, number, buffers, pickled=pickled)
            self._task = self._loop.create_task(attempt)
            self._task.add_done_callback(self._note_end)

        self._loop.call_soon_threadsafe(begin)

    @property
    def next_act(self) -> float:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        return self._deadline if self._reason is None else self._forget_at

    def fileno(self) -> int:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        return self._bell.fileno()

    def poll(self, now: float) -> Result | None:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        if self._reason is None and now >= self._deadline:
            self.stop(Reason.TIMEOUT, now)
        result = self._result
        if result is None and (self._cancelled or now >= self._forget_at):
            if not self._cancelled:
                self._home.give_up(self._loop)
            result = self._ended()
        if result is not None:
            self._bell.close()
        return result

    def stop(self, reason: Reason, now: float) -> None:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        if self._reason is None:
            self._reason, self._forget_at = reason, now + GRACE_S
            self._cancel()

    def abandon(self) -> None:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        self._bell.close()
        self._cancel()

    def _cancel(self) -> None:
        """Let the loop cancel it; a loop that is closed has ended it already."""

        def cancel() -> None:
            if self._task is not None:
                self._task.cancel()

        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(cancel)

    def _note_end(self, task: asyncio.Task[Result]) -> None:
        """In the loop's thread."""
        if task.cancelled():
            self._cancelled = True
        else:
            self._result = task.result()
        self._bell.ring()

    def _ended(self) -> Result:
        elapsed_s = time.perf_counter() - self._clock
        verdict, failure = verdict_of(self._reason or Reason.CANCEL, elapsed_s)
        return Outcome(self._spec.id, self._number, verdict, self._started, elapsed_s, failure=failure), []
