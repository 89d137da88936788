"""A run's state as one frozen record, and back. How it is kept is ``storage/``'s business.

Records are those of ``tasks.py`` and ``kinds.py`` with references written as ids; what follows from them is
left out and counted again.
"""

import heapq

import msgspec

from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.core.state import Facts, RunState
from mpiexec_runner.core.tasks import Task, Worker
from mpiexec_runner.model.tasks import TaskState

_TASK = tuple(name for name in Task.__struct_fields__ if name != "kind")
_FOLLOWS = ("tasks", "running", "free_cpus", "free_memory", "free_gpus", "in_gang")
_WORKER = tuple(name for name in Worker.__struct_fields__ if name not in _FOLLOWS)


def _typed(struct: type[msgspec.Struct], names: tuple[str, ...]) -> list[tuple[str, object, object]]:
    """The fields with their defaults: an older snapshot lacks those that came later, at the end."""
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    return [(name, fields[name].type, _default(fields[name])) for name in names]


def _default(field: msgspec.structs.FieldInfo) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.field(default_factory=field.default_factory)
    return msgspec.NODEFAULT if field.default is msgspec.NODEFAULT else field.default


TaskRecord = msgspec.defstruct("TaskRecord", _typed(Task, _TASK), frozen=True, array_like=True, gc=False)
WorkerRecord = msgspec.defstruct(
    "WorkerRecord", [("tasks", list[int]), *_typed(Worker, _WORKER)], frozen=True, array_like=True
)


class Snapshot(msgspec.Struct, frozen=True):
    """All of a :class:`~mpiexec_runner.core.state.RunState`."""

    facts: Facts
    kinds: list[Kind]
    tasks: list[TaskRecord]  # type: ignore[valid-type]
    queue: list[int]
    workers: list[WorkerRecord]  # type: ignore[valid-type]


def take(state: RunState) -> Snapshot:
    """Record ``state`` as it is now."""
    facts = Facts(**{name: getattr(state, name) for name in Facts.__struct_fields__})
    facts.suspects = set(sorted(state.suspects))  # noqa: C414 - equal states have equal snapshots
    return Snapshot(
        facts=facts,
        kinds=list(state.kinds.values()),
        tasks=[TaskRecord(*[getattr(task, name) for name in _TASK]) for task in state.tasks.values()],
        queue=[task.spec.id for task in state.ready],
        workers=[
            WorkerRecord(list(worker.tasks), *[getattr(worker, name) for name in _WORKER])
            for worker in state.workers.values()
        ],
    )


def restore(snapshot: Snapshot) -> RunState:
    """Make the state that ``snapshot`` was taken of. It has to be encoded and decoded in between."""
    facts = {name: getattr(snapshot.facts, name) for name in Facts.__struct_fields__}
    state = RunState(**facts, kinds={kind.spec.id: kind for kind in snapshot.kinds})
    for record in snapshot.tasks:
        fields = {name: getattr(record, name) for name in _TASK}
        task = Task(kind=state.kinds[fields["spec"].kind], **fields)
        state.tasks[task.spec.id] = task
        if task.due > 0.0 and task.state is TaskState.WAITING:
            state.timers.append((task.due, task.spec.id))
    heapq.heapify(state.timers)
    for id_ in snapshot.queue:
        state.enqueue(state.tasks[id_])
    for record in snapshot.workers:
        fields = {name: getattr(record, name) for name in _WORKER}
        held: list[int] = getattr(record, "tasks")  # noqa: B009 - its type is made above
        worker = Worker(tasks={id_: state.tasks[id_] for id_ in held}, **fields)
        worker.running = sum(_runs(worker, task) for task in worker.tasks.values())
        worker.set_free()
        state.workers[worker.id] = worker
    return state


def _runs(worker: Worker, task: Task) -> bool:
    return task.state is TaskState.RUNNING and task.worker == worker.id
