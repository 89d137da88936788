"""The ready queue: which task is next, for each sort of requirement.

Tasks wait in *lanes*: one kind, one priority, about the same length of what depends on them; first come,
first served within a lane. Lanes are ordered by when their first task should have begun: the time at which
it became ready, less ``ageing_s`` for each priority, less up to one more priority for the longest chain of
tasks behind it. So a priority is worth a time of waiting, and nothing waits for ever.

It knows nothing of workers.
"""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.core.tasks import NOBODY, Task
from mpiexec_runner.model.tasks import Needs, TaskState

URGENT = 10
"""Tasks of this priority go before all others, and pass what workers hold already."""
URGENT_LEVELS = 1000
"""How many priorities the urgent one counts."""
PATH_STEPS = 16
FEW_LINES = 64
"""Up to so many lines none is dropped, empty or not."""

Place = tuple[float, int]
"""When a task should have begun, and its id: the order of tasks."""
LAST: Place = (math.inf, 0)


class Requirement(NamedTuple):
    """What a task asks of the machines: tasks that ask the same are placed or wait together."""

    needs: Needs
    labels: tuple[str, ...]
    gang: bool
    avoid: tuple[int, ...] = ()
    """Workers on which it failed: others are tried first."""
    only: int = NOBODY
    """The worker that somebody moved it to."""

    @property
    def anywhere(self) -> "Requirement":
        """The same, without where it may go."""
        return Requirement(self.needs, self.labels, self.gang)


def requirement_of(kind: Kind) -> Requirement:
    """What tasks of a kind ask of the machines, without where one has failed."""
    return Requirement(kind.spec.needs, kind.spec.labels, kind.is_gang)


class Lane:
    """Ready tasks of one kind, priority and path; ``key`` is that of its entry in the heap."""

    __slots__ = ("bias_s", "key", "kind", "priority", "tasks")

    def __init__(self, kind: Kind, priority: int, bias_s: float) -> None:
        self.kind, self.priority, self.bias_s = kind, priority, bias_s
        self.tasks: deque[Task] = deque()
        self.key: tuple[float, int] | None = None

    def head(self) -> Task | None:
        """The first task; entries that have ceased to be ready are dropped on the way."""
        tasks, ready = self.tasks, TaskState.READY
        while tasks:
            if tasks[0].state is ready:
                return tasks[0]
            tasks.popleft()
        return None


class Line:
    """All lanes of one requirement.

    ``parked``: no worker had room for it when all were looked at; those that change are looked at since.
    ``limited``: a limit of the run or of a label was reached, and no worker was looked at.
    ``possible``: somebody could run such tasks, as far as is known.
    """

    def __init__(self, requirement: Requirement) -> None:
        self.requirement = requirement
        self.parked = self.limited = self.possible = False
        self._heap: list[tuple[float, int, int, Lane]] = []
        self._order = itertools.count()

    def touch(self, lane: Lane) -> None:
        """Tell that a lane may have a new first task."""
        head = lane.head()
        if head is None:
            lane.key = None
            return
        key = (head.ready_at - lane.bias_s, head.spec.id)
        if key != lane.key:
            lane.key = key
            heapq.heappush(self._heap, (*key, next(self._order), lane))

    def second(self) -> Place:
        """The place of the first task of the lane that comes after the first one."""
        heap = self._heap
        first = heapq.heappop(heap)
        first[-1].key = None
        head = self.head()
        return head[:2] if head is not None else LAST

    def goes_beyond(self, lane: Lane, number: int, before: Place) -> bool:
        """Whether more than so many tasks of its first lane would be taken at once, as far as is seen."""
        tasks = lane.tasks
        if len(tasks) <= number:
            return False
        first, task = tasks[0], tasks[number]
        before = min(before, self.second())
        self.touch(lane)
        return first.spec.site == task.spec.site and (task.ready_at - lane.bias_s, task.spec.id) <= before

    def head(self) -> tuple[float, int, Lane] | None:
        """The lane whose first task is next, and that task's place: a time and its id."""
        heap = self._heap
        while heap:
            due, id_, _, lane = heap[0]
            if lane.key == (due, id_):
                head = lane.head()
                if head is not None and head.spec.id == id_:
                    return due, id_, lane
                lane.key = None
                heapq.heappop(heap)
                self.touch(lane)
            else:
                heapq.heappop(heap)
        return None


class ReadyQueue:
    """Ready tasks, those of one requirement in one line."""

    def __init__(self, ageing_s: float = 300.0) -> None:
        self._ageing_s = ageing_s
        self._lanes: dict[tuple[int, int, int, tuple[int, ...], int], tuple[Line, Lane]] = {}
        self.lines: dict[Requirement, Line] = {}
        self._live, self._most_lines = 0, FEW_LINES

    def __len__(self) -> int:
        return self._live

    def __iter__(self) -> Iterator[Task]:
        """All tasks, in the order of their lanes."""
        heads = [(head.ready_at - lane.bias_s, head.spec.id, lane) for lane, head in self._heads()]
        for _, _, lane in sorted(heads, key=lambda entry: entry[:2]):
            yield from (task for task in lane.tasks if task.state is TaskState.READY)

    def _heads(self) -> Iterator[tuple[Lane, Task]]:
        for _, lane in self._lanes.values():
            head = lane.head()
            if head is not None:
                yield lane, head

    def push(
        self,
        task: Task,
        *,
        front: bool = False,
        path: float = 0.0,
        avoid: tuple[int, ...] = (),
        only: int = NOBODY,
    ) -> None:
        """Add a task; ``front`` puts it before its equals (it has waited before).

        ``path`` is how long the chain of tasks behind it is, as a share of the longest one in the run;
        ``avoid`` and ``only`` are as in :class:`Requirement`.
        """
        line, lane = self._lane(task.kind, task.priority, path, avoid, only)
        if front:
            head = lane.head()
            if head is not None and head.ready_at < task.ready_at:
                task.ready_at = head.ready_at
            lane.tasks.appendleft(task)
        else:
            lane.tasks.append(task)
        line.parked = False
        self._live += 1
        if front or lane.key is None:
            line.touch(lane)

    def extend(self, tasks: list[Task]) -> None:
        """Add many tasks that nothing depends on."""
        kind: Kind | None = None
        priority = 0
        for task in tasks:
            if task.kind is not kind or task.priority != priority:
                kind, priority = task.kind, task.priority
                line, lane = self._lane(kind, priority, 0.0)
                line.parked = False
                append = lane.tasks.append
            append(task)
            if lane.key is None:
                line.touch(lane)
        self._live += len(tasks)

    def clear(self, ageing_s: float) -> None:
        """Begin again with no tasks: all are to be pushed anew."""
        self.__init__(ageing_s)  # type: ignore[misc]

    def discard(self) -> None:
        """Count one task out that has ceased to be ready; its entry is passed over when it comes up."""
        self._live -= 1

    def take(self, line: Line, lane: Lane, limit: int, before: Place = LAST) -> list[Task]:
        """Remove up to ``limit`` tasks from the head of the line's first lane.

        All of one site, and none that has to stand back behind the head of another lane or ``before``.
        """
        tasks, ready = lane.tasks, TaskState.READY
        taken: list[Task] = []
        site = ""
        before, bias_s = min(before, line.second()), lane.bias_s
        while tasks and len(taken) < limit:
            task = tasks[0]
            if task.state is ready:
                if not taken:
                    site = task.spec.site
                elif task.spec.site != site or (task.ready_at - bias_s, task.spec.id) > before:
                    break
                taken.append(task)
            tasks.popleft()
        self._live -= len(taken)
        line.touch(lane)
        return taken

    def give_back(self, line: Line, lane: Lane, tasks: list[Task]) -> None:
        """Put tasks back to where they were taken from."""
        lane.tasks.extendleft(reversed(tasks))
        self._live += len(tasks)
        line.touch(lane)

    def ahead_of(self, task: Task) -> list[tuple[Needs, Task]]:
        """The ready tasks whose turn comes before that of ``task``, with what each needs. Not quick."""
        own = (math.inf, 0, 0)
        turns: list[tuple[tuple[float, int, int], Needs, Task]] = []
        for line, lane in self._lanes.values():
            due: Place = (-math.inf, 0)
            for step, other in enumerate(lane.tasks):
                if other.state is not TaskState.READY:
                    continue
                due = max(due, (other.ready_at - lane.bias_s, other.spec.id))  # none passes within a lane
                if other is task:
                    own = (*due, step)
                turns.append(((*due, step), line.requirement.needs, other))
        return [(needs, other) for turn, needs, other in turns if turn < own]

    def unpark(self) -> None:
        """Look at all workers again for every line."""
        for line in self.lines.values():
            line.parked = False

    def doubt(self) -> None:
        """Ask again for every line whether anybody could run its tasks."""
        for line in self.lines.values():
            line.possible = False

    def _lane(
        self, kind: Kind, priority: int, path: float, avoid: tuple[int, ...] = (), only: int = NOBODY
    ) -> tuple[Line, Lane]:
        step = int(path * (PATH_STEPS - 1)) if path else 0
        key = (kind.spec.id, priority, step, avoid, only)
        found = self._lanes.get(key)
        if found is None:
            spec = kind.spec
            requirement = Requirement(spec.needs, spec.labels, kind.is_gang, avoid, only)
            line = self.lines.get(requirement)
            if line is None:
                self._drop_empty()
                line = self.lines[requirement] = Line(requirement)
            levels = URGENT_LEVELS if priority >= URGENT else priority
            lane = Lane(kind, priority, (levels + step / PATH_STEPS) * self._ageing_s)
            found = self._lanes[key] = (line, lane)
        return found

    def _drop_empty(self) -> None:
        """Forget lines without tasks: those of tasks that failed here or there come and go."""
        if len(self.lines) < self._most_lines:
            return
        self.lines = {requirement: line for requirement, line in self.lines.items() if line.head()}
        self._lanes = {key: found for key, found in self._lanes.items() if found[0].requirement in self.lines}
        self._most_lines = max(FEW_LINES, 2 * len(self.lines))
