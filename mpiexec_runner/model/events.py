"""Everything that can happen to a run. Past tense; frozen; also the journal's vocabulary.

An event says what happened, never what to do about it: that is ``core/scheduler.py``. Tags are short
and must never be given a new meaning, since journals are read by later versions.
"""

import enum

import msgspec

from mpiexec_runner.model.tasks import Outcome, TaskKind, TaskSpec
from mpiexec_runner.model.workers import Load, WorkerInfo


class StopReason(enum.StrEnum):
    """Why a run was told to stop before its work was done."""

    INTERRUPTED = "interrupted"
    SIGNAL = "signal"
    WALLTIME = "walltime"
    STORAGE = "storage"
    REQUEST = "request"

    @property
    def words(self) -> str:
        """What stopped it, as people say it."""
        return _STOPPED_BY[self]


_STOPPED_BY = {
    StopReason.INTERRUPTED: "Ctrl-C",
    StopReason.SIGNAL: "a signal",
    StopReason.WALLTIME: "the end of the walltime",
    StopReason.STORAGE: "the storage, which takes no more",
    StopReason.REQUEST: "a request",
}
BY_HAND = (StopReason.INTERRUPTED, StopReason.REQUEST)
"""Somebody stopped it who knows of it, and will resume it: no batch system has to."""


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of all events."""


class RunOpened(Event, frozen=True, tag="open"):
    """A life of the run began (the first, or a resume): nobody from an earlier life is left.

    ``workers`` is how many are expected to join; 0 when nobody knows.
    """

    epoch: int
    workers: int = 0


class HubReplaced(Event, frozen=True, tag="hub"):
    """Another hub leads this life from now on, under a new epoch; the workers are there and go on.

    ``workers`` is how many of them are expected to say hello again.
    """

    epoch: int
    workers: int


class KindsRegistered(Event, frozen=True, tag="kinds"):
    """Kinds that tasks may now refer to."""

    kinds: tuple[TaskKind, ...]


class TasksSubmitted(Event, frozen=True, tag="submit"):
    """New tasks. Ids grow and are never used twice."""

    tasks: list[TaskSpec]


class SubmissionsClosed(Event, frozen=True, tag="close"):
    """No more tasks will come: the run ends when those that it has are at their end."""


class CancelRequested(Event, frozen=True, tag="cancel"):
    """Somebody wants these tasks cancelled; ``None`` means all that are not at their end.

    With a ``label``, only those among them that have it.
    """

    tasks: tuple[int, ...] | None = None
    label: str = ""


class DrainRequested(Event, frozen=True, tag="drain"):
    """Take nothing new, finish what runs (or, with ``abandon``, end it), then stop; resumable."""

    reason: StopReason
    abandon: bool = False


class PauseRequested(Event, frozen=True, tag="pause"):
    """Begin nothing new until told otherwise, or (``paused`` false) go on."""

    paused: bool


class PriorityRequested(Event, frozen=True, tag="priority"):
    """These tasks are now as urgent as that: 1 to 10."""

    tasks: tuple[int, ...]
    priority: int


class RetryRequested(Event, frozen=True, tag="retry"):
    """Tasks that failed, were cancelled or skipped are to be tried once more; ``None`` means all of them."""

    tasks: tuple[int, ...] | None = None


class MoveRequested(Event, frozen=True, tag="move"):
    """A task is to run on this worker, if it has not begun elsewhere."""

    task: int
    worker: int


class RebalanceRequested(Event, frozen=True, tag="rebalance"):
    """All that has not begun comes back to the hub and is placed anew."""


class WorkerSwitched(Event, frozen=True, tag="switch"):
    """A worker is disabled (it finishes what it has and gets nothing new), or enabled again.

    ``by_hand``: somebody asked for it, and ``why`` is what they said; else that is the whole reason.
    """

    worker: int
    enabled: bool
    why: str = ""
    by_hand: bool = True


class WorkerJoined(Event, frozen=True, tag="join"):
    """A worker said hello; ``incarnation`` 0 is one that has not been welcomed yet.

    ``running`` are the (task, attempt) that it is at, from before a hub was replaced.
    """

    worker: int
    incarnation: int
    info: WorkerInfo
    running: list[tuple[int, int]] = []


class WorkerBeat(Event, frozen=True, tag="beat"):
    """A heartbeat."""

    worker: int
    incarnation: int
    load: Load = Load()


class WorkersSeenWorking(Event, frozen=True, tag="seen"):
    """The operating system shows that the processes of these silent workers use their processors."""

    workers: tuple[int, ...]


class WorkerLeft(Event, frozen=True, tag="left"):
    """A worker said goodbye or was found dead; ``why`` is empty when it went in order."""

    worker: int
    why: str = ""


class TasksStarted(Event, frozen=True, tag="start"):
    """Attempts began. Told for those that last; a short one is only told finished."""

    worker: int
    attempts: list[tuple[int, int]]


class TasksFinished(Event, frozen=True, tag="finish"):
    """Attempts ended, well or not."""

    worker: int
    outcomes: list[Outcome]


class TasksReturned(Event, frozen=True, tag="return"):
    """A worker gave back tasks that it had not begun, as (task, attempt)."""

    worker: int
    attempts: list[tuple[int, int]]


class Tick(Event, frozen=True, tag="tick"):
    """Time passed: the deadline that the scheduler asked for is reached."""


AnyEvent = (
    RunOpened
    | HubReplaced
    | KindsRegistered
    | TasksSubmitted
    | SubmissionsClosed
    | CancelRequested
    | DrainRequested
    | PauseRequested
    | PriorityRequested
    | RetryRequested
    | MoveRequested
    | RebalanceRequested
    | WorkerSwitched
    | WorkerJoined
    | WorkerBeat
    | WorkersSeenWorking
    | WorkerLeft
    | TasksStarted
    | TasksFinished
    | TasksReturned
    | Tick
)
