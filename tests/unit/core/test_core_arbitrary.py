"""Whatever happens, in whatever order: invariants hold, and what is asked for makes sense."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from core_env import image, info, kind, replayed, restored, scheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiexec_runner.core import invariants
from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.settings import LimitSettings, SchedulerSettings
from mpiexec_runner.model.commands import (
    AnyCommand,
    EndRun,
    RunGroup,
    RunTasks,
    SettleTasks,
    SettleWithout,
)
from mpiexec_runner.model.events import (
    AnyEvent,
    CancelRequested,
    DrainRequested,
    HubReplaced,
    KindsRegistered,
    MoveRequested,
    PauseRequested,
    PriorityRequested,
    RebalanceRequested,
    RetryRequested,
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
    WorkerSwitched,
)
from mpiexec_runner.model.tasks import (
    Failure,
    FailureClass,
    FailureRule,
    Needs,
    Outcome,
    TaskSpec,
    Verdict,
    When,
)
from mpiexec_runner.model.workers import Load, WorkerInfo
from mpiexec_runner.policies.placement import PLACEMENTS

WORKERS = st.integers(0, 3)
MORE_MEMORY = FailureRule("memory", max=2, memory_factor=2.0)
KINDS = (
    kind(1, retries=2, backoff_s=1),
    kind(2, priority=8, keep=False),
    kind(3, retries=1, backoff_s=0),
    kind(4),
    kind(5, needs=Needs(cpus=2, memory_bytes=100), labels=("licence",), retries=1, on=(MORE_MEMORY,)),
    kind(6, needs=Needs(gpus=1, tags=("gpu",)), priority=10, keep=False),
    kind(7, needs=Needs(ranks=2), retries=1, backoff_s=1),
    kind(8, needs=Needs(ranks=3, cpus=1), priority=10, timeout_factor=2.0),
    kind(9, priority=10, expected_s=1.0, labels=("licence",)),
)
SORTS = st.integers(1, len(KINDS))
INFOS = (
    WorkerInfo("one", 1),
    WorkerInfo("one", 2, slots=2, cores=2, memory_bytes=150),
    WorkerInfo("two", 3, slots=3, cores=4, memory_bytes=400, gpus=1, tags=("gpu",)),
    WorkerInfo("two", 4, slots=1, cores=8, memory_bytes=100),
)
infos = st.sampled_from(INFOS)


class Aimed(NamedTuple):
    """Something that a worker says of attempts that it really holds (or held), picked by number."""

    what: str
    worker: int
    picks: list[int]
    verdict: Verdict
    elapsed_s: float


class Rejoined(NamedTuple):
    """A heartbeat under the incarnation that the worker really has."""

    worker: int


class Called(NamedTuple):
    """A hello to a new hub, of a worker that says what it runs: those of what it was sent."""

    worker: int
    picks: list[int]


class Added(NamedTuple):
    """A new task: its kind, how many tasks before it those are that it depends on, and those it uses."""

    kind: int
    after: tuple[int, ...] = ()
    used: int = 0
    when: When = When.SUCCESS
    site: str = ""


class Submitted(NamedTuple):
    """Some new tasks."""

    tasks: list[Added]


class Chosen(NamedTuple):
    """Something that people ask of tasks, picked by number from the newest backwards."""

    what: str
    picks: list[int]
    number: int


attempts = st.tuples(st.integers(-1, 12), st.integers(0, 4))
elapsed = st.sampled_from([0.0, 1e-6, 0.001, 0.01, 1.0, 100.0, -1e-5, -1.0, math.inf, math.nan])
failures = st.none() | st.sampled_from(FailureClass).map(lambda why: Failure(why, "broken"))
outcomes = st.builds(
    lambda key, verdict, elapsed_s, failure: Outcome(*key, verdict, 0.0, elapsed_s, failure=failure),
    attempts,
    st.sampled_from(Verdict),
    elapsed,
    failures,
)
wild = st.one_of(
    st.builds(
        WorkerJoined,
        WORKERS,
        st.integers(0, 3),
        st.integers(0, 3).map(info) | infos,
        st.lists(attempts, max_size=2),
    ),
    st.builds(HubReplaced, st.integers(1, 9), st.sampled_from([0, 2, 4])),
    st.builds(
        WorkerBeat,
        WORKERS,
        st.integers(0, 4),
        st.builds(Load, cpu_percent=st.sampled_from([0.0, 99.0]), used_bytes=st.sampled_from([0, 10**6])),
    ),
    st.builds(WorkerLeft, WORKERS, st.sampled_from(["", "rank died"])),
    st.builds(TasksStarted, WORKERS, st.lists(attempts, max_size=3)),
    st.builds(TasksFinished, WORKERS, st.lists(outcomes, max_size=3)),
    st.builds(TasksReturned, WORKERS, st.lists(attempts, max_size=3)),
    st.builds(
        TasksSubmitted,
        st.lists(
            st.builds(
                TaskSpec,
                st.integers(1, 12),
                SORTS,
                st.just(b""),
                after=st.lists(st.integers(1, 12), max_size=2).map(tuple),
                when=st.sampled_from(When),
            ),
            max_size=4,
            unique_by=lambda spec: spec.id,
        ),
    ),
    st.builds(
        CancelRequested,
        st.none() | st.lists(st.integers(-1, 12), max_size=3).map(tuple),
        st.sampled_from(["", "", "licence"]),
    ),
    st.builds(PauseRequested, st.booleans()),
    st.builds(PriorityRequested, st.lists(st.integers(-1, 12), max_size=3).map(tuple), st.integers(1, 10)),
    st.builds(RetryRequested, st.none() | st.lists(st.integers(-1, 12), max_size=3).map(tuple)),
    st.builds(MoveRequested, st.integers(-1, 12), WORKERS),
    st.just(RebalanceRequested()),
    st.builds(WorkerSwitched, WORKERS, st.booleans()),
    st.builds(DrainRequested, st.sampled_from(StopReason), st.booleans()),
    st.builds(
        lambda id_, priority, keep, retries: KindsRegistered(
            (kind(id_, priority=priority, keep=keep, retries=retries, backoff_s=1),)
        ),
        st.integers(1, 4),
        st.integers(1, 9),
        st.booleans(),
        st.integers(0, 2),
    ),
    st.builds(RunOpened, st.integers(1, 9), st.sampled_from([0, 2, 4])),
    st.just(SubmissionsClosed()),
    st.just(Tick()),
)
likely = st.one_of(
    st.builds(
        Aimed,
        st.sampled_from(["finish", "finish", "start", "return"]),
        WORKERS,
        st.lists(st.integers(0, 30), min_size=1, max_size=4),
        st.sampled_from([*Verdict, Verdict.SUCCEEDED]),
        elapsed,
    ),
    st.builds(Rejoined, WORKERS),
    st.builds(HubReplaced, st.integers(1, 9), st.just(4)),
    st.builds(Called, WORKERS, st.lists(st.integers(0, 30), max_size=4)),
    st.builds(WorkerJoined, WORKERS, st.integers(0, 3), infos),
    st.builds(Submitted, st.lists(SORTS.map(Added), min_size=1, max_size=12)),
    st.builds(
        Submitted,
        st.lists(
            st.builds(
                Added,
                SORTS,
                st.lists(st.integers(1, 4), max_size=3).map(tuple),
                st.integers(0, 3),
                st.sampled_from(When),
                st.sampled_from(["", "a", "b"]),
            ),
            min_size=1,
            max_size=10,
        ),
    ),
    st.builds(WorkerLeft, WORKERS, st.just("rank died")),
    st.builds(
        Chosen,
        st.sampled_from(["priority", "retry", "move", "cancel"]),
        st.lists(st.integers(0, 12), min_size=1, max_size=3),
        st.integers(0, 10),
    ),
    st.builds(CancelRequested, st.lists(st.integers(1, 30), min_size=1, max_size=3).map(tuple)),
)
steps = st.sampled_from([0.0, 0.0, 0.001, 1.0, 5.0, 31.0, 95.0, 1e4])
stories = st.lists(st.tuples(steps, st.lists(likely | wild, min_size=1, max_size=4)), max_size=25)
limits = st.one_of(
    st.just(LimitSettings()),
    st.builds(
        LimitSettings,
        concurrent=st.none() | st.integers(1, 4),
        per_host=st.none() | st.integers(1, 3),
        per_label=st.sampled_from([{}, {"licence": 1}, {"gpu": 1, "licence": 3}]),
        max_cpu_percent=st.sampled_from([None, 90.0]),
    ),
)
choices = st.builds(
    SchedulerSettings,
    exclude_after=st.integers(0, 2),
    probe_after_s=st.sampled_from([1.0, 300.0]),
    ageing_s=st.sampled_from([1.0, 300.0]),
    speculation=st.booleans(),
    placement=st.sampled_from(sorted(PLACEMENTS)),
    crash_limit=st.integers(1, 3),
    work_stealing=st.booleans(),
    prefetch_s=st.sampled_from([0.0, 0.05, 60.0]),
)
story = settings(max_examples=150, deadline=None, print_blob=True)


def come_true(idea: object, core: TaskScheduler, sent: dict[int, list[tuple[int, int]]]) -> AnyEvent:
    """What an idea means in the state that a run is in."""
    match idea:
        case Rejoined(worker):
            known = core.state.workers.get(worker)
            return WorkerBeat(worker, known.incarnation if known else 0)
        case Called(worker, picks):
            known, told = core.state.workers.get(worker), sent.get(worker, [])
            running = [told[-1 - pick % len(told)] for pick in picks] if told else []
            about, incarnation = (known.info, known.incarnation) if known else (INFOS[0], 0)
            return WorkerJoined(worker, incarnation, about, running)
        case Submitted(tasks):
            return TasksSubmitted(list(specs(tasks, core.state.next_task)))
        case Chosen(what, picks, number):
            ids = tuple(core.state.next_task - 1 - pick for pick in picks)
            if what == "priority":
                return PriorityRequested(ids, max(1, number))
            if what == "move":
                return MoveRequested(ids[0], number % 4)
            return RetryRequested(ids) if what == "retry" else CancelRequested(ids)
        case Aimed(what, worker, picks, verdict, elapsed_s):
            told = sent.get(worker, [])
            keys = [told[-1 - pick % len(told)] for pick in picks] if told else []
            if what == "start":
                return TasksStarted(worker, keys)
            if what == "return":
                return TasksReturned(worker, keys)
            return TasksFinished(worker, [Outcome(*key, verdict, 0.0, elapsed_s) for key in keys])
        case _:
            return idea  # type: ignore[return-value]


def specs(tasks: list[Added], first: int) -> Iterator[TaskSpec]:
    for id_, (sort, back, used, when, site) in enumerate(tasks, start=first):
        after = tuple(dict.fromkeys(id_ - step for step in back))
        yield TaskSpec(id_, sort, b"", after=after, when=when, uses=after[:used], site=site)


class Watch:
    """What must be true of all commands of a run, whatever it was told."""

    def __init__(self, core: TaskScheduler, limits: LimitSettings) -> None:
        self._core, self._limits = core, limits
        self._settled: Counter[int] = Counter()
        self._attempts: dict[int, int] = {}
        self._over = False
        self.sent: dict[int, list[tuple[int, int]]] = {}

    def look(self, events: list[AnyEvent], commands: list[AnyCommand]) -> None:
        state = self._core.state
        invariants.check(state)
        for event in events:
            if isinstance(event, RunOpened | HubReplaced):
                self._over = False
        for command in commands:
            match command:
                case RunTasks():
                    for spec, attempt in zip(command.tasks, command.attempts, strict=True):
                        self._on_run(spec, attempt, [command.worker], {r.task for r in command.results})
                case RunGroup():
                    results = {result.task for result in command.results}
                    self._on_run(command.task, command.attempt, list(command.workers), results)
                case SettleTasks(outcomes):
                    self._settled.update(outcome.task for outcome in outcomes)
                case SettleWithout(task):
                    self._settled[task] += 1
                case EndRun():
                    assert not self._over, "a run ends once"
                    self._over = True
        if any(isinstance(event, RetryRequested) for event in events):
            self._settled.clear()  # some of them may come to an end once more
        assert not [task for task, times in self._settled.items() if times > 1]
        if any(isinstance(command, RunTasks | RunGroup) for command in commands):
            self._check_limits()

    def _on_run(self, spec: TaskSpec, attempt: int, workers: list[int], results: set[int]) -> None:
        state = self._core.state
        assert not self._core.draining
        assert not self._over
        assert not state.paused
        assert attempt > self._attempts.get(spec.id, 0), "no attempt is sent twice"
        self._attempts[spec.id] = attempt
        assert results >= set(spec.uses)
        needs = state.kinds[spec.kind].spec.needs
        assert len(set(workers)) == needs.ranks
        for id_ in workers:
            worker = state.workers[id_]
            assert worker.takes_work
            assert state.attempt_on(worker.tasks[spec.id], worker) == attempt
            assert set(needs.tags) <= set(worker.tags)
            assert min(worker.free_cpus, worker.free_memory, worker.free_gpus) >= 0
            self.sent.setdefault(id_, []).append((spec.id, attempt))

    def _check_limits(self) -> None:
        """What is held keeps to the limits."""
        state, limits = self._core.state, self._limits
        held = [(worker, task) for worker in state.workers.values() for task in worker.tasks.values()]
        leads = [task for worker, task in held if worker.id == task.worker or not task.kind.is_gang]
        assert len(leads) <= (limits.concurrent or math.inf)
        hosts = Counter(worker.host for worker, _ in held)
        assert max(hosts.values()) <= (limits.per_host or math.inf)
        for label, most in limits.per_label.items():
            spec = [task.kind.spec for task in leads]
            assert sum(label in (*one.labels, *one.needs.tags) for one in spec) <= most


def begin(core: TaskScheduler) -> tuple[float, list[AnyEvent]]:
    events: list[AnyEvent] = [RunOpened(1), KindsRegistered(KINDS)]
    core.handle(events, 1000.0)
    return 1000.0, events


@story
@given(story=stories, choice=choices, limit=limits, seed=st.integers(0, 9))
def test_invariants_hold_and_the_record_tells_the_same(
    story: list[tuple[float, list[object]]], choice: SchedulerSettings, limit: LimitSettings, seed: int
) -> None:
    core = scheduler(choice, seed=seed, limits=limit)
    journal = [begin(core)]
    watch = Watch(core, limit)
    now = journal[0][0]
    for step_s, ideas in story:
        now += step_s
        events = [come_true(idea, core, watch.sent) for idea in ideas]
        watch.look(events, core.handle(events, now))
        journal.append((now, events))
    assert image(replayed(journal, choice, seed=seed, limits=limit).state) == image(core.state)


@story
@given(story=stories, choice=choices, limit=limits, cut=st.integers(0, 24))
def test_a_snapshot_goes_on_like_the_original(
    story: list[tuple[float, list[object]]], choice: SchedulerSettings, limit: LimitSettings, cut: int
) -> None:
    core = scheduler(choice, limits=limit)
    now, _ = begin(core)
    twin: TaskScheduler | None = None
    watch = Watch(core, limit)
    for number, (step_s, ideas) in enumerate(story):
        now += step_s
        if number == cut:
            twin = scheduler(choice, state=restored(image(core.state)), limits=limit)
            assert image(twin.state) == image(core.state)
        events = [come_true(idea, core, watch.sent) for idea in ideas]
        commands = core.handle(events, now)
        watch.look(events, commands)
        if twin is not None:
            assert twin.handle(events, now) == commands
            assert image(twin.state) == image(core.state)
            assert twin.next_deadline() == core.next_deadline()


@story
@given(story=stories, choice=choices, limit=limits)
def test_deadlines_come_to_rest(
    story: list[tuple[float, list[object]]], choice: SchedulerSettings, limit: LimitSettings
) -> None:
    """A tick at the deadline that was asked for moves it on: a hub is never kept busy by nothing."""
    core = scheduler(choice, limits=limit)
    now, _ = begin(core)
    watch = Watch(core, limit)
    for step_s, ideas in story:
        now += step_s
        core.handle([come_true(idea, core, watch.sent) for idea in ideas], now)
        if core.state.ended:
            continue
        for _ in range(5):
            due = core.next_deadline()
            if due > now:
                break
            core.handle([Tick()], now)
            if core.state.ended:
                break
        else:
            raise AssertionError(f"at {now} it still wants to be told at {due}")
