"""Which moves a task and a worker may make. Every legal case is written out; nothing else decides it.

The diagrams in docs/ARCHITECTURE.md are made from these tables.
"""

from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.model.workers import WorkerState

TASK_MOVES: dict[tuple[TaskState, TaskState], str] = {
    (TaskState.WAITING, TaskState.READY): "its back-off is over, or what it depends on is done",
    (TaskState.WAITING, TaskState.CANCELLED): "cancelled before it was ready",
    (TaskState.WAITING, TaskState.SKIPPED): "what it depends on came to another end",
    (TaskState.READY, TaskState.ASSIGNED): "sent to a worker",
    (TaskState.READY, TaskState.CANCELLED): "cancelled before it was sent",
    (TaskState.ASSIGNED, TaskState.RUNNING): "its worker began",
    (TaskState.READY, TaskState.FAILED): "poison, or no worker could ever run it",
    (TaskState.ASSIGNED, TaskState.READY): "came back unbegun, or its worker is lost",
    (TaskState.ASSIGNED, TaskState.WAITING): "failed at once; retries are left",
    (TaskState.RUNNING, TaskState.READY): "its worker is lost, or the run is being abandoned",
    (TaskState.RUNNING, TaskState.WAITING): "failed; retries are left",
    # A result that comes late, from a worker that was given up, still counts: wherever the task is by then.
    (TaskState.WAITING, TaskState.SUCCEEDED): "a late result",
    (TaskState.READY, TaskState.SUCCEEDED): "a late result",
    (TaskState.ASSIGNED, TaskState.SUCCEEDED): "done",
    (TaskState.RUNNING, TaskState.SUCCEEDED): "done",
    (TaskState.ASSIGNED, TaskState.FAILED): "failed at once; no retries are left",
    (TaskState.RUNNING, TaskState.FAILED): "failed; no retries are left",
    (TaskState.ASSIGNED, TaskState.CANCELLED): "cancelled unbegun on its worker",
    (TaskState.RUNNING, TaskState.CANCELLED): "ended by a cancel",
    # Somebody wants it tried once more.
    (TaskState.FAILED, TaskState.READY): "to be tried once more",
    (TaskState.CANCELLED, TaskState.READY): "to be tried once more",
    (TaskState.SKIPPED, TaskState.READY): "to be tried once more",
    (TaskState.FAILED, TaskState.WAITING): "to be tried once more, after what it depends on",
    (TaskState.CANCELLED, TaskState.WAITING): "to be tried once more, after what it depends on",
    (TaskState.SKIPPED, TaskState.WAITING): "to be tried once more, after what it depends on",
}

WORKER_MOVES: dict[tuple[WorkerState, WorkerState], str] = {
    (WorkerState.JOINING, WorkerState.ALIVE): "it answered the welcome",
    (WorkerState.JOINING, WorkerState.LOST): "it never answered, or its rank died",
    (WorkerState.ALIVE, WorkerState.SUSPECT): "silent for a third of the time-out",
    (WorkerState.SUSPECT, WorkerState.ALIVE): "heard again",
    (WorkerState.ALIVE, WorkerState.LOST): "its rank died",
    (WorkerState.SUSPECT, WorkerState.LOST): "silent for the whole time-out, or its rank died",
    (WorkerState.LOST, WorkerState.JOINING): "heard again: welcomed under a new incarnation",
    (WorkerState.ALIVE, WorkerState.JOINING): "said hello again: welcomed under a new incarnation",
    (WorkerState.SUSPECT, WorkerState.JOINING): "said hello again: welcomed under a new incarnation",
    (WorkerState.DRAINED, WorkerState.JOINING): "came back",
    (WorkerState.JOINING, WorkerState.DRAINED): "left in order",
    (WorkerState.ALIVE, WorkerState.DRAINED): "left in order",
    (WorkerState.SUSPECT, WorkerState.DRAINED): "left in order",
    (WorkerState.LOST, WorkerState.DRAINED): "left in order after all",
}
