"""What the scheduler remembers of a run, and the counts that follow from it.

Book-keeping only; when anything changes is decided in ``scheduler.py`` and its helpers.
"""

import heapq
import math
from collections.abc import Iterator

import msgspec

from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.core.limits import Usage
from mpiexec_runner.core.queue import ReadyQueue
from mpiexec_runner.core.settings import LimitSettings
from mpiexec_runner.core.tasks import NOBODY, Gang, Host, Task, Twin, Violation, Worker
from mpiexec_runner.core.transitions import TASK_MOVES, WORKER_MOVES
from mpiexec_runner.errors import InvariantBroken
from mpiexec_runner.model.events import DrainRequested
from mpiexec_runner.model.tasks import Result, TaskState
from mpiexec_runner.model.workers import WorkerState

# A million tasks move several times each: a look-up in lists costs a third of one in the table itself.
_TASK_MAY = [[(before, after) in TASK_MOVES for after in TaskState] for before in TaskState]


class Tally(msgspec.Struct):
    """What is counted over the whole run, for people: none of it decides anything.

    But ``failures``, of attempts: what fails on one host is compared with what fails on others.
    """

    attempts: int = 0
    retries: int = 0
    stolen: int = 0
    speculated: int = 0
    speculations_won: int = 0
    waited_s: float = 0.0
    throttled: int = 0
    excluded: int = 0
    failures: int = 0


class Facts(msgspec.Struct):
    """The part of a run's state that is plain data and goes into a snapshot as it is.

    ``check_at``, ``abandon_at``, ``alone_since``, ``speculate_at``, ``stuck_since`` and ``overdue_at`` are
    times in seconds: of the next look at who is silent, of leaving without what was told to end, since when
    no worker is there, of the next look for stragglers, since when what is left fits no worker, and when an
    attempt may be over its relative time-out; ``stirred`` is when a
    task was last placed or ended. ``whys`` says how tasks ended without an attempt that counts. ``paths`` is
    the expected time of the longest chain behind a task in seconds; under 0, that of the longest in the run.
    They were measured at ``paths_at``, and ``paths_due`` tasks that depend on others came since. ``stamps``
    counts how often a worker got room. ``degraded`` is how many workers that are there told of a problem.
    ``suspects`` are tasks over which a worker may have been lost. ``violations`` decide nothing; they are for
    people.
    """

    epoch: int = 0
    now: float = 0.0
    next_task: int = 1
    closed: bool = False
    superseded: int = 0
    placed: int = 0
    lost_workers: int = 0
    drain: DrainRequested | None = None
    abandon_at: float = math.inf
    alone_since: float = 0.0
    stirred: float = 0.0
    check_at: float = math.inf
    ended: bool = False
    paused: bool = False
    expected_workers: int = 0
    speculate_at: float = math.inf
    stuck_since: float = math.inf
    reserved_for: int = 0
    degraded: int = 0
    counts: list[int] = msgspec.field(default_factory=lambda: [0] * len(TaskState))
    twins: dict[int, Twin] = {}
    gangs: dict[int, Gang] = {}
    avoided: dict[int, list[int]] = {}
    pinned: dict[int, int] = {}
    results: dict[int, Result] = {}
    sites: dict[str, int] = {}
    hosts: dict[str, Host] = {}
    derived: dict[str, int] = {}
    whys: dict[int, tuple[TaskState, str]] = {}
    paths: dict[int, float] = {}
    paths_due: int = 0
    paths_at: float = -math.inf
    stamps: int = 0
    suspects: set[int] = set()
    tally: Tally = msgspec.field(default_factory=Tally)
    overdue_at: float = math.inf
    violations: list[Violation] = []


class RunState(Facts):
    """All that a run is at one moment: what goes on from here depends on nothing else.

    ``blockers`` counts, for a task that waits for others, how many of them are not at their end.
    ``dependents`` names those that depend on a task, as long as any of them may still need it: ``awaited`` of
    them, which are on record and have not succeeded. All three follow from the tasks.
    """

    kinds: dict[int, Kind] = {}
    tasks: dict[int, Task] = {}
    workers: dict[int, Worker] = {}
    ready: ReadyQueue = msgspec.field(default_factory=ReadyQueue)
    timers: list[tuple[float, int]] = []
    blockers: dict[int, int] = {}
    dependents: dict[int, list[int]] = {}
    awaited: dict[int, int] = {}
    usage: Usage | None = None

    @property
    def unfinished(self) -> int:
        """Tasks that are not at their end."""
        counts = self.counts
        return (
            counts[TaskState.WAITING]
            + counts[TaskState.READY]
            + counts[TaskState.ASSIGNED]
            + counts[TaskState.RUNNING]
        )

    def move(self, task: Task, state: TaskState) -> None:
        """Bring a task into ``state``, or raise ``InvariantBroken`` when that move is not in the table."""
        if not _TASK_MAY[task.state][state]:
            raise InvariantBroken(f"task {task.spec.id} cannot go from {task.state.name} to {state.name}")
        self.counts[task.state] -= 1
        self.counts[state] += 1
        if task.state is TaskState.READY:
            self.ready.discard()
        task.state = state
        if state >= TaskState.SUCCEEDED and (
            self.avoided or self.pinned or self.suspects or not task.kind.spec.keep
        ):
            self._clear_up(task)

    def _clear_up(self, task: Task) -> None:
        """Forget of a task at its end what nobody needs; one with edges is left to the graph."""
        id_, spec = task.spec.id, task.spec
        self.avoided.pop(id_, None)
        self.pinned.pop(id_, None)
        self.suspects.discard(id_)
        if not (task.kind.spec.keep or spec.after or id_ in self.awaited):
            del self.tasks[id_]

    def move_worker(self, worker: Worker, state: WorkerState) -> None:
        """Bring a worker into ``state``, or raise ``InvariantBroken``."""
        if (worker.state, state) not in WORKER_MOVES:
            raise InvariantBroken(f"worker {worker.id} cannot go from {worker.state.name} to {state.name}")
        worker.state = state

    def make_ready(self, task: Task, *, front: bool = False) -> None:
        """Put a task (back) into the ready queue."""
        self.move(task, TaskState.READY)
        if not front or not task.ready_at:
            task.ready_at = self.now
        self.enqueue(task, front=front)

    def enqueue(self, task: Task, *, front: bool = False) -> None:
        """Put a task that is ready into the queue, with all that is known of where it may go."""
        id_ = task.spec.id
        avoid = tuple(self.avoided.get(id_, ())) if self.avoided else ()
        only = self.pinned.get(id_, NOBODY) if self.pinned else NOBODY
        path = self.path_share(task) if self.paths else 0.0
        self.ready.push(task, front=front, path=path, avoid=avoid, only=only)

    def requeue_all(self, ageing_s: float) -> None:
        """Make the queue anew: priorities, kinds or settings have changed."""
        # A task that was cancelled in the queue and is ready again has two entries.
        tasks = {task.spec.id: task for task in self.ready}.values()
        self.ready.clear(ageing_s)
        for task in tasks:
            self.enqueue(task)

    def path_share(self, task: Task) -> float:
        """How long the chain of tasks behind a task is, as a share of the longest in the run."""
        paths = self.paths
        return min(1.0, paths.get(task.spec.id, 0.0) / paths[0]) if paths else 0.0

    def postpone(self, task: Task, due: float) -> None:
        """Let a task wait until ``due``."""
        self.move(task, TaskState.WAITING)
        task.due = due
        heapq.heappush(self.timers, (due, task.spec.id))

    def due_tasks(self, now: float) -> Iterator[Task]:
        """Take the tasks whose waiting is over."""
        while self.timers and self.timers[0][0] <= now:
            due, id_ = heapq.heappop(self.timers)
            task = self.tasks.get(id_)
            if task is not None and task.state is TaskState.WAITING and task.due == due:
                yield task

    # --- who holds what

    def count_usage(self, limits: LimitSettings) -> None:
        """Count what is held against the limits, where there are any."""
        self.usage = Usage(limits) if Usage.is_needed(limits) else None
        if self.usage is None:
            return
        for worker in self.workers.values():
            for task in worker.tasks.values():
                gang = self.gangs.get(task.spec.id)
                follows = gang is not None and gang.workers[0] != worker.id
                self.usage.book(worker, task.kind, 1, follows=follows)

    def give(self, worker: Worker, kind: Kind, tasks: list[Task]) -> None:
        """Book ready tasks of one kind, already out of the queue, on a worker."""
        count = len(tasks)
        self.counts[TaskState.READY] -= count
        self.counts[TaskState.ASSIGNED] += count
        self.placed += count
        self.stirred = self.now
        self.tally.attempts += count
        held, id_, assigned, now = worker.tasks, worker.id, TaskState.ASSIGNED, self.now
        expected_s = kind.expected_s
        worker.backlog_s += expected_s * count
        self._book(worker, kind, count)
        waited_s = 0.0
        for task in tasks:
            task.state = assigned
            task.attempt += 1
            task.worker = id_
            task.expected_s = expected_s
            waited_s += now - task.ready_at
            held[task.spec.id] = task
        self.tally.waited_s += waited_s

    def give_gang(self, workers: list[Worker], task: Task) -> None:
        """Book a ready task, already out of the queue, on several workers at once."""
        first, *others = workers
        self.give(first, task.kind, [task])
        for worker in others:
            self._add(worker, task, follows=True)
        ids = [worker.id for worker in workers]
        self.gangs[task.spec.id] = Gang(tuple(ids), task.attempt, ids)
        for worker in workers:
            worker.in_gang = True

    def give_twin(self, worker: Worker, task: Task) -> int:
        """Book a second attempt of a running task on a worker; the number of that attempt."""
        task.attempt += 1
        self.twins[task.spec.id] = Twin(worker.id, task.attempt, self.now)
        self._add(worker, task)
        self.tally.attempts += 1
        self.tally.speculated += 1
        return task.attempt

    def _add(self, worker: Worker, task: Task, *, follows: bool = False) -> None:
        worker.tasks[task.spec.id] = task
        worker.backlog_s += task.expected_s
        self._book(worker, task.kind, 1, follows=follows)

    def _book(self, worker: Worker, kind: Kind, count: int, *, follows: bool = False) -> None:
        """Count what tasks take of their worker and of the limits; a gang counts where its first rank is."""
        if kind.claims:
            worker.claim(kind, count)
        if self.usage is not None:
            self.usage.book(worker, kind, count, follows=follows)

    def release(self, worker: Worker, task: Task) -> None:
        """Take a task off one worker's books; its state, and who else holds it, is the caller's to settle."""
        del worker.tasks[task.spec.id]
        if task.worker == worker.id:
            task.worker = NOBODY
            if task.state is TaskState.RUNNING:
                worker.running -= 1
        if self.usage is not None or task.kind.claims:
            gang = self.gangs.get(task.spec.id)
            self._book(worker, task.kind, -1, follows=gang is not None and gang.workers[0] != worker.id)
        worker.in_gang = False
        # The sum of many floats drifts; an empty worker has no backlog.
        worker.backlog_s = worker.backlog_s - task.expected_s if worker.tasks else 0.0

    def holders(self, task: Task) -> list[tuple[Worker, int]]:
        """Every worker that holds an attempt of a task, with the number of that attempt."""
        id_ = task.spec.id
        gang = self.gangs.get(id_)
        if gang is not None:
            return [(self.workers[worker], gang.attempt) for worker in gang.left]
        found = [(self.workers[task.worker], self.attempt_of(task))] if task.worker != NOBODY else []
        twin = self.twins.get(id_)
        if twin is not None and twin.worker != NOBODY:
            found.append((self.workers[twin.worker], twin.attempt))
        return found

    def attempt_of(self, task: Task) -> int:
        """The number of the attempt that ``task.worker`` runs: a twin took the next one."""
        twin = self.twins.get(task.spec.id)
        return task.attempt if twin is None else twin.attempt - 1

    def attempt_on(self, task: Task, worker: Worker) -> int:
        """The number of the attempt that a worker holds; ``NOBODY`` when it holds none."""
        id_ = task.spec.id
        if id_ not in worker.tasks:
            return NOBODY
        twin = self.twins.get(id_) if self.twins else None
        if twin is None:
            return task.attempt
        return twin.attempt if twin.worker == worker.id else twin.attempt - 1
