"""What a worker holds: tasks in line, kinds it was told of, and what it has to say to the hub.

Plain book-keeping under the worker's lock; nothing here runs a task or touches the transport.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec
from typing_extensions import Buffer

from mpiexec_runner.errors import PeerError
from mpiexec_runner.execute.ending import Reason, verdict_of
from mpiexec_runner.execute.port import Result
from mpiexec_runner.model.messages import AnyMessage, Finished, Returned, Run, Started
from mpiexec_runner.model.tasks import (
    BlobRef,
    CommandLine,
    Failure,
    Mode,
    Outcome,
    TaskKind,
    TaskSpec,
)
from mpiexec_runner.model.tasks import Result as TaskResult

FLUSH_BYTES = 2**20


class Beside(NamedTuple):
    """What came with a task besides itself.

    The ranks that run it together, results that it uses, whether another attempt of it runs elsewhere, and
    whether it may have killed a rank before.
    """

    group: tuple[int, ...] = ()
    results: tuple[tuple[TaskResult, list[memoryview]], ...] = ()
    aside: bool = False
    isolate: bool = False


Held = tuple[TaskSpec, int, list[memoryview], Beside | None]
"""A task in line, the number of its attempt, the large buffers of its arguments, and what came with it."""
_NONE: list[memoryview] = []


class KnownKind:
    """A kind that this worker was told of: how it is run, and its function once it was looked for."""

    __slots__ = ("brief", "claims", "decided", "failure", "function", "mode", "spec")

    def __init__(self, spec: TaskKind, mode: Mode) -> None:
        self.spec = spec
        self.mode = mode
        self.function: Callable[..., Any] | None = None
        self.failure: Failure | None = None
        self.brief = False
        self.decided = mode not in (Mode.AUTO, Mode.THREAD, Mode.ASYNCIO)
        """Whether its function need not be looked at before the first task begins."""
        self.claims = bool(spec.needs.cpus or spec.needs.gpus or spec.needs.memory_bytes)


def choose_mode(kind: TaskKind, *, inline: bool, coroutine: bool | None = None) -> Mode:
    """How tasks of a kind are run, where it leaves that open.

    Commands run as commands; groups inline; what must be killable, or sees only some devices, in a child
    process; coroutine functions in the event loop; the rest inline, where the rank can afford it.

    Parameters
    ----------
    kind
        The kind.
    inline
        Whether the rank can afford it: with one slot, and a thread of its own for heartbeats.
    coroutine
        Whether it calls a coroutine function; ``None`` when that is not known yet.

    Returns
    -------
    Mode
        ``AUTO`` when that depends on ``coroutine``, which is not known.
    """
    if isinstance(kind.work, CommandLine):
        return Mode.COMMAND
    if kind.needs.ranks > 1:  # a communicator belongs to the main thread
        return Mode.INLINE
    timed = kind.timeout_s is not None or kind.timeout_factor is not None
    if kind.mode is Mode.PROCESS or kind.needs.memory_bytes:
        return Mode.PROCESS
    if kind.mode is Mode.ASYNCIO:
        return Mode.ASYNCIO
    if timed or (kind.mode is Mode.AUTO and kind.needs.gpus):
        return Mode.PROCESS
    if kind.mode is not Mode.AUTO:
        return kind.mode
    if coroutine is None:
        return Mode.AUTO
    if coroutine:
        return Mode.ASYNCIO
    return Mode.INLINE if inline else Mode.PROCESS


def mode_of(held: Held, kind: KnownKind) -> Mode:
    """How an attempt is run: as its kind is, or, if it may have killed a rank, where it can kill none."""
    beside = held[3]
    if beside is None or not beside.isolate or beside.group or kind.mode is Mode.COMMAND:
        return kind.mode
    return Mode.PROCESS


class Line:
    """Tasks that have not begun, in the order in which they came."""

    def __init__(self) -> None:
        self._held: deque[Held] = deque()

    def __len__(self) -> int:
        return len(self._held)

    def add(self, run: Run, buffers: list[memoryview]) -> None:
        """Put the tasks of a message in line.

        Raises
        ------
        PeerError
            When the buffers beside the message are not those that its tasks announce.
        """
        if len(run.tasks) != len(run.attempts):
            raise PeerError("the hub sent tasks and attempts that do not match")
        beside = itertools.repeat(None)
        alone = not (buffers or run.results or run.group or run.aside or run.isolate)
        if alone and all(spec.blob is None for spec in run.tasks):
            new: Iterable[Held] = zip(run.tasks, run.attempts, itertools.repeat(_NONE), beside, strict=False)
        else:
            new = _with_buffers(run, buffers)
        if run.urgent:
            self._held.extendleft(reversed(list(new)))
        else:
            self._held.extend(new)

    def head(self) -> Held | None:
        """The next task, left in line."""
        return self._held[0] if self._held else None

    def pop(self) -> Held:
        """Take the next task."""
        return self._held.popleft()

    def remove(self, attempts: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Take those of ``attempts`` out that are still in line; they are returned."""
        wanted = set(attempts)
        found = [key for held in self._held if (key := (held[0].id, held[1])) in wanted]
        if found:
            gone = set(found)
            self._held = deque(held for held in self._held if (held[0].id, held[1]) not in gone)
        return found

    def clear(self) -> None:
        """Forget all."""
        self._held.clear()


def _with_buffers(run: Run, buffers: list[memoryview]) -> list[Held]:
    """The tasks of a message with what belongs to each; their own buffers come before those of results."""
    at = 0

    def take(blob: BlobRef | None, what: str) -> list[memoryview]:
        nonlocal at
        begin, at = at, at + (len(blob.sizes) if blob is not None else 0)
        if at > len(buffers):
            raise PeerError(f"the hub sent {what} without its buffers")
        return buffers[begin:at]

    own = [take(spec.blob, f"task {spec.id}") for spec in run.tasks]
    results = {
        result.task: (result, take(result.blob, f"the result of task {result.task}"))
        for result in run.results
    }
    held: list[Held] = []
    for spec, attempt, parts in zip(run.tasks, run.attempts, own, strict=True):
        used = tuple(results[id_] for id_ in spec.uses if id_ in results)
        beside = Beside(run.group, used, run.aside, spec.id in run.isolate)
        held.append((spec, attempt, parts, beside if any(beside) else None))
    return held


class Outbox:
    """What has to be said to the hub, until it is sent in one packet."""

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []
        self._started: list[tuple[int, int]] = []
        self._others: list[AnyMessage] = []
        self._buffers: list[Buffer] = []
        self.bytes = 0

    def __bool__(self) -> bool:
        return bool(self._outcomes or self._started or self._others)

    def say(self, message: AnyMessage) -> None:
        """Add a message."""
        self._others.append(message)

    def started(self, key: tuple[int, int]) -> None:
        """Tell that an attempt began."""
        self._started.append(key)

    def returned(self, attempts: list[tuple[int, int]]) -> None:
        """Give tasks back."""
        self._others.append(Returned(attempts))

    def ended_unbegun(self, attempts: list[tuple[int, int]], reason: Reason) -> None:
        """Tell that attempts were ended before they began."""
        for task, number in attempts:
            verdict, failure = verdict_of(reason, 0.0)
            self._outcomes.append(Outcome(task, number, verdict, 0.0, 0.0, failure=failure))

    def finished(self, result: Result) -> None:
        """Tell how an attempt ended."""
        outcome, buffers = result
        if buffers:
            sizes = tuple(memoryview(part).nbytes for part in buffers)
            outcome = msgspec.structs.replace(outcome, blob=BlobRef("", sizes))
            self._buffers += buffers
            self.bytes += sum(sizes)
        self._outcomes.append(outcome)
        self.bytes += len(outcome.value)

    def keep_results(self) -> None:
        """Forget all but results: another hub asks for the rest, or has no use for it."""
        self._others, self._started = [], []

    def take(self) -> tuple[list[AnyMessage], list[Buffer]]:
        """All messages, and the buffers of the results among them; the outbox is empty after that."""
        messages = self._others
        if self._started:
            messages.append(Started(self._started))
        if self._outcomes:
            messages.append(Finished(self._outcomes))
        buffers = self._buffers
        self.__init__()  # type: ignore[misc]
        return messages, buffers
