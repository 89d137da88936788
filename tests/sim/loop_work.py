"""What tasks do in virtual time: how long an attempt takes, how it ends, and what it says.

It stands where ``runtime/attempts.py`` is. The user's code is not what is tested; all around it is.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from loop_net import LOOK_S, VirtualTransport
from loop_threads import EPOCH, Killed, Stage

from mpiexec_runner.execute.ending import Reason, verdict_of
from mpiexec_runner.execute.port import Result
from mpiexec_runner.model.messages import Welcome
from mpiexec_runner.model.tasks import Failure, FailureClass, Outcome, TaskSpec, Verdict
from mpiexec_runner.model.workers import Load
from mpiexec_runner.runtime.claims import Claim
from mpiexec_runner.runtime.group import call_together
from mpiexec_runner.runtime.holdings import Held, KnownKind, choose_mode

BLOB_BYTES = 300


@dataclass
class Fates:
    """What becomes of attempts. Everything follows from the seed, the task and the attempt."""

    seed: str
    lasts_s: dict[int, float]
    fail: float = 0.0
    drag: float = 0.0
    obstinate: float = 0.0
    """Probability that an attempt takes its time to end when it is told to."""
    poison: frozenset[int] = frozenset()
    large: frozenset[int] = frozenset()
    """Kinds with results that travel beside the message."""
    adding: frozenset[int] = frozenset()
    """Tasks that add two more to the run."""

    def longest_s(self, tasks: Iterable[int]) -> float:
        """How long any attempt of some tasks may take, in seconds."""
        return max((self._drags(self.lasts_s[task]) for task in tasks), default=0.0)

    def lasts(self, task: int, attempt: int) -> float:
        """How long an attempt takes, in seconds."""
        lasts_s = self.lasts_s.get(task, 0.01)
        drags = self.draws(task, 1000 + attempt).random() < self.drag
        return self._drags(lasts_s) if drags else lasts_s

    def _drags(self, lasts_s: float) -> float:
        return lasts_s * 10 + 0.5 if self.drag else lasts_s

    def draws(self, task: int, attempt: int) -> random.Random:
        return random.Random(f"{self.seed}/fate/{task}/{attempt}")


def value_of(task: int) -> bytes:
    """What a task returns, whoever runs it."""
    return b"m" + b"the result of %d" % task


def parts_of(task: int) -> list[bytes]:
    """The large buffers of what it returns, or takes."""
    return [b"%d" % task * BLOB_BYTES, b"." * (task % 7)]


@dataclass
class Holder:
    """A worker in one of its incarnations, as who watches sees it."""

    id: int
    incarnation: int
    slots: int
    dead: bool = False
    info: object = None


@dataclass
class Watcher:
    """Is told of each attempt: see ``loop_watch.py``."""

    begun: Callable[[Holder, TaskSpec, int], None]
    ended: Callable[[Holder, TaskSpec, int], None]
    die: Callable[[int], bool]
    """Kill a rank, if that may be."""
    waits: dict[str, object] = field(default_factory=dict)


class VirtualAttempts:
    """See :class:`~mpiexec_runner.runtime.attempts.Maker`."""

    def __init__(
        self,
        stage: Stage,
        transport: VirtualTransport,
        info: object,
        fates: Fates,
        watcher: Watcher,
        *,
        inline: bool,
    ) -> None:
        self._stage, self._transport, self._fates, self._watcher = stage, transport, fates, watcher
        self._inline = inline
        self._descriptors = itertools.count(100)
        self.info = info
        self.holder = Holder(transport.rank, 0, info.slots, info=info)

    def welcome(self, message: Welcome, hub: int) -> None:
        self.holder = Holder(self._transport.rank, message.incarnation, self.info.slots, info=self.info)

    def close(self) -> None:
        pass

    def load(self, held: int, running: int) -> Load:
        return Load(held=held, running=running)

    def know(self, kind: KnownKind) -> None:
        pass

    def decide(self, kind: KnownKind) -> None:
        kind.decided = True
        kind.mode = choose_mode(kind.spec, inline=self._inline, coroutine=False)
        draws = self._fates.draws(kind.spec.id, self._transport.rank)
        self._stage.sleep(self._stage.now + draws.choice([0.0, 0.001, 0.5]))

    # --- attempts

    def call(self, held: Held, kind: KnownKind, claim: Claim, stopped: Callable[[], bool]) -> Result:
        spec, number, _, beside = held
        holder, began = self.holder, self._stage.now
        self._check_arguments(held, kind)
        self._watcher.begun(holder, spec, number)
        try:
            if beside is not None and beside.group:
                return self._together(held, kind, stopped)
            self._stage.sleep(began + self._fates.lasts(spec.id, number))
            return self._ending(spec, number, kind, began)
        finally:
            self._watcher.ended(holder, spec, number)

    def _together(self, held: Held, kind: KnownKind, stopped: Callable[[], bool]) -> Result:
        """With the real code of a group's member; what it calls is virtual."""
        spec, number, _, _ = held
        stage, groups = self._stage, self._transport.groups

        def function(comm: object) -> Result:
            began = stage.now
            ends = began + self._fates.lasts(spec.id, number)
            while stage.now < ends:
                if groups.is_broken or groups.lost():
                    return self._failed(spec, number, began, "mpi4py.MPI.Exception"), []
                stage.sleep(min(ends, stage.now + LOOK_S * 5))
            return self._ending(spec, number, kind, began)

        return call_together(self._transport, held, function, lambda call: call(), stopped)

    def begin(self, held: Held, kind: KnownKind, claim: Claim) -> "VirtualRunning":
        spec, number, _, _ = held
        self._check_arguments(held, kind)
        self._watcher.begun(self.holder, spec, number)
        began = self._stage.now
        ends = began + self._fates.lasts(spec.id, number)
        timeout_s = kind.spec.timeout_s
        late = timeout_s is not None and ends > began + timeout_s
        ends = began + timeout_s if late else ends
        draws = self._fates.draws(spec.id, -number)
        obstinate_s = draws.uniform(0.5, 4.0) if draws.random() < self._fates.obstinate else 0.0

        def end(reason: Reason | None) -> Result:
            self._watcher.ended(running.holder, spec, number)
            if reason is None:
                return self._ending(spec, number, kind, began)
            verdict, failure = verdict_of(reason, self._stage.now - began)
            elapsed_s = self._stage.now - began
            return Outcome(spec.id, number, verdict, EPOCH + began, elapsed_s, failure=failure), []

        reason = Reason.TIMEOUT if late else None
        running = VirtualRunning(next(self._descriptors), ends, end, obstinate_s, reason)
        running.holder = self.holder
        return running

    def _ending(self, spec: TaskSpec, number: int, kind: KnownKind, began: float) -> Result:
        draws, elapsed_s = self._fates.draws(spec.id, number), self._stage.now - began
        if spec.id in self._fates.poison and self._watcher.die(self._transport.rank):
            raise Killed
        if draws.random() < self._fates.fail:
            return self._failed(spec, number, began, "ValueError"), []
        more = b"2" if spec.id in self._fates.adding else b""
        large = kind.spec.id in self._fates.large
        return Outcome(
            spec.id, number, Verdict.SUCCEEDED, EPOCH + began, elapsed_s, value_of(spec.id), more=more
        ), (parts_of(spec.id) if large else [])

    def _failed(self, spec: TaskSpec, number: int, began: float, name: str) -> Outcome:
        failure = Failure(FailureClass.EXCEPTION, "it was to fail", name=name)
        return Outcome(
            spec.id, number, Verdict.FAILED, EPOCH + began, self._stage.now - began, failure=failure
        )

    def _check_arguments(self, held: Held, kind: KnownKind) -> None:
        """What a task was given is its own, and so are the results that it uses."""
        spec, _, buffers, beside = held
        assert spec.kind == kind.spec.id
        if spec.blob is not None:  # a task that is asked for again has another number
            first = int(spec.blob.key.rpartition("-")[2])
            assert [bytes(part) for part in buffers] == parts_of(first), f"arguments of task {spec.id}"
        for result, parts in beside.results if beside is not None else ():
            assert result.task in spec.uses
            if not result.value:
                continue
            assert result.value == value_of(result.task), f"the result of task {result.task} for {spec.id}"
            if result.blob is not None:
                found = [bytes(part) for part in parts]
                assert found == parts_of(result.task), f"the buffers of {result.task} for task {spec.id}"


class VirtualRunning:
    """See :class:`~mpiexec_runner.execute.port.Running`."""

    holder: Holder

    def __init__(
        self,
        descriptor: int,
        ends: float,
        end: Callable[[Reason | None], Result],
        obstinate_s: float,
        reason: Reason | None,
    ) -> None:
        self._descriptor, self._ends, self._end, self._obstinate_s = descriptor, ends, end, obstinate_s
        self._reason, self._is_stopped = reason, False

    @property
    def next_act(self) -> float:
        return self._ends

    def fileno(self) -> int:
        return self._descriptor

    def poll(self, now: float) -> Result | None:
        return self._end(self._reason) if now >= self._ends else None

    def stop(self, reason: Reason, now: float) -> None:
        if not self._is_stopped and now < self._ends:
            self._reason, self._is_stopped = reason, True
            self._ends = min(self._ends, now + self._obstinate_s)

    def abandon(self) -> None:
        self._ends = math.inf
