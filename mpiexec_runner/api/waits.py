"""Waiting for tasks of a pipeline, their results, and how tasks and workflows stand. It changes nothing."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from typing import Any

from mpiexec_runner.api.futures import TaskFailed, exception_of
from mpiexec_runner.api.ledger import Ledger, state_name
from mpiexec_runner.api.records import Entry, ExecutionStats, TaskStatus, WorkflowStatus
from mpiexec_runner.api.session import Session
from mpiexec_runner.errors import UserError
from mpiexec_runner.execute import payload
from mpiexec_runner.model.tasks import TaskState

WorkflowCallback = Callable[[WorkflowStatus], object]


class Waits:
    """What a pipeline can be asked for without changing anything."""

    _session: Session
    _ledger: Ledger

    def wait_for_any(self, task_ids: Iterable[str], timeout: float | None = None) -> str:
        """Wait until one of some tasks is at its end, well or not; the first one to be.

        Parameters
        ----------
        task_ids
            Their names.
        timeout
            In seconds.

        Raises
        ------
        TimeoutError
            When none is by then.
        UserError
            When there is no such task, or none is named.
        """
        entries = [self._ledger.entry(name) for name in task_ids]
        if not entries:
            raise UserError("wait_for_any was given no task to wait for")
        self._ledger.wait(
            lambda: any(entry.turn for entry in entries), timeout, "none of the tasks has ended"
        )
        return min((entry for entry in entries if entry.turn), key=lambda entry: entry.turn).name

    def wait_for_workflow(
        self,
        workflow_id: str,
        timeout: float | None = None,
        callback: WorkflowCallback | None = None,
        poll_interval: float = 1.0,
    ) -> WorkflowStatus:
        """Wait until all tasks of a workflow are at their end, well or not.

        Parameters
        ----------
        workflow_id
            Its name.
        timeout
            In seconds.
        callback
            Called with how it stands, here and now, then every ``poll_interval`` seconds, and at the end.

        Raises
        ------
        TimeoutError
            When it has not ended by then.
        Exception
            What ended the workflow before its time: an error in a batch, or in its callback.
        """
        flow = self._ledger.flow(workflow_id)
        if flow.left is not None and self._ledger.callbacks.here:
            raise UserError(f"{workflow_id} is fed by the thread of this callback: wait elsewhere")
        deadline = None if timeout is None else time.monotonic() + timeout
        while callback is not None and not flow.ended:
            callback(self._ledger.flow_status(flow))
            left_s = poll_interval if deadline is None else min(poll_interval, deadline - time.monotonic())
            try:
                self._ledger.wait(lambda: flow.ended, max(0.0, left_s), "")
            except TimeoutError:
                if deadline is not None and time.monotonic() >= deadline:
                    break
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        self._ledger.wait(lambda: flow.ended, left, f"{workflow_id} has not ended")
        if flow.error is not None:
            raise flow.error
        status = self._ledger.flow_status(flow)
        if callback is not None:
            callback(status)
        return status

    def get_result(self, task_id: str, timeout: float | None = None) -> Any:
        """What a task returned, once it has ended; of a command without ``run_dir``, what it wrote.

        Raises
        ------
        TimeoutError
            When it has not ended after so many seconds.
        concurrent.futures.CancelledError
            When it was cancelled.
        TaskFailed
            When it was skipped, or failed without an exception.
        Exception
            What it raised.
        """
        entry = self._ledger.entry(task_id)
        self._ledger.wait(lambda: entry.turn, timeout, f"{task_id} has not ended")
        outcome = entry.outcome
        if entry.state is TaskState.CANCELLED:
            raise CancelledError(f"{task_id} was cancelled")
        if outcome is None:
            raise TaskFailed(f"{task_id} was {state_name(entry.state)}: {entry.why}")
        if outcome.failure is not None:
            raise exception_of(outcome.failure)
        parts = None if outcome.blob is None else self._session.engine.blobs.get(outcome.blob)
        return payload.decode(outcome.value, parts)

    # --- how things stand

    def get_task_status(self, task_id: str) -> TaskStatus:
        """How a task stands."""
        return self._ledger.status(self._ledger.entry(task_id))

    def get_workflow_status(self, workflow_id: str) -> WorkflowStatus:
        """How a workflow stands."""
        return self._ledger.flow_status(self._ledger.flow(workflow_id))

    def tasks_of(self, workflow_id: str) -> list[str]:
        """The names of the tasks of a workflow, as far as they were submitted."""
        return [entry.name for entry in self._ledger.flow(workflow_id).entries]

    def get_parallel_execution_stats(
        self, workflow_id: str | None = None, *, task_ids: Iterable[str] | None = None
    ) -> ExecutionStats:
        """What was gained by running tasks side by side: in a workflow, for some tasks, or in all."""
        if workflow_id is not None:
            entries: Iterable[Entry] = self._ledger.flow(workflow_id).entries
        elif task_ids is not None:
            entries = map(self._ledger.entry, task_ids)
        else:
            entries = self._ledger.all()
        return self._ledger.statistics(list(entries), self._session.engine.capacity)
