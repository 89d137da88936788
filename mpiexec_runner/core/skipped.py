"""What is to be tried once more so that a skipped task runs. It reads the state and changes nothing."""

from collections.abc import Callable, Collection

from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Task
from mpiexec_runner.model.tasks import TaskState

SHOWN = 5


def causes_of(state: RunState, task: Task) -> list[Task]:
    """The tasks that failed or were cancelled, and for whose sake a task was skipped, by their ids.

    None when it was to run after a failure only, or when what it depends on is not on record.
    """
    found: dict[int, Task] = {}
    line, seen = [task], {task.spec.id}
    while line:
        for id_ in line.pop().spec.after:
            before = state.tasks.get(id_)
            if before is None or id_ in seen:
                continue
            seen.add(id_)
            if before.state is TaskState.SKIPPED:
                line.append(before)
            elif before.state in (TaskState.FAILED, TaskState.CANCELLED):
                found[id_] = before
    return [found[id_] for id_ in sorted(found)]


def why_in_vain(
    state: RunState, task: Task, name_of: Callable[[Task], str], along: Collection[int] = ()
) -> str:
    """Why it is in vain to try a task once more: it would be skipped again. Empty when it would not.

    Parameters
    ----------
    state, task
        The task, in any state.
    name_of
        What people call a task.
    along
        Ids of those that are tried once more together with it.
    """
    if task.state is not TaskState.SKIPPED:
        return ""
    name, causes = name_of(task), causes_of(state, task)
    left = [name_of(cause) for cause in causes if cause.spec.id not in along]
    if left:
        told = ", ".join(left[:SHOWN]) + (", ..." if len(left) > SHOWN else "")
        what = "that" if len(left) == 1 else "these"
        return f"{name} was skipped because of {told}: retry {what}, and {name} comes along"
    _, why = state.whys.get(task.spec.id, (task.state, ""))
    return "" if causes or not why else f"{name} was skipped, and would be again: {why}"
