"""What a virtual worker holds: tasks in line, and what its slots do. Book-keeping; ``cluster.py`` moves it.

It mirrors ``runtime/worker.py`` as far as a hub can tell the difference.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

from mpiexec_runner.model.events import WorkerBeat
from mpiexec_runner.model.tasks import Failure, TaskSpec, Verdict
from mpiexec_runner.model.workers import WorkerInfo

OVER = -1.0
"""The end of a burst that is done with."""
Key = tuple[int, int]
"""A task and the number of an attempt."""


class Attempt:
    """One attempt: how long it takes, and how it will end."""

    __slots__ = ("failure", "lasts_s", "number", "spec")

    def __init__(self, spec: TaskSpec, number: int, lasts_s: float, failure: Failure | None) -> None:
        self.spec, self.number, self.lasts_s, self.failure = spec, number, lasts_s, failure


class Group:
    """An attempt that several workers make together.

    ``waiting`` are members that have not reached it; ``stalled`` counts those that hold up the others.
    """

    __slots__ = ("bursts", "stalled", "waiting")

    def __init__(self, workers: tuple[int, ...]) -> None:
        self.waiting = set(workers)
        self.bursts: list[Burst] = []
        self.stalled = 0

    @property
    def advances(self) -> bool:
        """Whether all are there and none holds up the others."""
        return not self.waiting and not self.stalled


class Burst:
    """What a slot does at a stretch: one attempt, or several short ones that are reported together.

    ``end`` is infinite while it does not advance, and ``OVER`` after its end; ``left_s`` is what is left of
    one that does not advance. ``told``: the hub knows that it began.
    """

    __slots__ = ("attempts", "begun", "end", "group", "left_s", "told", "worker")

    def __init__(self, worker: "VirtualWorker", attempts: list[Attempt], begun: float, end: float) -> None:
        self.worker, self.attempts, self.begun, self.end = worker, attempts, begun, end
        self.left_s = 0.0
        self.told = False
        self.group: Group | None = None

    @property
    def key(self) -> Key:
        """Its attempt; of several, the first."""
        return self.attempts[0].spec.id, self.attempts[0].number

    def halt(self, now: float) -> None:
        """Let it not advance, unless it does not or is over."""
        if self.end != OVER and self.end != math.inf:
            self.left_s, self.end = self.end - now, math.inf


class VirtualWorker:
    """A worker: what it is, what it holds, and how it fares.

    Attributes
    ----------
    slowness
        How many times longer tasks take on it, always; ``strained`` comes on top for a while.
    line
        What has not begun. A task of a group is in line with the group.
    frozen, inbox
        While it hangs; what it will do when it goes on.
    said
        When it last said anything, in seconds.
    busy_s, useful_s
        Seconds its slots worked, and of them for attempts that succeeded.
    """

    __slots__ = (
        "beat", "bursts", "busy_s", "dead", "free", "frozen", "id", "inbox", "incarnation", "info", "line",
        "said", "slowness", "strained", "useful_s",
    )  # fmt: skip

    def __init__(self, id_: int, info: WorkerInfo, slowness: float) -> None:
        self.id, self.info, self.slowness = id_, info, slowness
        self.strained = 1.0
        self.free = info.slots
        self.line: deque[tuple[TaskSpec, int, Group | None]] = deque()
        self.bursts: dict[Burst, None] = {}
        self.inbox: list[Callable[[float], None]] = []
        self.frozen = self.dead = False
        self.incarnation = 0
        self.beat = WorkerBeat(id_, 0)
        self.said = 0.0
        self.busy_s = self.useful_s = 0.0

    def remove(self, keys: list[Key]) -> list[Key]:
        """Take those of ``keys`` out that are in line; they are returned, in order of the line."""
        wanted = set(keys)
        found = [key for spec, number, _ in self.line if (key := (spec.id, number)) in wanted]
        if found:
            gone = set(found)
            self.line = deque(held for held in self.line if (held[0].id, held[1]) not in gone)
        return found

    def find_burst(self, key: Key) -> Burst | None:
        """The burst of one attempt that makes it now; short ones among others can't be told apart."""
        for burst in self.bursts:
            if len(burst.attempts) == 1 and burst.key == key:
                return burst
        return None


class Observer(Protocol):
    """Is told when attempts really begin and end in a virtual cluster. For tests and traces."""

    def begun(self, worker: VirtualWorker, spec: TaskSpec, attempt: int, now: float) -> None:
        """An attempt (or its part on this worker) began."""

    def ended(
        self, worker: VirtualWorker, spec: TaskSpec, attempt: int, verdict: Verdict | None, now: float
    ) -> None:
        """It ended; ``None`` when its worker died over it."""
