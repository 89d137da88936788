"""Outcomes as Python values: futures, the results of a ``map``, and the exceptions of failed tasks.

It knows nothing of how tasks are submitted or run.
"""

import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Future
from typing import Any, Protocol

from typing_extensions import override

from mpiexec_runner.execute import payload
from mpiexec_runner.model.tasks import Failure, FailureClass, Outcome, TaskState, Verdict
from mpiexec_runner.storage.port import BlobPort


class Waiting(Protocol):
    """Somebody who waits for outcomes. Called in the hub's thread."""

    def settle(self, outcome: Outcome) -> None:
        """A task is at its end."""

    def told(self) -> None:
        """That was all for the moment: who sleeps may wake."""

    def withdraw(self, task: int, state: TaskState, why: str) -> None:
        """A task is at its end without an outcome: it was cancelled, skipped, or could not be run."""

    def broken(self, task: int, error: BaseException) -> None:
        """The run has ended before the task did."""


class TaskFailed(RuntimeError):
    """A task failed in a way that left no exception to raise.

    Its process died, its time ran out, no worker could run it, or what it depends on had failed.
    """


class RemoteTraceback(Exception):
    """The traceback on the worker, shown as the cause of the exception here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._text = text

    @override
    def __str__(self) -> str:
        return f'\n"""\n{self._text}"""'


def value_of(outcome: Outcome, blobs: BlobPort) -> Any:
    """The result of a task that succeeded; raises what one that did not raised, or that it was cancelled."""
    if outcome.verdict is Verdict.CANCELLED:
        raise CancelledError("the task was cancelled")
    if outcome.failure is not None:
        raise exception_of(outcome.failure)
    if outcome.blob is None:
        return payload.decode(outcome.value)
    value = payload.decode(outcome.value, blobs.get(outcome.blob))
    blobs.drop(outcome.blob)
    return value


def exception_of(failure: Failure) -> BaseException:
    """The exception that a failure stands for, with the remote traceback as its cause."""
    error: BaseException
    if failure.kind is FailureClass.SETUP:
        error = BrokenExecutor(failure.message)
    elif failure.exception:
        error = pickle.loads(failure.exception)
    else:
        error = TaskFailed(failure.message)
    if failure.traceback:
        error.__cause__ = RemoteTraceback(failure.traceback)
    return error


class TaskFuture(Future[Any]):
    """A future whose cancellation takes the task back.

    Parameters
    ----------
    task
        The number of its task.
    take_back
        Called when it is cancelled.
    blobs
        Where large results are.
    """

    def __init__(self, task: int, take_back: Callable[[int], None], blobs: BlobPort) -> None:
        super().__init__()
        self.task = task
        self._take_back = take_back
        self._blobs = blobs

    @override
    def cancel(self) -> bool:
        already = self.cancelled()
        done = super().cancel()
        if done and not already:
            self._take_back(self.task)
        return done

    def settle(self, outcome: Outcome) -> None:
        """See :class:`Waiting`."""
        if outcome.verdict is Verdict.CANCELLED:
            self._give_up(None)
        elif self.set_running_or_notify_cancel():
            try:
                self.set_result(value_of(outcome, self._blobs))
            except BaseException as error:  # noqa: BLE001 - whatever the task raised
                self.set_exception(error)

    def told(self) -> None:
        """See :class:`Waiting`; each result has woken its waiters already."""

    def withdraw(self, task: int, state: TaskState, why: str) -> None:  # noqa: ARG002 - it has only one
        """See :class:`Waiting`."""
        self._give_up(None if state is TaskState.CANCELLED else TaskFailed(why))

    def broken(self, task: int, error: BaseException) -> None:  # noqa: ARG002 - it has only one
        """See :class:`Waiting`."""
        self._give_up(error)

    def _give_up(self, error: BaseException | None) -> None:
        if error is None:
            super().cancel()
        if self.set_running_or_notify_cancel() and error is not None:
            self.set_exception(error)


class MapResults:
    """Outcomes of one ``map``, until they are fetched one by one."""

    def __init__(self) -> None:
        self._here: dict[int, Outcome | BaseException] = {}
        self._arrived = threading.Event()
        self.take_if_here = self._here.pop
        """``take_if_here(task, None)`` is the outcome if it is here: the common case, and a cheap one."""

    def settle(self, outcome: Outcome) -> None:
        """See :class:`Waiting`."""
        self._here[outcome.task] = outcome

    def told(self) -> None:
        """See :class:`Waiting`."""
        self._arrived.set()

    def withdraw(self, task: int, state: TaskState, why: str) -> None:
        """See :class:`Waiting`."""
        self._here[task] = CancelledError(why) if state is TaskState.CANCELLED else TaskFailed(why)
        self._arrived.set()

    def broken(self, task: int, error: BaseException) -> None:
        """See :class:`Waiting`."""
        self._here[task] = error
        self._arrived.set()

    def fetch(self, task: int, deadline: float | None, found: BaseException | None) -> Outcome:
        """Wait for one task's outcome.

        Parameters
        ----------
        task
            Its number.
        deadline
            On the monotonic clock, in seconds.
        found
            What :attr:`take_if_here` gave.

        Raises
        ------
        TimeoutError
            When ``deadline`` has passed.
        BaseException
            Why there is no outcome.
        """
        here: Outcome | BaseException | None = found
        while here is None:
            self._arrived.clear()
            here = self._here.pop(task, None)
            if here is not None:
                break
            left_s = None if deadline is None else deadline - time.monotonic()
            if (left_s is not None and left_s <= 0) or not self._arrived.wait(left_s):
                raise TimeoutError("a task of map did not end in time")
            here = self._here.pop(task, None)
        if isinstance(here, BaseException):
            raise here
        return here
