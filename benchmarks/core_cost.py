"""A process that tells what the scheduling core takes for one task, by how much waits and how many work.

``python -m benchmarks.core_cost PLACEMENT PENDING WORKERS``. Every worker has a task and ``PENDING`` more are
ready; then in each turn two tasks end, two are placed and two are submitted, so that it stays like that.
"""

import sys
import time
from collections import deque
from collections.abc import Iterable

from benchmarks.contestants.work import tell
from mpiexec_runner.app.wiring import make_scheduler
from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.settings import HeartbeatSettings, SchedulerSettings
from mpiexec_runner.model.commands import AnyCommand, RunTasks, WelcomeWorker
from mpiexec_runner.model.events import (
    AnyEvent,
    KindsRegistered,
    RunOpened,
    TasksFinished,
    TasksSubmitted,
    WorkerBeat,
    WorkerJoined,
)
from mpiexec_runner.model.tasks import CallByName, Outcome, TaskKind, TaskSpec, Verdict
from mpiexec_runner.model.workers import WorkerInfo

PARTS = 10
TURNS = 1_000
"""In each part. The cheapest part counts: a busy machine only ever makes them dearer."""
A_TURN = 2
PORTION = 512
TASK_S = 1.0

Held = deque[tuple[int, int, int]]
"""What is at the workers, the oldest first: worker, task and attempt."""


def specs(begin: int, count: int) -> list[TaskSpec]:
    """So many tasks."""
    return [TaskSpec(id_, 1, b"") for id_ in range(begin, begin + count)]


def open_run(scheduler: TaskScheduler, workers: int, held: Held) -> None:
    """All workers are there, and have nothing to do."""
    kind = TaskKind(id=1, name="task", work=CallByName("benchmarks:task"), keep=False)
    scheduler.handle([RunOpened(1, workers), KindsRegistered((kind,))], 0.0)
    for worker in range(1, workers + 1):
        info = WorkerInfo(host=f"node{worker // 64}", pid=worker, slots=1, cores=1)
        for command in scheduler.handle([WorkerJoined(worker, 0, info)], 0.0):
            if isinstance(command, WelcomeWorker):
                took_over(scheduler.handle([WorkerBeat(worker, command.incarnation)], 0.0), held)


def took_over(commands: Iterable[AnyCommand], held: Held) -> None:
    """Note what was sent to whom."""
    for command in commands:
        if isinstance(command, RunTasks):
            for spec, attempt in zip(command.tasks, command.attempts, strict=True):
                held.append((command.worker, spec.id, attempt))


def ended(held: Held, count: int, now: float) -> list[AnyEvent]:
    """The oldest tasks end. All took equally long: who is slow is not what is asked here."""
    events: list[AnyEvent] = []
    for _ in range(min(count, len(held))):
        worker, task, attempt = held.popleft()
        outcome = Outcome(task, attempt, Verdict.SUCCEEDED, now - TASK_S, TASK_S)
        events.append(TasksFinished(worker, [outcome]))
    return events


def measure(placement: str, pending: int, workers: int) -> None:
    """Submit all, go around once for all workers, and then take the time."""
    scheduler = make_scheduler(SchedulerSettings(placement=placement), HeartbeatSettings(timeout_s=1e9))
    held: Held = deque()
    open_run(scheduler, workers, held)
    now, next_id, total = 0.0, 1, pending + workers
    while next_id <= total:
        count = min(PORTION, total + 1 - next_id)
        took_over(scheduler.handle([TasksSubmitted(specs(next_id, count))], now), held)
        next_id += count
    if len(held) != workers:
        raise SystemExit(f"{len(held)} tasks are at {workers} workers")
    step_s = TASK_S * A_TURN / workers
    now += TASK_S
    parts_s = []
    warm_up = max(workers // A_TURN, TURNS)
    for turns in (warm_up, *[TURNS] * PARTS):
        took_s = 0.0
        for _ in range(turns):
            now += step_s
            events = [*ended(held, A_TURN, now), TasksSubmitted(specs(next_id, A_TURN))]
            next_id += A_TURN
            begin = time.process_time()
            commands = scheduler.handle(events, now)
            took_s += time.process_time() - begin
            took_over(commands, held)
        parts_s.append(took_s)
    if len(scheduler.state.ready) != pending or len(held) != workers:
        raise SystemExit(f"{len(scheduler.state.ready)} tasks are ready and {len(held)} at workers")
    tell(us_per_task=min(parts_s[1:]) / (TURNS * A_TURN) * 1e6)


if __name__ == "__main__":
    measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
