"""Everything the scheduler can ask for. Imperative; frozen. ``runtime/interpreter.py`` carries them out."""

import enum

import msgspec

from mpiexec_runner.model.tasks import Outcome, Result, TaskSpec, TaskState


class Command(msgspec.Struct, frozen=True, gc=False):
    """Base of all commands."""


class WelcomeWorker(Command, frozen=True):
    """Tell a worker that it belongs to the run, and its incarnation number; what it held is void.

    ``keep``: not what it runs.
    """

    worker: int
    incarnation: int
    keep: bool = False


class RunTasks(Command, frozen=True):
    """Send tasks to a worker; ``attempts[i]`` is the number of the attempt of ``tasks[i]``.

    ``urgent`` ones pass those that the worker holds already. ``results`` are those that the tasks use.
    What runs ``aside`` does so beside another attempt of the same task. Calls among ``isolate`` may have
    killed a rank, and are to run where they harm nothing else.
    """

    worker: int
    tasks: list[TaskSpec]
    attempts: list[int]
    urgent: bool = False
    results: list[Result] = []
    aside: bool = False
    isolate: list[int] = []


class RunGroup(Command, frozen=True):
    """Let these workers run one attempt of a task together; the first of them leads."""

    workers: tuple[int, ...]
    task: TaskSpec
    attempt: int
    results: list[Result] = []


class RetractTasks(Command, frozen=True):
    """Ask a worker to give back those (task, attempt) that it has not begun."""

    worker: int
    attempts: list[tuple[int, int]]


class CancelAttempts(Command, frozen=True):
    """Tell a worker to end these (task, attempt), begun or not.

    ``overdue``: because they took too long, which is a failure; else because nobody wants them any more.
    """

    worker: int
    attempts: list[tuple[int, int]]
    overdue: bool = False


class SettleTasks(Command, frozen=True):
    """Tell whoever waits that these tasks are at their end, with the outcome that counts."""

    outcomes: list[Outcome]


class SettleWithout(Command, frozen=True):
    """Tell whoever waits that a task is at its end without an attempt that counts, and why."""

    task: int
    state: TaskState
    why: str


class NoteWorker(Command, frozen=True):
    """Say in the log what became of a worker."""

    worker: int
    what: str


class RunEnd(enum.StrEnum):
    """How a run ended."""

    COMPLETE = "complete"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"
    STARVED = "starved"


class EndRun(Command, frozen=True):
    """The run is over: write the record, leave. ``why`` explains any end but a complete one."""

    end: RunEnd
    why: str = ""


AnyCommand = (
    WelcomeWorker
    | RunTasks
    | RunGroup
    | RetractTasks
    | CancelAttempts
    | SettleTasks
    | SettleWithout
    | NoteWorker
    | EndRun
)
