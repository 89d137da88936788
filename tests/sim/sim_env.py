"""The harness of tests with virtual clusters; ``conftest.py`` says how it is used."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sim_watch import Watch

from mpiexec_runner.app.wiring import make_scheduler
from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.settings import HeartbeatSettings, LimitSettings, SchedulerSettings
from mpiexec_runner.model.events import AnyEvent
from mpiexec_runner.model.tasks import CallByName, Needs, RetryRule, TaskKind, TaskSpec, When
from mpiexec_runner.sim.faults import FaultPlan, draw_plan, parse_faults
from mpiexec_runner.sim.report import Report
from mpiexec_runner.sim.settings import ClusterSettings, ClusterShape, parse_slow, shape_for
from mpiexec_runner.sim.simulation import Simulation, oracle_of
from mpiexec_runner.sim.work import VirtualWork

HEARTBEAT = HeartbeatSettings(interval_s=1.0, timeout_s=9.0)
"""Closer than usual, so that a worker that hangs is soon found out."""
PATIENCE_TURNS = 20_000

Make = Callable[[SchedulerSettings, HeartbeatSettings, int], TaskScheduler]


def kind(id_: int = 1, *, retries: int = 0, backoff_s: float = 1.0, **other: object) -> TaskKind:
    """A kind; ``other`` are fields of TaskKind."""
    rule = RetryRule(retries, backoff_s, 0.0)
    return TaskKind(id=id_, name=f"kind{id_}", work=CallByName("tests:work"), retry=rule, **other)


def jobs(
    lasts_s: Sequence[float], *, retries: int = 0, needs: Needs | None = None, **other: object
) -> VirtualWork:
    """Tasks of one kind that take so long."""
    one = kind(retries=retries, needs=needs or Needs(), **other)
    return VirtualWork((one,), [TaskSpec(id_, 1, b"") for id_ in range(1, len(lasts_s) + 1)], lasts_s)


def web(
    count: int,
    seed: int,
    *,
    kinds: Sequence[TaskKind] | None = None,
    most_before: int = 3,
    when: When = When.SUCCESS,
) -> VirtualWork:
    """Tasks of some kinds that depend on up to ``most_before`` earlier ones each, drawn from a seed."""
    draws = random.Random(seed)
    kinds = tuple(kinds or (kind(),))
    tasks = []
    for id_ in range(1, count + 1):
        before = draws.sample(range(1, id_), min(id_ - 1, draws.randint(0, most_before)))
        tasks.append(TaskSpec(id_, draws.choice(kinds).id, b"", after=tuple(sorted(before)), when=when))
    return VirtualWork(kinds, tasks, [draws.choice([0.001, 0.05, 1.0, 5.0]) for _ in tasks])


@dataclass
class Watched:
    """A run that was watched to its end."""

    report: Report
    watch: Watch
    simulation: Simulation

    @property
    def trace(self) -> list[tuple[object, ...]]:
        """What workers really did, in order: (time, begun or how it ended, worker, task, attempt)."""
        return self.watch.trace


def simulate(work: VirtualWork, workers: int = 4, **how: object) -> Report:
    """Run and watch; see :func:`watched`."""
    return watched(work, workers, **how).report


def watched(
    work: VirtualWork,
    workers: int = 4,
    *,
    faults: str | FaultPlan = "",
    seed: int = 0,
    slots: int = 1,
    hosts: int = 1,
    slow: str = "",
    shape: ClusterShape | None = None,
    scheduler: SchedulerSettings | None = None,
    heartbeat: HeartbeatSettings = HEARTBEAT,
    limits: LimitSettings | None = None,
    requests: Sequence[tuple[float, AnyEvent]] = (),
    make: Make = make_scheduler,
    patience_turns: int = PATIENCE_TURNS,
    end: str = "complete",
) -> Watched:
    """Run some work on a virtual cluster, watch that all is right, and hold the run to its end."""
    scheduler = scheduler or SchedulerSettings()
    if shape is None:
        slow_ones = (parse_slow(slow),) if slow else ()
        shape = shape_for(work.kinds, workers, slots, min(hosts, workers), slow_ones)
    if isinstance(faults, str):
        ids = [spec.id for spec in work.tasks]
        oracle_s = oracle_of(work, shape).schedule_s
        plan = draw_plan(parse_faults(faults), shape.workers, ids, oracle_s, scheduler.crash_limit, seed)
    else:
        plan = faults
    watch = Watch(work.kinds, limits or LimitSettings())
    simulation = Simulation(
        make(scheduler, heartbeat, seed),
        work,
        shape,
        plan,
        ClusterSettings.under(heartbeat),
        label=scheduler.placement,
        seed=seed,
        observer=watch,
        after_batch=watch.after_batch,
        requests=requests,
        patience_turns=patience_turns,
    )
    try:
        report = simulation.run()
        assert report.end == end, report.why
        watch.check_end(report, [spec.id for spec in work.tasks])
    except Exception as error:
        error.add_note(f"again with: seed={seed}, scheduler={scheduler!r}, shape={shape}, plan={plan}")
        error.add_note(f"{len(work.tasks)} tasks, kinds {work.kinds}")
        raise
    return Watched(report, watch, simulation)
