"""One simulated run: the real scheduler as hub of a virtual cluster.

The loop is that of ``runtime/hub.py`` without transport and journal. It may look at the scheduler's
state, and changes it through ``handle`` alone.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.errors import InvariantBroken
from mpiexec_runner.model.commands import AnyCommand, EndRun, RunTasks, SettleTasks, SettleWithout
from mpiexec_runner.model.events import (
    AnyEvent,
    KindsRegistered,
    RunOpened,
    SubmissionsClosed,
    TasksFinished,
    TasksSubmitted,
    Tick,
)
from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.sim.cluster import VirtualCluster
from mpiexec_runner.sim.faults import FaultPlan
from mpiexec_runner.sim.oracle import Oracle, foresee
from mpiexec_runner.sim.report import Cost, Report, Spread
from mpiexec_runner.sim.settings import ClusterSettings, ClusterShape
from mpiexec_runner.sim.work import VirtualWork
from mpiexec_runner.sim.worker import Observer

START_S = 1000.0
"""What virtual clocks show at the beginning."""
PORTION = 10_000
"""Tasks in one event."""
PATIENCE_TURNS = 1_000_000
"""A run in which so many turns settle no task will never end."""

AfterBatch = Callable[[TaskScheduler, Sequence[AnyEvent], Sequence[AnyCommand], float], None]
"""Is called after every batch with the scheduler, what came in, what went out, and the time."""


class Simulation:
    """One run of some work on a virtual cluster.

    Parameters
    ----------
    scheduler
        New, with its policies.
    work, shape, plan, settings
        What is to be done, on which workers, what goes wrong, and what everything else takes.
    label, seed
        What the report calls it; they decide nothing here.
    oracle
        Found here when left out: pass it where several simulations share it.
    observer, after_batch
        For tests and traces.
    requests
        What people ask for while it goes on: events, each with seconds after the start, in order.
    patience_turns
        A run in which so many turns settle no task is given up.
    """

    def __init__(
        self,
        scheduler: TaskScheduler,
        work: VirtualWork,
        shape: ClusterShape,
        plan: FaultPlan,
        settings: ClusterSettings,
        *,
        label: str = "",
        seed: int = 0,
        oracle: Oracle | None = None,
        observer: Observer | None = None,
        after_batch: AfterBatch | None = None,
        requests: Sequence[tuple[float, AnyEvent]] = (),
        patience_turns: int = PATIENCE_TURNS,
    ) -> None:
        self._scheduler, self._work, self._shape, self._settings = scheduler, work, shape, settings
        self._label, self._seed = label, seed
        self._workers = shape.make()
        self._oracle = oracle or oracle_of(work, shape)
        self._after_batch, self._requests = after_batch, requests
        self._patience_turns = patience_turns
        self._cluster = VirtualCluster(self._workers, work, plan, settings, observer)
        self._turns = self._last_settled = 0
        self._end: EndRun | None = None
        self._handled = 0
        self._scheduler_s = self._all_s = 0.0

    @property
    def cost(self) -> Cost:
        """What it cost; after :meth:`run`."""
        return Cost(self._scheduler_s, self._all_s)

    def run(self) -> Report:
        """Run it to its end.

        Raises
        ------
        InvariantBroken
            The run will never end, or the scheduler found a fault in itself.
        """
        begun = time.perf_counter()
        calendar, core = self._cluster.calendar, self._scheduler
        now = START_S
        self._turn(list(self._opening()), now)
        self._cluster.start(now)
        for delay_s, event in self._requests:
            calendar.at(now + delay_s, lambda at, event=event: calendar.say(event, at))  # type: ignore[misc]
        free = now
        while self._end is None:
            turn_s = max(self._settings.turn_s, self._settings.hub_task_s * self._handled)
            free = now + turn_s
            now = calendar.advance(self._cluster, free, core.next_deadline())
            self._turn(calendar.arrived(now) or [Tick()], now)
            self._turns += 1
            if self._turns - self._last_settled > self._patience_turns:
                raise InvariantBroken(self._stuck(now))
        self._all_s = time.perf_counter() - begun
        return self._report(self._end, now - START_S)

    def _opening(self) -> Iterator[AnyEvent]:
        """What a hub is told first."""
        yield RunOpened(1, len(self._workers))
        yield KindsRegistered(self._work.kinds)
        tasks = self._work.tasks
        for begin in range(0, len(tasks), PORTION):
            yield TasksSubmitted(list(tasks[begin : begin + PORTION]))
        yield SubmissionsClosed()

    def _turn(self, events: list[AnyEvent], now: float) -> None:
        """One batch of events, and what follows from it."""
        before = time.perf_counter()
        commands = self._scheduler.handle(events, now)
        self._scheduler_s += time.perf_counter() - before
        self._handled = sum(len(event.outcomes) for event in events if type(event) is TasksFinished)
        for command in commands:
            if type(command) is RunTasks:
                self._handled += len(command.tasks)
            elif isinstance(command, SettleTasks | SettleWithout):
                self._last_settled = self._turns
            elif isinstance(command, EndRun):
                self._end = command
        if commands:
            self._cluster.calendar.send(commands, now)
        if self._after_batch is not None:
            self._after_batch(self._scheduler, events, commands, now)

    def _stuck(self, now: float) -> str:
        counts = self._scheduler.state.counts
        left = ", ".join(f"{counts[state]} {state.name}" for state in TaskState if not state.terminal)
        return (
            f"after {now - START_S:g} virtual seconds the simulated run gets nowhere (placement "
            f"{self._label or 'unknown'}, seed {self._seed}): no task came to its end in "
            f"{self._patience_turns} turns; {left}"
        )

    def _report(self, end: EndRun, makespan_s: float) -> Report:
        state, cluster, workers = self._scheduler.state, self._cluster, self._workers
        span = makespan_s or 1.0
        slots = sum(worker.info.slots for worker in workers)
        for worker in workers:  # those that still run something lose it
            for burst in list(worker.bursts):
                cluster.leave(burst, START_S + makespan_s)
        by_worker = tuple(worker.busy_s / (worker.info.slots * span) for worker in workers)
        return Report(
            placement=self._label,
            seed=self._seed,
            end=end.end,
            why=end.why,
            workers=len(workers),
            slots=slots,
            tasks=len(self._work.tasks),
            makespan_s=makespan_s,
            bound_s=self._oracle.bound_s,
            oracle_s=self._oracle.schedule_s,
            utilisation=sum(worker.busy_s for worker in workers) / (slots * span),
            useful=sum(worker.useful_s for worker in workers) / (slots * span),
            of_workers=Spread.of(by_worker),
            by_worker=by_worker,
            succeeded=state.counts[TaskState.SUCCEEDED],
            failed=state.counts[TaskState.FAILED],
            cancelled=state.counts[TaskState.CANCELLED],
            skipped=state.counts[TaskState.SKIPPED],
            attempts=cluster.attempts,
            retries=cluster.retries,
            speculations=cluster.speculations,
            returned=cluster.returned,
            superseded=state.superseded,
            lost_workers=state.lost_workers,
            turns=self._turns,
        )


def oracle_of(work: VirtualWork, shape: ClusterShape) -> Oracle:
    """What somebody who knows everything could do on a cluster of that shape."""
    workers = range(1, shape.workers + 1)
    return foresee(work, [shape.slots] * shape.workers, [shape.slowness(worker) for worker in workers])
