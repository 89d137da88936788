"""What must never happen to a run of the real loops, whatever befalls it. It raises when it does.

It looks at what workers do, at each batch that is on record, and at what a later life finds there.
"""

from collections.abc import Callable, Sequence

import msgspec
from loop_work import Holder, parts_of, value_of
from sim_watch import Watch

from mpiexec_runner.core import snapshot
from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.state import RunState
from mpiexec_runner.model.commands import AnyCommand, RunEnd, RunGroup, RunTasks
from mpiexec_runner.model.events import AnyEvent
from mpiexec_runner.model.tasks import Outcome, TaskSpec, TaskState, Verdict
from mpiexec_runner.model.workers import WorkerState
from mpiexec_runner.storage.port import BlobPort, Position


class LoopWatch(Watch):
    """Watches all lives of one run. It is the listener of each of them, too."""

    blobs: BlobPort

    def __init__(self, plan: object, now: Callable[[], float]) -> None:
        super().__init__(plan.kinds, plan.limits)
        self._now = now
        self._pending: tuple[Sequence[AnyEvent], Sequence[AnyCommand], float] | None = None
        self._told: set[int] = set()
        self._given: dict[tuple[int, int, int], int] = {}
        self._began: dict[tuple[int, int], set[int]] = {}
        self._ends: list[tuple[Position, int]] = []
        self.notes: list[str] = []
        self.end: RunEnd | None = None

    # --- the hub, step by step

    def handled(
        self, core: TaskScheduler, events: Sequence[AnyEvent], commands: Sequence[AnyCommand], now: float
    ) -> None:
        """The core has spoken; nothing of it counts before it is on record."""
        self._core = core
        self._pending = events, commands, now

    def recorded(self, position: Position) -> None:
        """What was handled last is on record."""
        assert self._pending is not None, "something is recorded that the core was not told of"
        events, commands, now = self._pending
        self._pending = None
        for command in commands:
            match command:
                case RunTasks(worker, tasks, attempts):
                    for spec, attempt in zip(tasks, attempts, strict=True):
                        self._give(spec, attempt, worker)
                case RunGroup(workers, spec, attempt):
                    for worker in workers:
                        self._give(spec, attempt, worker)
        before = set(self.settled)
        self.after_batch(self._core, events, commands, now)
        fresh = [task for task in self.settled if task not in before]
        for task in fresh:
            end = self._core.state.tasks[task].state
            # What was to be cancelled and failed before it was is cancelled; its last outcome is told.
            failed_first = (self.settled[task], end) == (TaskState.FAILED, TaskState.CANCELLED)
            assert end is self.settled[task] or failed_first, f"task {task}: {end}, told {self.settled[task]}"
            self.settled[task] = end
        self._ends += [(position, task) for task in fresh]

    def _give(self, spec: TaskSpec, attempt: int, worker: int) -> None:
        self._given[worker, spec.id, attempt] = self._core.state.workers[worker].incarnation

    @property
    def is_between_batches(self) -> bool:
        """Whether all that the core was told of is on record."""
        return self._pending is None

    # --- as a listener

    def settled_outcomes(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self._tell(outcome.task)
            if outcome.verdict is Verdict.SUCCEEDED:
                assert outcome.value == value_of(outcome.task), f"{outcome} is not of task {outcome.task}"
                if outcome.blob is not None:
                    found = [bytes(part) for part in self.blobs.get(outcome.blob)]
                    assert found == parts_of(outcome.task), f"the buffers of task {outcome.task}"

    def _tell(self, task: int) -> None:
        assert task in self.settled, f"the end of task {task} is told, and is not on record"
        assert task not in self._told, f"the end of task {task} is told twice in one life"
        self._told.add(task)

    # --- lives

    def life_begins(self, state: RunState, surely: set[int]) -> None:
        """What the record says at the start of a life: nothing is missing that was safe."""
        self._find(state, surely)
        self._running.clear()
        self._given.clear()
        self._began.clear()
        self._ends = []

    def hub_follows(self, core: TaskScheduler) -> None:
        """Another hub has replayed the record, in the same life: workers go on, and nothing is missing."""
        self._find(core.state, set(self.settled))
        self._core = core

    def _find(self, state: RunState, surely: set[int]) -> None:
        found = {id_: task.state for id_, task in state.tasks.items() if task.state.terminal}
        for task in surely:
            assert found.get(task) == self.settled[task], (
                f"task {task} had come to its end {self.settled[task].name}, and the record says "
                f"{found[task].name if task in found else 'nothing of it'}"
            )
        for task, end in found.items():
            assert self.settled.get(task, end) == end, f"task {task} ended as {self.settled[task]}, not {end}"
        # What was handled and is on record, though its process died before it could tell.
        self.settled = found
        self._told = set()
        self._pending = None

    def safe(self, synced: Position | None) -> set[int]:
        """Tasks whose end must be found by the next life; after a power cut those that were synced."""
        if synced is None:
            return set(self.settled)
        unsafe = {task for position, task in self._ends if position > synced}
        return set(self.settled) - unsafe

    def check_complete(self, state: RunState) -> None:
        """After the run: every task is at its end, and counted once."""
        states = {id_: task.state for id_, task in state.tasks.items()}
        assert all(end.terminal for end in states.values()), f"complete, but {states}"
        assert states == self.settled
        for one in TaskState:
            assert state.counts[one] == sum(end is one for end in states.values()), f"counts {state.counts}"

    # --- workers

    def attempt_begins(self, holder: Holder, spec: TaskSpec, attempt: int) -> None:
        given = self._given.get((holder.id, spec.id, attempt))
        which = f"attempt {attempt} of task {spec.id}"
        assert given == holder.incarnation, (
            f"worker {holder.id} begins {which} in its incarnation {holder.incarnation}; "
            f"it was given that in {given}"
        )
        began = self._began.setdefault((spec.id, attempt), set())
        assert holder.id not in began, f"worker {holder.id} begins {which} twice"
        alone = self._kinds[spec.kind].needs.ranks == 1
        assert not (alone and began), f"worker {holder.id} begins {which}, and so did worker {began}"
        began.add(holder.id)
        self.begun(holder, spec, attempt, self._now())

    def attempt_ends(self, holder: Holder, spec: TaskSpec, attempt: int) -> None:
        self._running.pop((holder.id, spec.id, attempt), None)

    def lost(self, rank: int) -> None:
        """A rank is dead: what it ran is over."""
        for key in [key for key in self._running if key[0] == rank]:
            del self._running[key]

    def _counts(self, worker: Holder, spec: TaskSpec, attempt: int) -> bool:
        """Whether the hub counts on what this worker does with this task."""
        state = self._core.state
        known = state.workers.get(worker.id)
        return (
            known is not None
            and known.state in (WorkerState.ALIVE, WorkerState.SUSPECT)
            and known.incarnation == worker.incarnation
            and spec.id not in self.settled
            and spec.id in known.tasks
            and state.attempt_on(state.tasks[spec.id], known) == attempt
        )


class Listener:
    """See :class:`~mpiexec_runner.core.listener.Listener`."""

    def __init__(self, watch: LoopWatch) -> None:
        self._watch = watch
        self.notes: list[tuple[int, str]] = []

    def settled(self, outcomes: list[Outcome]) -> None:
        self._watch.settled_outcomes(outcomes)

    def settled_without(self, task: int, state: TaskState, why: str) -> None:
        self._watch._tell(task)

    def worker_noted(self, worker: int, what: str) -> None:
        self.notes.append((worker, what))

    def noted(self, what: str) -> None:
        self.notes.append((0, what))

    def progressed(self, state: RunState) -> None:
        pass

    def ended(self, end: RunEnd, why: str) -> None:
        self._watch.end = end


class WatchedScheduler:
    """The core, with somebody who looks over its shoulder."""

    def __init__(self, inner: TaskScheduler, watch: LoopWatch) -> None:
        self.inner, self._watch = inner, watch
        self.state, self.heartbeats = inner.state, inner.heartbeats

    def handle(self, events: Sequence[AnyEvent], now: float) -> list[AnyCommand]:
        commands = self.inner.handle(events, now)
        self._watch.handled(self.inner, events, commands, now)
        return commands

    def next_deadline(self) -> float:
        return self.inner.next_deadline()


def fingerprint(state: RunState) -> dict[str, object]:
    """All of a state as plain data, to be compared; what is a set has no order."""
    found = msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot.take(state)))
    found["facts"]["suspects"].sort()
    return found
