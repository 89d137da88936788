"""Tasks and workers as the scheduler remembers them.

Mutable records and nothing else; when they change is decided elsewhere.
"""

import math

import msgspec

from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.model.tasks import Outcome, TaskSpec, TaskState
from mpiexec_runner.model.workers import Load, WorkerInfo, WorkerState

NOBODY = -1


class Violation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Somebody took more than a limit allows.

    ``kind`` is the limit, ``max_cpu_percent`` or ``max_memory`` of a worker, or ``memory`` of a task, whose
    number is ``task`` then. ``value`` is what was found, in percent or bytes, ``at`` when that was told.
    """

    kind: str
    worker: int
    value: float
    limit: float
    at: float
    task: int = 0


class Task(msgspec.Struct, gc=False):
    """A task on its way: a million of them fit in memory, so what is shared lives in its kind.

    ``expected_s`` is what the task adds to its worker's backlog while it is held there. ``ready_at`` and
    ``began`` are times in seconds: when it was last put into the queue, and when it was last told to run.
    """

    spec: TaskSpec
    kind: Kind
    state: TaskState = TaskState.READY
    attempt: int = 0
    worker: int = NOBODY
    retries: int = 0
    crashes: int = 0
    expected_s: float = 0.0
    due: float = 0.0
    cancelling: bool = False
    priority: int = 5
    ready_at: float = 0.0
    began: float = 0.0


class Worker(msgspec.Struct):
    """A worker as the hub sees it. ``tasks`` is in the order in which they were sent.

    ``full`` is that it had no room when it was last looked at, and has said nothing since. ``disabled`` and
    ``throttled`` say why it gets no new work; empty when it does. ``free_*`` is what its tasks have not
    claimed. ``slow_sum`` and ``slow_weight`` are its measured speed, see ``stragglers.py``. ``robbed`` is
    that work was taken back from it for others, and it has ended nothing since: it gets none in advance.
    ``stamp`` orders the workers by when they last got room. ``peak_*`` is the largest that its heartbeats
    told. ``beat_at`` is when the last of them came, ``gaps`` are those between the latest ones, ``seen_at``
    is when its process was last seen to work while it was silent; all in seconds.
    """

    id: int
    info: WorkerInfo
    incarnation: int = 1
    state: WorkerState = WorkerState.JOINING
    heard: float = 0.0
    load: Load = Load()
    tasks: dict[int, Task] = {}
    running: int = 0
    backlog_s: float = 0.0
    retracting: bool = False
    robbed: bool = False
    stamp: int = 0
    full: bool = False
    slowness: float = 1.0
    slow_sum: float = 0.0
    slow_weight: float = 0.0
    disabled: str = ""
    throttled: str = ""
    free_cpus: int = 0
    free_memory: int = 0
    free_gpus: int = 0
    in_gang: bool = False
    reserved_until: float = math.inf
    done: int = 0
    failed: int = 0
    busy_s: float = 0.0
    peak_cpu_percent: float = 0.0
    peak_memory_bytes: int = 0
    beat_at: float = 0.0
    gaps: list[float] = []
    seen_at: float = -math.inf
    called: bool = False
    """By a new hub, and it has not answered: what it said before was meant for the last one."""

    def take_load(self, load: Load) -> None:
        """Take in what a heartbeat told."""
        self.load = load
        self.peak_cpu_percent = max(self.peak_cpu_percent, load.cpu_percent)
        self.peak_memory_bytes = max(self.peak_memory_bytes, load.memory_bytes, load.used_bytes)

    def set_free(self) -> None:
        """Count again what its tasks have not claimed."""
        self.free_cpus, self.free_memory = self.info.cores, self.info.memory_bytes
        self.free_gpus = self.info.gpus
        for task in self.tasks.values():
            self.claim(task.kind, 1)
        self.in_gang = any(task.kind.is_gang for task in self.tasks.values())

    def claim(self, kind: Kind, count: int) -> None:
        """Take what ``count`` tasks of a kind claim; a negative count gives it back."""
        needs = kind.spec.needs
        self.free_cpus -= needs.cpus * count
        self.free_memory -= needs.memory_bytes * count
        self.free_gpus -= needs.gpus * count

    @property
    def takes_work(self) -> bool:
        """Whether it may get new tasks."""
        return self.state is WorkerState.ALIVE and not self.disabled and not self.throttled

    @property
    def slots(self) -> int:
        """How many tasks it runs at once."""
        return self.info.slots

    @property
    def held(self) -> int:
        """How many tasks it holds."""
        return len(self.tasks)

    @property
    def host(self) -> str:
        """The name of its host."""
        return self.info.host

    @property
    def cores(self) -> int:
        """How many cores its tasks share."""
        return self.info.cores

    @property
    def memory_bytes(self) -> int:
        """How much memory its tasks share."""
        return self.info.memory_bytes

    @property
    def gpus(self) -> int:
        """How many devices its tasks share."""
        return self.info.gpus

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""
        return self.info.tags


class Twin(msgspec.Struct):
    """A second attempt of a task, beside the one that the task itself tells of, which has the number before.

    ``worker`` is ``NOBODY`` when there was one: it is not tried again beside the same attempt.
    """

    worker: int
    attempt: int
    began: float


class Gang(msgspec.Struct):
    """The workers that run one attempt together, in their order, and what was heard of them.

    ``left`` have not told how it ended for them; ``led`` is what the first of them told. When one has failed,
    ``failed_on``, the others have time until ``due``, in seconds.
    """

    workers: tuple[int, ...]
    attempt: int
    left: list[int]
    led: Outcome | None = None
    failed: Outcome | None = None
    failed_on: int = NOBODY
    due: float = math.inf


class Host(msgspec.Struct):
    """How tasks fare on a host; or on one worker of it, or those of one site. See ``hosts.py``.

    ``row`` tasks have failed there since the last one succeeded, and the run had ``since`` successes then.
    ``recent`` is how many of its latest tasks ended, and ``bad`` how many of these failed: older ones count
    less. Since the first that failed, ``seen`` ended and ``failed`` of these did so badly; ``before`` that,
    so many had succeeded and failed in the whole run. ``probe_at`` is when it gets a task again if it is
    excluded, ``pause_s`` how long it was excluded for.
    """

    row: int = 0
    probe_at: float = math.inf
    pause_s: float = 0.0
    probing: bool = False
    since: int = 0
    bad: float = 0.0
    recent: float = 0.0
    seen: int = 0
    failed: int = 0
    before: tuple[int, int] = (0, 0)
