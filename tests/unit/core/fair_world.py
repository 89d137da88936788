"""A small world of workers that do as they are told, on a clock of its own; they may die or fall silent.

Messages take their time and keep their order between two ends. Everything follows from one seed.
"""

import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from core_env import image, scheduler

from mpiexec_runner.core import invariants
from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.settings import HeartbeatSettings, LimitSettings, SchedulerSettings
from mpiexec_runner.model.commands import (
    AnyCommand,
    CancelAttempts,
    EndRun,
    RetractTasks,
    RunGroup,
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
    MoveRequested,
    PauseRequested,
    PriorityRequested,
    RebalanceRequested,
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
from mpiexec_runner.model.tasks import Failure, FailureClass, Outcome, TaskKind, TaskSpec, Verdict, When
from mpiexec_runner.model.workers import WorkerInfo

HEARTBEAT = HeartbeatSettings(interval_s=1.0, timeout_s=9.0)
TOLD_S = 0.005
"""An attempt that has lasted this long is told to have begun."""
TURNS = 20_000
"""More turns of the hub than any of these worlds needs."""

Key = tuple[int, int]


@dataclass
class Fate:
    """What may befall a world: probabilities, and seconds."""

    fails: float = 0.1
    long: float = 0.05
    cancels: float = 0.0
    stops: int = 0
    crashes: int = 0
    hangs: int = 0
    repeats: float = 0.0
    slow: float = 0.0
    """Part of the workers on which everything takes ten times as long."""
    depends: float = 0.0
    """Part of the tasks that depend on up to three of those before them."""
    asks: int = 0
    """Requests of people: to move, reprioritise, rebalance, pause, disable."""


class World:
    """A hub, its workers, and all that is on its way between them."""

    def __init__(
        self,
        seed: int,
        infos: Sequence[WorkerInfo],
        kinds: tuple[TaskKind, ...],
        tasks: int,
        fate: Fate,
        settings: SchedulerSettings,
        limits: LimitSettings | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.seed, self.fate, self.settings = seed, fate, settings
        self.limits = limits or LimitSettings()
        self.core = self.hub()
        self.now = 1000.0
        self.infos = dict(enumerate(infos, start=1))
        self.slow = {worker for worker in self.infos if self.random.random() < fate.slow}
        self.settled: Counter[int] = Counter()
        self.ends: list[EndRun] = []
        self.journal: list[tuple[float, list[AnyEvent]]] = []
        self._mates: dict[int, Mate] = {}
        self._inbox: list[AnyEvent] = []
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._last: dict[int, float] = {}
        specs = [self._spec(id_, 1 + id_ % len(kinds)) for id_ in range(1, tasks + 1)]
        self._open(1, KindsRegistered(kinds), TasksSubmitted(specs))
        self._plan(tasks)

    def hub(self) -> TaskScheduler:
        """A core that has seen nothing yet."""
        return scheduler(self.settings, seed=self.seed, heartbeat=HEARTBEAT, limits=self.limits)

    def _spec(self, id_: int, kind: int) -> TaskSpec:
        draw = self.random
        after: tuple[int, ...] = ()
        if id_ > 1 and draw.random() < self.fate.depends:
            after = tuple({draw.randrange(max(1, id_ - 20), id_) for _ in range(draw.randint(1, 3))})
        uses = tuple(before for before in after if draw.random() < 0.5)
        when = draw.choice([When.SUCCESS, When.SUCCESS, When.ANY, When.FAILURE])
        site = draw.choice(["", "", "a", "b"])
        return TaskSpec(id_, kind, b"", after=after, uses=uses, when=when, site=site)

    def run(self) -> None:
        """Let it go on until the run ends complete."""
        for _ in range(TURNS):
            due = self.core.next_deadline()
            if self._agenda and self._agenda[0][0] <= due:
                self.now = max(self.now, self._agenda[0][0])
                while self._agenda and self._agenda[0][0] <= self.now:
                    heapq.heappop(self._agenda)[2]()
            else:
                self.now = max(self.now, due)
            if self._inbox or self.now >= due:
                self._turn()
            if self.ends and self.ends[-1].end == "complete":
                return
            if self.core.state.ended:
                self._open(self.core.state.epoch + 1)
        raise AssertionError(f"no end in sight at {self.now}: {self.core.state.counts}")

    def at(self, delay_s: float, what: Callable[[], None]) -> None:
        """Have something happen later."""
        heapq.heappush(self._agenda, (self.now + delay_s, next(self._order), what))

    def post(self, mate: "Mate", event: AnyEvent) -> None:
        """A message from a worker to the hub of its time; it arrives also after its sender died."""
        epoch = self.core.state.epoch

        def arrive() -> None:
            if self.core.state.epoch == epoch:
                self._inbox.append(event)

        for _ in range(1 + (self.random.random() < self.fate.repeats)):
            self._deliver(mate.id, arrive)

    def tell(self, worker: int, command: AnyCommand) -> None:
        """A message from the hub to a worker."""
        mate = self._mates.get(worker)
        if mate is not None:
            self._deliver(-worker, lambda: mate.take(command))

    def _deliver(self, line: int, what: Callable[[], None]) -> None:
        arrival = max(self._last.get(line, 0.0), self.now + self.random.uniform(1e-5, 0.01))
        self._last[line] = arrival
        self.at(arrival - self.now, what)

    def _turn(self) -> None:
        events = self._inbox or [Tick()]
        self._inbox = []
        commands = self.core.handle(events, self.now)
        self.journal.append((self.now, events))
        self._check()
        for command in commands:
            match command:
                case RunGroup():
                    for worker in command.workers:
                        self.tell(worker, command)
                case RunTasks() | RetractTasks() | CancelAttempts() | WelcomeWorker():
                    self.tell(command.worker, command)
                case SettleTasks():
                    self.settled.update(outcome.task for outcome in command.outcomes)
                case SettleWithout():
                    self.settled[command.task] += 1
                case EndRun():
                    self.ends.append(command)

    def _check(self) -> None:
        """Nothing is oversubscribed, and what begins may begin."""
        state, limits = self.core.state, self.limits
        invariants.check(state)
        held: Counter[str] = Counter()
        leads: Counter[str] = Counter()
        for worker in state.workers.values():
            assert min(worker.free_cpus, worker.free_memory, worker.free_gpus) >= 0
            for task in worker.tasks.values():
                assert set(task.kind.spec.needs.tags) <= set(worker.tags)
                held[worker.host] += 1
                if worker.id == task.worker or not task.kind.is_gang:
                    leads.update(["", *task.kind.spec.labels])
        assert leads[""] <= (limits.concurrent or len(state.tasks))
        assert all(count <= (limits.per_host or count) for count in held.values())
        assert all(leads[label] <= most for label, most in limits.per_label.items())

    def _open(self, epoch: int, *events: AnyEvent) -> None:
        """Begin a life of the run: nobody is left of the one before but its record."""
        self._mates.clear()
        self._inbox = [RunOpened(epoch, len(self.infos)), *events, SubmissionsClosed()]
        if self.journal:
            again = self.hub()
            for now, batch in self.journal:
                again.handle(batch, now)
            assert image(again.state) == image(self.core.state)
            self.core = again
        self._turn()
        for worker in self.infos:
            self._arrive(worker)

    def _arrive(self, worker: int) -> None:
        mate = self._mates[worker] = Mate(self, worker)
        self.post(mate, WorkerJoined(worker, 0, self.infos[worker]))

    # --- misfortune

    def _plan(self, tasks: int) -> None:
        fate, uniform = self.fate, self.random.uniform
        for _ in range(fate.crashes):
            self.at(uniform(0, 3), self._crash)
        for _ in range(fate.hangs):
            self.at(uniform(0, 3), self._hang)
        for number in range(fate.stops):
            abandon = self.random.random() < 0.5
            self.at(uniform(0, 3), lambda abandon=abandon: self._stop(abandon=abandon))
            if number % 2:
                self.at(uniform(0, 3), self._lose_hub)
        for task in range(1, tasks + 1):
            if self.random.random() < fate.cancels:
                self.at(uniform(0, 2), lambda task=task: self._inbox.append(CancelRequested((task,))))

        for _ in range(fate.asks):
            self.at(uniform(0, 3), lambda: self._ask(tasks))

    def _ask(self, tasks: int) -> None:
        draw = self.random
        task, worker = draw.randint(1, tasks), draw.choice(list(self.infos))
        match draw.randrange(5):
            case 0:
                asked: tuple[AnyEvent, ...] = (MoveRequested(task, worker),)
            case 1:
                asked = (PriorityRequested((task, 1 + task // 2), draw.choice([1, 9, 10])),)
            case 2:
                asked = (RebalanceRequested(),)
            case 3:
                asked = (PauseRequested(True), PauseRequested(False))
            case _:
                asked = (WorkerSwitched(worker, False), WorkerSwitched(worker, True))
        for number, event in enumerate(asked):
            self.at(number * draw.uniform(0, 3), lambda event=event: self._inbox.append(event))

    def _crash(self) -> None:
        """A worker dies; a new process takes its rank. The hub hears of it now, later, or never."""
        worker = self.random.choice(list(self.infos))
        mate = self._mates.get(worker)
        if mate is None or mate.dead:
            return
        mate.dead = True
        if self.random.random() < 0.5:
            self.post(mate, WorkerLeft(worker, "rank died"))
        self.at(self.random.uniform(0.1, 15), lambda: self._arrive(worker))

    def _hang(self) -> None:
        mate = self._mates.get(self.random.choice(list(self.infos)))
        if mate is not None:
            mate.silent_until = self.now + self.random.uniform(0.1, 15)

    def _stop(self, *, abandon: bool) -> None:
        self._inbox.append(DrainRequested(StopReason.SIGNAL))
        if abandon:
            self.at(0.05, lambda: self._inbox.append(DrainRequested(StopReason.SIGNAL, abandon=True)))

    def _lose_hub(self) -> None:
        """The hub dies between two turns, and another begins with its record."""
        self._open(self.core.state.epoch + 1)


@dataclass
class Mate:
    """A worker that does as it is told."""

    world: World
    id: int
    dead: bool = False
    silent_until: float = 0.0
    incarnation: int = 0
    line: deque[Key] = field(default_factory=deque)
    running: dict[Key, int] = field(default_factory=dict)
    groups: dict[Key, tuple[int, ...]] = field(default_factory=dict)
    over: set[Key] = field(default_factory=set)

    def take(self, command: AnyCommand) -> None:
        """Do what the hub says, unless silent: then afterwards."""
        if self.dead:
            return
        if self.world.now < self.silent_until:
            self.world.at(self.silent_until - self.world.now, lambda: self.take(command))
            return
        match command:
            case WelcomeWorker():
                self._welcomed(command.incarnation)
            case RunTasks():
                keys = zip((spec.id for spec in command.tasks), command.attempts, strict=True)
                if command.urgent:
                    self.line.extendleft(reversed(list(keys)))
                else:
                    self.line.extend(keys)
            case RunGroup():
                key = (command.task.id, command.attempt)
                self.groups[key] = command.workers
                self.line.append(key)
            case RetractTasks():
                self._say(TasksReturned(self.id, self._remove(command.attempts)))
            case CancelAttempts():
                ended = self._remove(command.attempts)
                for key in command.attempts:
                    if self.running.pop(key, None) is not None:
                        ended.append(key)
                overdue = Failure(FailureClass.TIMEOUT, "overdue") if command.overdue else None
                verdict = Verdict.FAILED if overdue else Verdict.CANCELLED
                outcomes = [Outcome(*key, verdict, 0.0, 0.0, failure=overdue) for key in ended]
                self._say(TasksFinished(self.id, outcomes))
        self._begin()

    def _welcomed(self, incarnation: int) -> None:
        first = self.incarnation == 0
        self.incarnation = incarnation
        self.line.clear()
        for key in [key for key in self.running if not self._is_joined(key)]:
            del self.running[key]  # a rank that waits for the others of its group can be told not to
        if self.world.random.random() < 0.5:  # else what runs cannot be stopped, and its results come late
            self.running.clear()
        if first:
            self._beat()
        else:
            self._say(WorkerBeat(self.id, incarnation))

    def _remove(self, keys: list[Key]) -> list[Key]:
        found = [key for key in keys if key in self.line]
        for key in found:
            self.line.remove(key)
        return found

    def _begin(self) -> None:
        world = self.world
        while self.line and len(self.running) < world.infos[self.id].slots:
            key = self.line.popleft()
            mark = self.running[key] = next(world._order)
            lasts_s = world.random.choice([1e-5, 1e-3, 0.02])
            if world.random.random() < world.fate.long:
                lasts_s = 1.0
            if self.id in world.slow:
                lasts_s *= 10
            if lasts_s > TOLD_S:
                world.at(TOLD_S, lambda key=key, mark=mark: self._if_runs(key, mark, self._told))
            world.at(lasts_s, lambda key=key, mark=mark, s=lasts_s: self._end(key, mark, s))

    def _if_runs(self, key: Key, mark: int, then: Callable[[Key], None]) -> None:
        if self.running.get(key) == mark and not self.dead:
            then(key)

    def _told(self, key: Key) -> None:
        self._say(TasksStarted(self.id, [key]))

    def _end(self, key: Key, mark: int, lasts_s: float) -> None:
        if self.dead:
            return
        if self.world.now < self.silent_until:
            self.world.at(self.silent_until - self.world.now, lambda: self._end(key, mark, lasts_s))
            return
        if self.running.get(key) == mark and not self._is_joined(key):
            self.world.at(0.05, lambda: self._end(key, mark, lasts_s))
            return
        if self.running.get(key) == mark:
            del self.running[key]
            self.over.add(key)
            fails = self.world.random.random() < self.world.fate.fails
            verdict = Verdict.FAILED if fails else Verdict.SUCCEEDED
            self._say(TasksFinished(self.id, [Outcome(*key, verdict, 0.0, lasts_s)]))
        self._begin()

    def _is_joined(self, key: Key) -> bool:
        """Whether all ranks of a group have begun: none can end before."""
        ranks = self.groups.get(key, ())
        mates = [self.world._mates.get(rank) for rank in ranks]
        return all(mate is not None and (key in mate.running or key in mate.over) for mate in mates)

    def _beat(self) -> None:
        if self.dead or self.world._mates.get(self.id) is not self:
            return
        if self.world.now >= self.silent_until:
            self._say(WorkerBeat(self.id, self.incarnation))
        self.world.at(HEARTBEAT.interval_s, self._beat)

    def _say(self, event: AnyEvent) -> None:
        if self.world.now < self.silent_until:
            self.world.at(self.silent_until - self.world.now, lambda: self._say(event))
        elif not self.dead:
            self.world.post(self, event)
