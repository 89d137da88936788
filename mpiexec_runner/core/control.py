"""What people ask of a run that goes on: cancel, pause, reprioritise, retry, move, rebalance, disable.

Each request is one event; a request that makes no sense any more is passed over.
"""

from collections import deque

from mpiexec_runner.core.outcomes import Desk, Outcomes
from mpiexec_runner.core.settings import SchedulerSettings
from mpiexec_runner.core.tasks import NOBODY, Task, Worker
from mpiexec_runner.model.commands import CancelAttempts, NoteWorker, RetractTasks, SettleWithout
from mpiexec_runner.model.events import (
    CancelRequested,
    MoveRequested,
    PriorityRequested,
    RetryRequested,
    WorkerSwitched,
)
from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.model.workers import WorkerState

Attempts = list[tuple[int, int]]
DISABLED = "disabled by hand"


class Control:
    """Carries out what people ask."""

    def __init__(self, desk: Desk, outcomes: Outcomes, settings: SchedulerSettings) -> None:
        self._state, self._fleet, self._graph, self._hosts, _, self._out = desk
        self._outcomes, self._ageing_s = outcomes, settings.ageing_s

    def on_cancel_requested(self, event: CancelRequested) -> None:
        """End these tasks, wherever they are."""
        state = self._state
        wanted = list(state.tasks) if event.tasks is None else event.tasks
        at_workers: dict[int, Attempts] = {}
        cancelled: list[Task] = []
        for task_id in wanted:
            task = state.tasks.get(task_id)
            if task is None or task.state.terminal:
                continue
            if event.label and event.label not in task.kind.spec.labels:
                continue
            if task.worker < 0:
                state.blockers.pop(task_id, None)
                state.move(task, TaskState.CANCELLED)
                self._out.append(SettleWithout(task_id, TaskState.CANCELLED, "cancelled"))
                cancelled.append(task)
            elif not task.cancelling:
                task.cancelling = True
                for holder, attempt in state.holders(task):
                    at_workers.setdefault(holder.id, []).append((task_id, attempt))
        for task in cancelled:  # now that those are told apart which are cancelled, and not skipped
            self._outcomes.free_dependents(task)
        self._out.extend(CancelAttempts(worker, attempts) for worker, attempts in at_workers.items())

    def on_priority_requested(self, event: PriorityRequested) -> None:
        """Make these tasks as urgent as that."""
        state = self._state
        back: dict[int, Attempts] = {}
        queued = False
        for task_id in event.tasks:
            task = state.tasks.get(task_id)
            if task is None or task.state.terminal or task.priority == event.priority:
                continue
            task.priority = event.priority
            queued |= task.state is TaskState.READY
            if task.state is TaskState.ASSIGNED and task_id not in state.gangs:
                back.setdefault(task.worker, []).append((task_id, task.attempt))
        if queued:
            state.requeue_all(self._ageing_s)
        self._take_back(back)

    def on_retry_requested(self, event: RetryRequested) -> None:
        """Try tasks that came to a bad end once more, and what was skipped because of them."""
        state = self._state
        wanted = sorted(state.tasks) if event.tasks is None else sorted(set(event.tasks))
        state.requeue_all(self._ageing_s)  # entries of their earlier life may still be in the queue
        for task_id in wanted:
            task = state.tasks.get(task_id)
            if task is None or not task.state.terminal or task.state is TaskState.SUCCEEDED:
                continue
            if event.tasks is None and task.state is TaskState.CANCELLED:
                continue  # somebody did not want it
            self._begin_again(task)

    def _begin_again(self, task: Task) -> None:
        """Try a task once more, and those that were skipped because of it."""
        state, line = self._state, deque([task])
        while line:
            task = line.popleft()
            if not task.state.terminal:  # it depends on two of these, and has come up before
                continue
            task.retries = task.crashes = 0
            task.due = 0.0
            task.cancelling = False
            state.whys.pop(task.spec.id, None)
            state.move(task, TaskState.WAITING)
            for id_ in state.dependents.get(task.spec.id, ()):
                if id_ in state.blockers:  # it waits for another one that is tried once more
                    state.blockers[id_] += 1
            if not self._graph.hold_back(task):
                why = self._graph.why_skipped(task)
                if why:
                    self._outcomes.settle_without(task, TaskState.SKIPPED, why)
                    continue
                state.make_ready(task)
            for id_ in state.dependents.get(task.spec.id, ()):
                other = state.tasks.get(id_)
                if other is not None and other.state is TaskState.SKIPPED:
                    line.append(other)

    def on_move_requested(self, event: MoveRequested) -> None:
        """Let a task run on a certain worker, if it has not begun."""
        state = self._state
        task, target = state.tasks.get(event.task), state.workers.get(event.worker)
        if task is None or target is None or task.state.terminal or task.worker == target.id:
            return
        if task.state is TaskState.RUNNING or task.kind.is_gang:
            return
        state.pinned[event.task] = target.id
        if task.state is TaskState.READY:
            state.requeue_all(self._ageing_s)
        elif task.state is TaskState.ASSIGNED:
            self._take_back({task.worker: [(event.task, task.attempt)]})

    def on_rebalance_requested(self) -> None:
        """Take back all that has not begun."""
        back: dict[int, Attempts] = {}
        for worker in self._state.workers.values():
            if not worker.retracting and worker.state is WorkerState.ALIVE:
                back[worker.id] = self._unbegun(worker)
        self._take_back(back)

    def on_worker_switched(self, event: WorkerSwitched) -> None:
        """Give a worker nothing new, or work again."""
        worker = self._state.workers.get(event.worker)
        if worker is None:
            return
        if event.enabled:
            for one in (worker, *self._hosts.forgive(worker)):
                one.disabled = ""
                self._fleet.changed(one)
                self._out.append(NoteWorker(one.id, "enabled"))
            self._state.ready.unpark()
        else:
            worker.disabled = _why_disabled(event)
            self._fleet.changed(worker)
            self._out.append(NoteWorker(worker.id, worker.disabled))
            self.take_back_unbegun(worker)

    def take_back_unbegun(self, worker: Worker) -> None:
        """Ask a worker for all that it has not begun."""
        self._take_back({worker.id: self._unbegun(worker)})

    def _unbegun(self, worker: Worker) -> Attempts:
        return [
            (task.spec.id, task.attempt)
            for task in worker.tasks.values()
            if task.state is TaskState.ASSIGNED and task.worker == worker.id and not worker.in_gang
        ]

    def _take_back(self, attempts: dict[int, Attempts]) -> None:
        for worker, its in attempts.items():
            if its and worker != NOBODY:
                self._state.workers[worker].retracting = True
                self._out.append(RetractTasks(worker, its))


def _why_disabled(event: WorkerSwitched) -> str:
    if event.by_hand or not event.why:
        return f"{DISABLED}: {event.why}" if event.why else DISABLED
    return event.why
