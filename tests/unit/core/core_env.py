"""A scheduler under a fake clock, for tests that tell stories: what happens, and all that is asked for.

Every command has to be claimed with :meth:`Env.sent` before the next event: so nothing else was sent. After
every step the invariants are checked, and a second scheduler, restored from a snapshot of the step before,
has to ask for the same and come to the same state.
"""

import random
from collections.abc import Iterable

import msgspec

from mpiexec_runner.core import invariants, snapshot
from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.settings import HeartbeatSettings, LimitSettings, SchedulerSettings
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Task
from mpiexec_runner.model.commands import (
    AnyCommand,
    CancelAttempts,
    EndRun,
    NoteWorker,
    RetractTasks,
    RunEnd,
    RunTasks,
    SettleTasks,
    SettleWithout,
    WelcomeWorker,
)
from mpiexec_runner.model.events import (
    AnyEvent,
    CancelRequested,
    DrainRequested,
    KindsRegistered,
    RunOpened,
    StopReason,
    SubmissionsClosed,
    TasksFinished,
    TasksReturned,
    TasksStarted,
    TasksSubmitted,
    Tick,
    WorkerBeat,
    WorkerJoined,
    WorkerLeft,
)
from mpiexec_runner.model.tasks import (
    CallByName,
    Failure,
    FailureClass,
    FailureRule,
    Outcome,
    RetryRule,
    TaskKind,
    TaskSpec,
    TaskState,
    Verdict,
    When,
)
from mpiexec_runner.model.workers import WorkerInfo, WorkerState
from mpiexec_runner.policies.placement import PLACEMENTS
from mpiexec_runner.policies.retry import ExponentialBackoff
from mpiexec_runner.policies.speculation import LateAttempts

Attempt = tuple[int, int]
START = 1000.0
HEARTBEAT = HeartbeatSettings(interval_s=5.0, timeout_s=90.0)

# --- what tasks and workers are


def kind(
    id_: int = 1,
    *,
    retries: int = 0,
    backoff_s: float = 5.0,
    on: tuple[FailureRule, ...] = (),
    elsewhere: bool = True,
    **settings: object,
) -> TaskKind:
    """A kind; ``settings`` are fields of :class:`TaskKind`."""
    rule = RetryRule(retries, float(backoff_s), 0.0, on, elsewhere)
    return TaskKind(id=id_, name=f"kind{id_}", work=CallByName("tests:work"), retry=rule, **settings)


def info(slots: int = 1) -> WorkerInfo:
    return WorkerInfo(host="node", pid=1, slots=slots)


# --- how attempts end


def ok(task: int, attempt: int = 1, elapsed_s: float = 10.0) -> Outcome:
    return Outcome(task, attempt, Verdict.SUCCEEDED, START, elapsed_s, value=b"v")


def failed(task: int, attempt: int = 1, why: FailureClass = FailureClass.EXCEPTION) -> Outcome:
    return Outcome(task, attempt, Verdict.FAILED, START, 1.0, failure=Failure(why, "broken"))


def ended(task: int, attempt: int = 1) -> Outcome:
    return Outcome(task, attempt, Verdict.CANCELLED, START, 0.5)


# --- what happens


def submitted(*ids: int, kind: int = 1) -> TasksSubmitted:
    return TasksSubmitted([TaskSpec(id_, kind, b"") for id_ in ids])


def task(
    id_: int, *after: int, kind: int = 1, when: When = When.SUCCESS, uses: tuple[int, ...] = ()
) -> TasksSubmitted:
    return TasksSubmitted([TaskSpec(id_, kind, b"", after=after, when=when, uses=uses)])


def joined(worker: int, incarnation: int = 0, *, slots: int = 1) -> WorkerJoined:
    return WorkerJoined(worker, incarnation, info(slots))


def beat(worker: int, incarnation: int = 1) -> WorkerBeat:
    return WorkerBeat(worker, incarnation)


def died(worker: int) -> WorkerLeft:
    return WorkerLeft(worker, "rank died")


def left(worker: int) -> WorkerLeft:
    return WorkerLeft(worker)


def began(worker: int, *attempts: Attempt) -> TasksStarted:
    return TasksStarted(worker, list(attempts))


def finished(worker: int, *outcomes: Outcome) -> TasksFinished:
    return TasksFinished(worker, list(outcomes))


def returned(worker: int, *attempts: Attempt) -> TasksReturned:
    return TasksReturned(worker, list(attempts))


def cancel(*tasks: int) -> CancelRequested:
    return CancelRequested(tasks)


def drain(reason: StopReason = StopReason.INTERRUPTED) -> DrainRequested:
    return DrainRequested(reason)


def abandon(reason: StopReason = StopReason.INTERRUPTED) -> DrainRequested:
    return DrainRequested(reason, abandon=True)


def closed() -> SubmissionsClosed:
    return SubmissionsClosed()


# --- what is asked for


def settle(*outcomes: Outcome) -> SettleTasks:
    return SettleTasks(list(outcomes))


def cancelled(task: int) -> SettleWithout:
    return SettleWithout(task, TaskState.CANCELLED, "cancelled")


def poisoned(task: int, crashes: int) -> SettleWithout:
    why = f"poison: {crashes} workers in a row were lost over it, the last on node"
    return SettleWithout(task, TaskState.FAILED, why)


def note(worker: int, what: str) -> NoteWorker:
    return NoteWorker(worker, what)


def welcome(worker: int, incarnation: int = 1) -> WelcomeWorker:
    return WelcomeWorker(worker, incarnation)


def end_attempts(worker: int, *attempts: Attempt) -> CancelAttempts:
    return CancelAttempts(worker, list(attempts))


def retract(worker: int, *attempts: Attempt) -> RetractTasks:
    return RetractTasks(worker, list(attempts))


def over(end: RunEnd = RunEnd.COMPLETE, why: str = "") -> EndRun:
    return EndRun(end, why)


LOST = note(1, "lost: rank died")

# --- the scheduler


def scheduler(
    settings: SchedulerSettings | None = None,
    *,
    seed: int = 0,
    state: RunState | None = None,
    heartbeat: HeartbeatSettings = HEARTBEAT,
    limits: LimitSettings | None = None,
) -> TaskScheduler:
    settings = settings or SchedulerSettings()
    placement = PLACEMENTS[settings.placement](seed, random.Random)
    return TaskScheduler(
        settings,
        heartbeat,
        placement,
        ExponentialBackoff(),
        state,
        speculation=LateAttempts(),
        limits=limits,
        draw=lambda text: random.Random(f"{seed}/{text}").random(),
    )


def image(state: RunState) -> bytes:
    """All of a state, as it would be kept."""
    return msgspec.msgpack.encode(snapshot.take(state))


def restored(data: bytes) -> RunState:
    return snapshot.restore(msgspec.msgpack.decode(data, type=snapshot.Snapshot))


class Env:
    """One run, told step by step."""

    def __init__(
        self, *kinds: TaskKind, limits: LimitSettings | None = None, expected: int = 0, **settings: object
    ) -> None:
        self.settings = SchedulerSettings.model_validate(settings)
        self.limits = limits
        self.core = scheduler(self.settings, limits=limits)
        self.now = START
        self.journal: list[tuple[float, list[AnyEvent]]] = []
        self._unclaimed: list[AnyCommand] = []
        self._step: tuple[AnyEvent, ...] = ()
        self.on(RunOpened(1, expected), KindsRegistered(kinds or (kind(),)))

    @property
    def state(self) -> RunState:
        return self.core.state

    def on(self, *events: AnyEvent, after_s: float = 0.0) -> None:
        """Let time pass and let something happen, in one batch."""
        self.sent()
        self.now += after_s
        twin = scheduler(self.settings, state=restored(image(self.state)), limits=self.limits)
        self._step = events
        self._unclaimed = self.core.handle(events, self.now)
        self.journal.append((self.now, list(events)))
        invariants.check(self.state)
        assert twin.handle(events, self.now) == self._unclaimed
        assert image(twin.state) == image(self.state)
        assert twin.next_deadline() == self.core.next_deadline()

    def sent(self, *commands: AnyCommand) -> None:
        """These commands, in this order, and no others."""
        unclaimed, self._unclaimed = self._unclaimed, []
        assert unclaimed == list(commands), f"after {self._step}"

    def join(self, *workers: int, slots: int = 1) -> None:
        """Let workers say hello and answer the welcome; what the last one gets is still to be claimed."""
        for worker in workers:
            self.on(joined(worker, slots=slots))
            self.sent(note(worker, "joined from node"), welcome(worker))
            self.on(beat(worker))

    def arrive(self, worker: int, info: WorkerInfo) -> None:
        """Let a worker of a certain sort join."""
        self.on(WorkerJoined(worker, 0, info))
        self.sent(note(worker, f"joined from {info.host}"), welcome(worker))
        self.on(beat(worker))

    def tick(self) -> None:
        """Let time pass until the scheduler wants to be told of it."""
        due = self.core.next_deadline()
        assert due < float("inf")
        self.on(Tick(), after_s=max(0.0, due - self.now))

    def silence(self, seconds: float, *speaking: int) -> None:
        """Let time pass in which only ``speaking`` workers send heartbeats; nothing is asked for."""
        until = self.now + seconds
        while self.now < until:
            step_s = min(until - self.now, HEARTBEAT.interval_s)
            self.on(*[beat(w, self.state.workers[w].incarnation) for w in speaking], Tick(), after_s=step_s)

    def run(
        self, worker: int, attempts: dict[int, int], *, urgent: bool = False, aside: bool = False
    ) -> RunTasks:
        """The command to run these tasks, with the number of the attempt of each."""
        specs = [self.state.tasks[id_].spec for id_ in attempts]
        isolate = [id_ for id_ in attempts if id_ in self.state.suspects]
        return RunTasks(worker, specs, list(attempts.values()), urgent, aside=aside, isolate=isolate)

    def measure(self, elapsed_s: float, *, worker: int = 1, kind: int = 1) -> None:
        """Have one task run to its end, so that the duration of its kind is known."""
        task = self.state.next_task
        self.on(submitted(task, kind=kind))
        self.sent(self.run(worker, {task: 1}))
        self.on(finished(worker, ok(task, elapsed_s=elapsed_s)))
        self.sent(settle(ok(task, elapsed_s=elapsed_s)))

    def task(self, id_: int) -> Task:
        return self.state.tasks[id_]

    def are(self, state: TaskState, *ids: int) -> None:
        """These tasks are in ``state``, and no others."""
        assert sorted(id_ for id_, task in self.state.tasks.items() if task.state is state) == list(ids)

    def is_(self, worker: int, state: WorkerState) -> None:
        assert self.state.workers[worker].state is state

    def holds(self, worker: int, *ids: int) -> None:
        assert list(self.state.workers[worker].tasks) == list(ids)

    def finish(self) -> None:
        """The end of a story: everything was claimed, and its record tells the same story again."""
        self.sent()
        again = replayed(self.journal, self.settings, limits=self.limits)
        assert image(again.state) == image(self.state)


def replayed(
    journal: Iterable[tuple[float, list[AnyEvent]]],
    settings: SchedulerSettings,
    *,
    seed: int = 0,
    limits: LimitSettings | None = None,
) -> TaskScheduler:
    """A fresh scheduler that was driven with the record of another one."""
    core = scheduler(settings, seed=seed, limits=limits)
    for now, events in journal:
        core.handle(events, now)
    return core
