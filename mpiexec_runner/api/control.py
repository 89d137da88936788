"""What a program may ask of its run while it goes on: one event each, and none waits for its effect."""

from collections.abc import Iterable

from mpiexec_runner.api.ledger import Ledger
from mpiexec_runner.api.options import check_priority
from mpiexec_runner.api.session import Session
from mpiexec_runner.core.metrics import RunMetrics
from mpiexec_runner.model.events import (
    CancelRequested,
    MoveRequested,
    PriorityRequested,
    RebalanceRequested,
    RetryRequested,
    WorkerSwitched,
)


class RunControl:
    """The requests that executor and pipeline share."""

    _session: Session

    def pause(self) -> None:
        """Begin nothing new; what runs goes on. The end of the ``with`` block ends a pause."""
        self._session.pause(True)

    def go_on(self) -> None:
        """End a pause."""
        self._session.pause(False)

    def cancel(self, label: str = "") -> None:
        """Cancel all tasks that are not at their end, or those with a label."""
        self._session.post(CancelRequested(None, label))

    def rebalance(self) -> None:
        """Take back what workers have not begun, and place it anew."""
        self._session.post(RebalanceRequested())

    def disable_worker(self, worker: int, why: str = "") -> None:
        """Give the worker of this rank nothing new; it finishes what runs."""
        self._session.post(WorkerSwitched(worker, False, why))

    def enable_worker(self, worker: int) -> None:
        """Give the worker of this rank work again."""
        self._session.post(WorkerSwitched(worker, True))

    def metrics(self) -> RunMetrics:
        """How well the run goes, in numbers: see :class:`~mpiexec_runner.core.metrics.RunMetrics`."""
        return self._session.metrics()


class PipelineControl(RunControl):
    """The requests that name tasks and workflows of a pipeline."""

    _ledger: Ledger

    def cancel_task(self, task_id: str) -> bool:
        """Cancel a task; what depends on its success is skipped. False when it has ended already."""
        return self.cancel_tasks([task_id]) == 1

    def cancel_tasks(self, task_ids: Iterable[str]) -> int:
        """Cancel tasks; how many of them had not ended."""
        open_ = [entry.task for entry in map(self._ledger.entry, task_ids) if entry.state is None]
        if open_:
            self._session.cancel(*open_)
        return len(open_)

    def cancel_workflow(self, workflow_id: str) -> int:
        """Cancel what is left of a workflow, and submit no more of it; how many tasks had not ended."""
        flow = self._ledger.flow(workflow_id)
        with self._ledger.changed:
            if flow.left is not None:
                flow.left = iter(())
        return self.cancel_tasks([entry.name for entry in flow.entries])

    def retry_task(self, task_id: str) -> None:
        """Try a task that failed or was cancelled once more, and what was skipped because of it."""
        entry = self._ledger.entry(task_id)
        with self._session.lock:
            for one in self._ledger.reopen(entry):
                self._session.waiting[one.task] = self._ledger
        self._session.post(RetryRequested((entry.task,)))

    def set_priority(self, task_ids: Iterable[str], priority: int) -> None:
        """Make tasks that have not begun as urgent as that: 1 to 10."""
        check_priority(priority)
        self._session.post(PriorityRequested(tuple(self._ledger.entry(n).task for n in task_ids), priority))

    def move(self, task_id: str, worker: int) -> None:
        """Let a task run on the worker of this rank, if it has not begun elsewhere."""
        self._session.post(MoveRequested(self._ledger.entry(task_id).task, worker))
