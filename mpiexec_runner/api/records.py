"""What a pipeline remembers of its tasks and workflows, and what it tells of them.

Records, and the numbers that follow from them; who waits for what is ``pipeline.py``'s.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from mpiexec_runner.model.tasks import Outcome, TaskState


class TaskStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a task stands.

    ``state`` is ``waiting``, ``ready``, ``assigned``, ``running``, ``succeeded``, ``failed``, ``cancelled``
    or ``skipped``; a short one is not told to run. ``why`` says what became of a task without success.
    ``attempt``, ``started`` (seconds since the epoch) and ``duration_s`` are of the attempt that counts.
    """

    id: str
    state: str
    why: str = ""
    attempt: int = 0
    started: float | None = None
    duration_s: float | None = None

    @property
    def ended(self) -> bool:
        """Whether it is at its end."""
        return self.state in ENDED

    @property
    def succeeded(self) -> bool:
        """Whether it is at its end, and all is well."""
        return self.state == "succeeded"


class WorkflowStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a workflow stands: its tasks by state, and whether there are more to come."""

    id: str
    total: int
    counts: dict[str, int]
    complete: bool

    @property
    def open(self) -> int:
        """How many of its tasks are not at their end."""
        return self.total - sum(self.counts.get(state, 0) for state in ENDED)

    @property
    def ended(self) -> bool:
        """Whether all of its tasks have been submitted and are at their end."""
        return self.complete and not self.open

    @property
    def succeeded(self) -> bool:
        """Whether all of them have, successfully."""
        return self.ended and self.counts.get("succeeded", 0) == self.total


class ExecutionStats(msgspec.Struct, frozen=True, kw_only=True):
    """What was gained by running tasks side by side.

    Parameters
    ----------
    total, completed, failed, cancelled, skipped, running, pending
        Numbers of tasks; ``pending`` ones have not begun, as far as is known.
    total_duration_s, average_duration_s, max_duration_s
        Of the attempts that counted, in seconds.
    wall_clock_s
        From the first submission to the last end, or to now while some are open.
    speedup
        ``total_duration_s / wall_clock_s``.
    efficiency
        The speedup as a share of how many tasks the workers can run at once.
    parallelism
        How many tasks ran at the same time, at most.
    """

    total: int
    completed: int
    failed: int
    cancelled: int
    skipped: int
    running: int
    pending: int
    total_duration_s: float
    average_duration_s: float
    max_duration_s: float
    wall_clock_s: float
    speedup: float
    efficiency: float
    parallelism: int


ENDED = tuple(state.name.lower() for state in TaskState if state.terminal)


class Entry:
    """A task of a pipeline. ``turn`` is the how many-th it was to end; 0 while it is open."""

    __slots__ = (
        "began",
        "callback",
        "dependents",
        "ended",
        "name",
        "outcome",
        "state",
        "task",
        "turn",
        "why",
        "workflow",
    )

    def __init__(self, name: str, task: int, workflow: "Flow | None") -> None:
        self.name, self.task, self.workflow = name, task, workflow
        self.state: TaskState | None = None
        """How it ended; ``None`` while it is open."""
        self.outcome: Outcome | None = None
        self.why = ""
        self.turn = 0
        self.began = self.ended = 0.0
        """When it was submitted, and when it was told to be at its end, on the monotonic clock."""
        self.dependents: list[Entry] = []
        self.callback: Callable[[TaskStatus], object] | None = None


class Flow:
    """A workflow of a pipeline. ``left`` yields the tasks still to be submitted, if there are any."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: list[Entry] = []
        self.open = 0
        self.left: Iterator[Any] | None = None
        self.batch: list[Entry] = []
        self.batch_size = 0
        self.callback: Callable[[list[TaskStatus]], object] | None = None
        self.error: BaseException | None = None
        self.adding = 0
        """How many of its tasks have added others that are not submitted yet."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return not (self.open or self.adding) and self.left is None


def statistics(entries: Iterable[Entry], running: int, wall_clock_s: float, capacity: int) -> ExecutionStats:
    """What was gained; ``capacity`` is how many tasks the workers can run at once."""
    counts = dict.fromkeys(TaskState, 0)
    open_, total = 0, 0
    outcomes: list[Outcome] = []
    for entry in entries:
        total += 1
        if entry.state is None:
            open_ += 1
            continue
        counts[entry.state] += 1
        if entry.outcome is not None and entry.outcome.elapsed_s > 0:
            outcomes.append(entry.outcome)
    durations = [outcome.elapsed_s for outcome in outcomes]
    spent_s = sum(durations)
    speedup = spent_s / wall_clock_s if wall_clock_s > 0 else 0.0
    running = min(running, open_)
    return ExecutionStats(
        total=total,
        completed=counts[TaskState.SUCCEEDED],
        failed=counts[TaskState.FAILED],
        cancelled=counts[TaskState.CANCELLED],
        skipped=counts[TaskState.SKIPPED],
        running=running,
        pending=open_ - running,
        total_duration_s=spent_s,
        average_duration_s=spent_s / len(durations) if durations else 0.0,
        max_duration_s=max(durations, default=0.0),
        wall_clock_s=wall_clock_s,
        speedup=speedup,
        efficiency=speedup / capacity,
        parallelism=_most_at_once(outcomes),
    )


def _most_at_once(outcomes: Iterable[Outcome]) -> int:
    """How many intervals overlap, at most; those that touch do not."""
    marks = [mark for o in outcomes for mark in ((o.started, 1), (o.started + o.elapsed_s, -1))]
    most = now = 0
    for _, change in sorted(marks):
        now += change
        most = max(most, now)
    return most
