"""What must hold of a scheduler's state after every batch. For tests, and for a dump when it does not.

It only reads.
"""

from collections import Counter

from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import NOBODY, Task
from mpiexec_runner.errors import InvariantBroken
from mpiexec_runner.model.tasks import TaskState, When
from mpiexec_runner.model.workers import Health, WorkerState

_HELD = (TaskState.ASSIGNED, TaskState.RUNNING)


def check(state: RunState) -> None:
    """Check every cross-reference of a run's state.

    Raises
    ------
    InvariantBroken
        With all that is wrong, one line each.
    """
    problems = [
        *_check_tasks(state),
        *_check_workers(state),
        *_check_counts(state),
        *_check_edges(state),
        *_check_extras(state),
    ]
    if problems:
        raise InvariantBroken("\n".join(problems))


def _check_tasks(state: RunState) -> list[str]:
    problems = []
    for id_, task in state.tasks.items():
        where = f"task {id_} ({task.state.name})"
        if task.spec.id != id_ or id_ >= state.next_task:
            problems.append(f"{where}: booked under a wrong id")
        if task.state in _HELD:
            problems.extend(_check_held(state, task, where))
        elif task.worker != NOBODY:
            problems.append(f"{where}: names worker {task.worker} but is not held")
        if task.cancelling and task.state not in _HELD and not task.state.terminal:
            problems.append(f"{where}: is being cancelled but nobody holds it")
        if task.state.terminal and not task.kind.spec.keep and id_ not in state.awaited:
            problems.append(f"{where}: is at its end and should be forgotten")
    return problems


def _check_held(state: RunState, task: Task, where: str) -> list[str]:
    worker = state.workers.get(task.worker)
    if worker is None or worker.tasks.get(task.spec.id) is not task:
        return [f"{where}: worker {task.worker} does not hold it"]
    if worker.state in (WorkerState.LOST, WorkerState.DRAINED):
        return [f"{where}: held by worker {worker.id}, which is {worker.state.name}"]
    return [] if task.attempt >= 1 else [f"{where}: held, but never attempted"]


def _check_workers(state: RunState) -> list[str]:
    problems = []
    for worker in state.workers.values():
        where = f"worker {worker.id} ({worker.state.name})"
        running = 0
        free = (worker.cores, worker.memory_bytes, worker.gpus)
        for id_, task in worker.tasks.items():
            running += task.state is TaskState.RUNNING and task.worker == worker.id
            twin, gang = state.twins.get(id_), state.gangs.get(id_)
            its = [task.worker, twin.worker if twin else NOBODY, *(gang.workers if gang else ())]
            if state.tasks.get(id_) is not task or worker.id not in its or task.state not in _HELD:
                problems.append(f"{where}: holds task {id_}, which is elsewhere")
            needs = task.kind.spec.needs
            free = (free[0] - needs.cpus, free[1] - needs.memory_bytes, free[2] - needs.gpus)
        if free != (worker.free_cpus, worker.free_memory, worker.free_gpus):
            problems.append(f"{where}: counts free resources wrongly, should be {free}")
        if running != worker.running:
            problems.append(f"{where}: counts {worker.running} running tasks, has {running}")
        backlog_s = sum(task.expected_s for task in worker.tasks.values())
        if abs(backlog_s - worker.backlog_s) > 1e-6 * max(1.0, backlog_s):
            problems.append(f"{where}: backlog {worker.backlog_s} s, should be {backlog_s} s")
    return problems


def _check_counts(state: RunState) -> list[str]:
    problems = []
    for task_state in TaskState:
        found = sum(task.state is task_state for task in state.tasks.values())
        counted = state.counts[task_state]
        # Tasks that nobody wants remembered leave at their end, but stay counted.
        if counted != found and not (task_state.terminal and counted > found):
            problems.append(f"{counted} tasks are counted {task_state.name}, {found} are")
    queued = list(state.ready)
    if len(queued) != len(state.ready) or len({id(task) for task in queued}) != len(queued):
        problems.append(f"the ready queue counts {len(state.ready)} and holds {len(queued)}")
    if len(queued) != state.counts[TaskState.READY]:
        problems.append(f"{len(queued)} tasks are queued, {state.counts[TaskState.READY]} are ready")
    timed = {id_ for _, id_ in state.timers}
    problems.extend(
        f"task {id_} waits, but neither a timer nor a task will wake it"
        for id_, task in state.tasks.items()
        if task.state is TaskState.WAITING and id_ not in timed and id_ not in state.blockers
    )
    return problems


def _check_edges(state: RunState) -> list[str]:
    problems = []
    for id_, count in state.blockers.items():
        task = state.tasks[id_]
        open_ = [
            before
            for before in set(task.spec.after)
            if before < id_ and before in state.tasks and not state.tasks[before].state.terminal
        ]
        if task.state is not TaskState.WAITING or len(open_) != count:
            problems.append(f"task {id_} ({task.state.name}) waits for {len(open_)} tasks, counts {count}")
        problems += [
            f"task {id_} waits for task {before}, which does not know of it"
            for before in open_
            if id_ not in state.dependents.get(before, ())
        ]
    awaited = Counter(
        before
        for id_, task in state.tasks.items()
        if task.state is not TaskState.SUCCEEDED
        for before in set(task.spec.after)
        if before < id_ and before in state.tasks
    )
    # A task that is not on record when one that depends on it comes is never awaited.
    if any(not 0 < count <= awaited[id_] for id_, count in state.awaited.items()):
        problems.append(f"awaited are {dict(awaited)}, counted {state.awaited}")
    if state.awaited.keys() != state.dependents.keys():
        problems.append(
            f"awaited are {list(state.awaited)}, the dependents of {list(state.dependents)} are known"
        )
    problems += [
        f"the result of task {id_} is kept for nobody"
        for id_ in state.results
        if id_ not in awaited and not state.tasks[id_].kind.spec.keep_result
    ]
    for id_, task in state.tasks.items():
        begun = task.state in (*_HELD, TaskState.SUCCEEDED)
        if begun and task.spec.when is When.SUCCESS:
            problems += [
                f"task {id_} has begun before task {before} succeeded"
                for before in task.spec.after
                if before in state.tasks and state.tasks[before].state is not TaskState.SUCCEEDED
            ]
    return problems


def _check_extras(state: RunState) -> list[str]:
    """Second attempts and gangs belong to tasks that are held, by workers that know of them."""
    problems = []
    for id_, twin in state.twins.items():
        task = state.tasks.get(id_)
        if task is None or task.state not in _HELD or task.worker == twin.worker:
            problems.append(f"the second attempt of task {id_} is of no task that is held elsewhere")
        elif twin.worker != NOBODY and id_ not in state.workers[twin.worker].tasks:
            problems.append(f"worker {twin.worker} does not know of the second attempt of task {id_}")
    for id_, gang in state.gangs.items():
        task = state.tasks.get(id_)
        missing = [worker for worker in gang.workers if id_ not in state.workers[worker].tasks]
        if task is None or task.state not in _HELD or task.worker != gang.workers[0] or missing:
            problems.append(f"the gang of task {id_} is not held by all of {gang.workers}")
        if any(len(state.workers[worker].tasks) > 1 for worker in gang.workers):
            problems.append(f"a worker of the gang of task {id_} holds other tasks, too")
    degraded = sum(worker.load.health is Health.DEGRADED for worker in state.workers.values())
    if degraded != state.degraded:
        problems.append(f"{state.degraded} workers are counted degraded, {degraded} are")
    return problems
