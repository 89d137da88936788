"""What travels between hub and workers. Small, typed, many to an envelope (``transport/codec.py``).

A worker never names itself: who sent a message is what the transport says.
"""

import msgspec

from mpiexec_runner.model.tasks import Outcome, Result, TaskKind, TaskSpec
from mpiexec_runner.model.workers import CheckPlan, Load, WorkerInfo


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of all messages."""


# --- worker to hub


class Hello(Message, frozen=True, tag="hello"):
    """I am here. ``incarnation`` is the one I was given last, 0 if none; ``running`` is what I am at."""

    info: WorkerInfo
    incarnation: int = 0
    running: list[tuple[int, int]] = []


class Beat(Message, frozen=True, tag="beat"):
    """I am alive."""

    incarnation: int
    load: Load


class Started(Message, frozen=True, tag="start"):
    """These (task, attempt) began."""

    attempts: list[tuple[int, int]]


class Finished(Message, frozen=True, tag="finish"):
    """These attempts ended. Large buffers of their values follow in the envelope, in order."""

    outcomes: list[Outcome]


class Returned(Message, frozen=True, tag="return"):
    """These (task, attempt) come back unbegun."""

    attempts: list[tuple[int, int]]


class Goodbye(Message, frozen=True, tag="bye"):
    """I leave; ``why`` is empty when I was told to."""

    why: str = ""


# --- hub to worker


class RollCall(Message, frozen=True, tag="call"):
    """I lead this run: say hello.

    Of two hubs the one with the larger ``epoch`` is to be obeyed. Where it is 0, nobody can take this hub's
    place, and the rest is empty.
    """

    epoch: int = 0
    since: int = 0
    """The epoch of the first hub of this job."""
    run_dir: str = ""
    silence_s: float = 0.0
    """A hub that was silent for so many seconds is to be replaced; 0 for never."""


class Pulse(Message, frozen=True, tag="pulse"):
    """I am still here, and lead. Who is ``gone`` need not be waited for, should I be gone, too."""

    epoch: int
    gone: tuple[int, ...] = ()


class Kept(Message, frozen=True, tag="kept"):
    """So many of the ``Finished`` that you sent me are on record for good."""

    count: int


class Welcome(Message, frozen=True, tag="welcome"):
    """You belong to the run under this incarnation. Forget all that you held before; ``keep``: what you have
    not begun."""

    incarnation: int
    run_dir: str
    """Empty when the run keeps no directory."""
    task_dirs: bool
    heartbeat_interval_s: float
    python_path: tuple[str, ...] = ()
    """Directories in which modules are looked for first."""
    setup: bytes = b""
    """A pickled call to make before the first task; empty for none."""
    checks: CheckPlan = CheckPlan()
    """What the worker is to look at in itself."""
    keep: bool = False


class Run(Message, frozen=True, tag="run"):
    """Run these tasks. Kinds that you have not seen come along, and large buffers in the envelope.

    The buffers are first those of the tasks' arguments, then those of ``results``. ``urgent`` ones pass those
    that you hold. A ``group`` names the ranks that run the one task together; the first of them leads.
    What runs ``aside`` does so beside another attempt, and has a directory of its own. Calls of the tasks in
    ``isolate`` are run in a child process, whatever their kind says.
    """

    kinds: tuple[TaskKind, ...]
    tasks: list[TaskSpec]
    attempts: list[int]
    urgent: bool = False
    group: tuple[int, ...] = ()
    results: list[Result] = []
    aside: bool = False
    isolate: list[int] = []


class Retract(Message, frozen=True, tag="retract"):
    """Give back those of these (task, attempt) that you have not begun."""

    attempts: list[tuple[int, int]]


class Cancel(Message, frozen=True, tag="cancel"):
    """End these (task, attempt), begun or not; ``overdue`` ones have failed by taking too long."""

    attempts: list[tuple[int, int]]
    overdue: bool = False


class Stop(Message, frozen=True, tag="stop"):
    """The run is over: end what you do, say goodbye, and wait for what comes next."""


class Leave(Message, frozen=True, tag="leave"):
    """Nothing comes next. ``orderly``: every rank leaves, so MPI can be finalised; else go without it."""

    orderly: bool


AnyMessage = (
    RollCall
    | Pulse
    | Kept
    | Hello
    | Beat
    | Started
    | Finished
    | Returned
    | Goodbye
    | Welcome
    | Run
    | Retract
    | Cancel
    | Stop
    | Leave
)
