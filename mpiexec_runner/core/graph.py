"""Dependencies: which tasks wait for which, what follows when one is at its end, and how long the chains are.

Tasks name those that they depend on, which have smaller ids: there can be no cycle. It decides nothing about
workers.
"""

from collections.abc import Iterable

from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Task
from mpiexec_runner.model.tasks import Result, TaskState, When

REST_S = 20e-6
"""So many seconds for each task are between two measurements of the chains."""
UNIT_S = 1.0
"""How long a task is taken to last when nobody knows: then chains are compared by their number of tasks."""


class Graph:
    """The edges between the tasks of a run."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        state.blockers.clear()
        state.dependents.clear()
        state.awaited.clear()
        for task in state.tasks.values():
            if task.spec.after and task.state is not TaskState.SUCCEEDED:
                self.link(task)
                if task.state is TaskState.WAITING and not task.due:
                    self._count_open(task)

    # --- tasks arrive

    def link(self, task: Task) -> None:
        """Note the edges to a new task."""
        state, id_, after = self._state, task.spec.id, task.spec.after
        for before in dict.fromkeys(after) if len(after) > 1 else after:
            if before in state.tasks and before < id_:
                dependents = state.dependents.get(before)
                if dependents is None:
                    state.dependents[before], state.awaited[before] = [id_], 1
                else:
                    dependents.append(id_)
                    state.awaited[before] += 1

    def hold_back(self, task: Task) -> bool:
        """Let a new or retried task wait for those that it depends on; whether it has to.

        A task that is not wanted after what those came to is for :meth:`why_skipped` to tell.
        """
        self._state.paths_due += 1
        return self._count_open(task) > 0

    def _count_open(self, task: Task) -> int:
        tasks, id_, after, open_ = self._state.tasks, task.spec.id, task.spec.after, 0
        for number in dict.fromkeys(after) if len(after) > 1 else after:
            before = tasks.get(number) if number < id_ else None
            open_ += before is not None and before.state < TaskState.SUCCEEDED
        if open_:
            self._state.blockers[id_] = open_
        return open_

    # --- tasks are at their end

    def settle(self, task: Task) -> list[Task]:
        """Tasks whose last open dependency this was: they are ready, or skipped."""
        state = self._state
        freed = []
        for id_ in state.dependents.get(task.spec.id, ()):
            left = state.blockers.get(id_, 0)
            if not left:
                continue
            waiting = state.tasks[id_]
            # What needs success is not kept waiting for others when it cannot come about any more.
            if left == 1 or (task.state is not TaskState.SUCCEEDED and waiting.spec.when is When.SUCCESS):
                del state.blockers[id_]
                freed.append(waiting)
            else:
                state.blockers[id_] = left - 1
        return freed

    def why_skipped(self, task: Task) -> str:
        """Why a task whose dependencies are at their end is not to run; empty when it is."""
        failed, tasks = 0, self._state.tasks
        for id_ in task.spec.after:
            before = tasks.get(id_) if id_ < task.spec.id else None
            if before is None:
                forgotten = _FORGOTTEN if id_ < task.spec.id else ""
                return f"it depends on task {id_}, of which nothing is on record{forgotten}"
            if before.state is TaskState.SUCCEEDED:
                continue
            failed += before.state is not TaskState.CANCELLED
            if task.spec.when is When.SUCCESS and before.state.terminal:
                return f"it depends on {_name(before)}, which was {_ENDED[before.state]}"
        if task.spec.when is When.FAILURE and not failed:
            return "it was to run only after a failure, and nothing failed"
        return ""

    def part(self, task: Task) -> None:
        """Let go of what nobody needs now that a task is at its end.

        That is its own record, unless it is kept or awaited, and what it needed of those before it: their
        results are kept for tasks that have failed, too, as those may be tried once more.
        """
        if task.spec.after and task.state is TaskState.SUCCEEDED:
            for before in self._release_before(task):
                self.forget(before)
        if not task.kind.spec.keep:
            self.forget(task)

    def forget(self, task: Task) -> None:
        """Forget a task at its end that nobody awaits, and those before it that were kept for its sake."""
        state, line = self._state, [task]
        while line:
            task = line.pop()
            if task.spec.id in state.awaited or state.tasks.pop(task.spec.id, None) is None:
                continue
            if task.state is not TaskState.SUCCEEDED:
                line += self._release_before(task)

    def _release_before(self, task: Task) -> list[Task]:
        """Count a task out that needs nothing any more of those before it; whom nobody keeps any longer."""
        state, after = self._state, task.spec.after
        freed: list[Task] = []
        for id_ in dict.fromkeys(after) if len(after) > 1 else after:
            left = state.awaited.get(id_, 0) - 1 if id_ < task.spec.id else -1
            if left > 0:
                state.awaited[id_] = left
            elif left == 0:
                del state.awaited[id_], state.dependents[id_]
                if state.sites:
                    state.sites.pop(f"#{id_}", None)
                before = state.tasks.get(id_)
                if state.results and (before is None or not before.kind.spec.keep_result):
                    state.results.pop(id_, None)
                if before is not None and before.state.terminal and not before.kind.spec.keep:
                    freed.append(before)
        return freed

    def results_for(self, tasks: Iterable[Task]) -> list[Result]:
        """The results that tasks use, each once."""
        state = self._state
        found: dict[int, Result] = {}
        for task in tasks:
            for id_ in task.spec.uses:
                if id_ in found:
                    continue
                before = state.tasks.get(id_)
                known = state.results.get(id_)
                if known is not None:
                    found[id_] = known
                elif before is not None:
                    found[id_] = Result(id_, before.state, before.spec.name)
        return list(found.values())

    # --- the longest chains

    def paths_changed(self) -> bool:
        """Measure the chains again when enough tasks came since the last time; whether that was done.

        Not more often than what it costs allows: the queue is made anew then.
        """
        state = self._state
        due = state.paths_due
        if not due or due * 8 < len(state.paths):
            return False
        if state.now < state.paths_at + REST_S * (len(state.ready) + len(state.awaited)):
            return False
        self._measure_paths()
        state.paths_at = state.now
        return True

    def _measure_paths(self) -> None:
        """The expected time of the longest chain behind each task, backwards from the newest."""
        state = self._state
        state.paths_due = 0
        paths: dict[int, float] = {}
        longest = 0.0
        for id_ in sorted(state.dependents, reverse=True):
            behind = 0.0
            for other in state.dependents[id_]:
                task = state.tasks.get(other)
                if task is not None and not task.state.terminal:
                    own_s = task.kind.expected_s if task.kind.is_known else UNIT_S
                    behind = max(behind, own_s + paths.get(other, 0.0))
            if behind:
                paths[id_] = behind
                longest = max(longest, behind)
        if paths:
            paths[0] = longest
        state.paths.clear()
        state.paths.update(paths)


_ENDED = {
    TaskState.FAILED: "not successful",
    TaskState.CANCELLED: "cancelled",
    TaskState.SKIPPED: "skipped",
}


_FORGOTTEN = ": it was never submitted, or has ended and was not kept. Submit both together, or keep it"


def _name(task: Task) -> str:
    return task.spec.name or f"task {task.spec.id}"
