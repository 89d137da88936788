"""What would become of a configuration on a cluster that is not there: one simulated run for each placement.

The tasks are those of the configuration, the scheduler is the real one; nothing is started or written.
"""

import math
from pathlib import Path
from typing import NamedTuple

import msgspec

from mpiexec_runner.app.wiring import make_scheduler
from mpiexec_runner.config.expansion import Workload, expand
from mpiexec_runner.config.loading import load
from mpiexec_runner.config.models import RunConfig
from mpiexec_runner.errors import UserError
from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.sim.faults import FaultPlan, draw_plan, parse_faults
from mpiexec_runner.sim.report import Cost, Report
from mpiexec_runner.sim.settings import ClusterSettings, ClusterShape, parse_slow, shape_for
from mpiexec_runner.sim.simulation import Simulation, oracle_of
from mpiexec_runner.sim.work import Draw, VirtualWork, lay_out, measured_law, parse_law
from mpiexec_runner.storage.results import read_results
from mpiexec_runner.storage.rundir import RunDirectory, default_name

SUCCEEDED = TaskState.SUCCEEDED.name.lower()


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be simulated.

    ``durations`` are laws, as ``LAW`` or ``KIND=LAW``; ``measured`` is the directory of a run whose durations
    are taken. What is ``None`` or empty is as the configuration says.
    """

    config: str
    overrides: tuple[str, ...] = ()
    workers: int
    slots: int | None = None
    hosts: int = 1
    durations: tuple[str, ...] = ()
    measured: str = ""
    slow: tuple[str, ...] = ()
    faults: str = ""
    placements: tuple[str, ...] = ()
    seed: int | None = None


class Answer(NamedTuple):
    """What was found: a report for each placement, in the order in which they were asked for."""

    reports: list[Report]
    costs: list[Cost]


class Scene(NamedTuple):
    """All that the simulations of one question have in common."""

    config: RunConfig
    work: VirtualWork
    shape: ClusterShape
    plan: FaultPlan
    seed: int


def simulate(question: Question) -> Answer:
    """Run one simulation for each placement.

    Raises
    ------
    UserError, ConfigError
        When the question or its configuration is not right.
    """
    scene = set_up(question)
    config = scene.config
    placements = question.placements or (config.scheduler.placement,)
    # A wrong name is said before anything is simulated.
    schedulers = [
        make_scheduler(
            config.scheduler.model_copy(update={"placement": name}),
            config.heartbeat,
            scene.seed,
            limits=config.limits,
        )
        for name in placements
    ]
    oracle = oracle_of(scene.work, scene.shape)
    answer = Answer([], [])
    for name, scheduler in zip(placements, schedulers, strict=True):
        simulation = Simulation(
            scheduler,
            scene.work,
            scene.shape,
            scene.plan,
            ClusterSettings.under(config.heartbeat),
            label=name,
            seed=scene.seed,
            oracle=oracle,
        )
        answer.reports.append(simulation.run())
        answer.costs.append(simulation.cost)
    return answer


def set_up(question: Question) -> Scene:
    """Make the cluster and its work."""
    config = load(Path(question.config), question.overrides)
    workload = expand(config)
    seed = config.seed if question.seed is None else question.seed
    work = _work(question, workload, seed)
    shape = shape_for(
        workload.kinds,
        question.workers,
        question.slots or config.workers.slots,
        min(question.hosts, question.workers),
        tuple(parse_slow(text) for text in question.slow),
    )
    rates = parse_faults(question.faults)
    plan = draw_plan(
        rates,
        shape.workers,
        [spec.id for spec in work.tasks],
        oracle_of(work, shape).schedule_s if rates.strikes_without_time else 0.0,
        config.scheduler.crash_limit,
        seed,
    )
    return Scene(config, work, shape, plan, seed)


def _work(question: Question, workload: Workload, seed: int) -> VirtualWork:
    laws: dict[str, Draw] = {}
    names = {kind.name for kind in workload.kinds}
    for text in question.durations:
        name, sign, law = text.rpartition("=")
        if sign and name not in names:
            raise UserError(
                f"--duration {text}: there is no kind of tasks {name!r}. There are {', '.join(sorted(names))}"
            )
        laws[name] = parse_law(law)
    known_s: dict[int, float] = {}
    if question.measured:
        measured_s = _measured(Path(question.measured))
        laws.setdefault("", measured_law(sorted(measured_s.values())))
        for spec in workload.tasks:
            lasts_s = measured_s.get(spec.name or default_name(spec.id))
            if lasts_s is not None:
                known_s[spec.id] = lasts_s
    return lay_out(workload.kinds, workload.tasks, laws, seed, known_s)


def _measured(run_dir: Path) -> dict[str, float]:
    """How long the tasks of a run took, by name, of those that succeeded."""
    table = read_results(RunDirectory.open(run_dir))
    rows = zip(table.column("name"), table.column("state"), table.column("elapsed_s"), strict=True)
    found = {
        name: float(elapsed_s)
        for name, state, elapsed_s in rows
        if state == SUCCEEDED and math.isfinite(elapsed_s) and elapsed_s >= 0
    }
    if not found:
        raise UserError(f"--durations {run_dir}: no task of that run has succeeded, so none was measured")
    return found
