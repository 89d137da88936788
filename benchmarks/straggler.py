"""One worker of eight takes ten times longer: makespans, divided by that of an oracle that knows everything.

Real ones, on nine ranks whose tasks only sleep, and simulated ones of the same shape.
"""

import itertools
from collections.abc import Mapping

from benchmarks.measure import Found, Timing, in_turns, under_mpi
from benchmarks.report import Missing, Row, single
from mpiexec_runner.app.wiring import make_scheduler
from mpiexec_runner.core.settings import HeartbeatSettings, SchedulerSettings
from mpiexec_runner.model.tasks import CallByName, TaskKind, TaskSpec
from mpiexec_runner.sim.faults import FaultPlan
from mpiexec_runner.sim.settings import ClusterSettings, ClusterShape, Slow
from mpiexec_runner.sim.simulation import Simulation, oracle_of
from mpiexec_runner.sim.work import VirtualWork, lay_out, parse_law

WORKERS = 8
FACTOR = 10.0
MOST = 1.15
SIMULATED = 20
WORKLOADS = {
    "300 equal tasks of 40 ms": ("constant:0.04", 300),
    "200 log-normal tasks (median 40 ms, sigma 0.5)": ("lognormal:0.04,0.5", 200),
}
SETTINGS: dict[str, dict[str, str]] = {
    "ours, dynamic, second attempts": {"placement": "dynamic", "speculation": "true"},
    "ours, as by default": {},
    "ours, least_loaded, no second attempts": {"placement": "least_loaded", "speculation": "false"},
}
HELD_TO_IT = "ours, dynamic, second attempts"


def straggler(timing: Timing) -> list[Row]:
    """Ratios to the oracle: at most 1.15 with what is made for slow workers."""
    seeds = itertools.count(1)
    real = in_turns({"ours": lambda: _real(next(seeds))}, timing.rounds)["ours"]
    rows = []
    for what, (law, tasks) in WORKLOADS.items():
        for name in SETTINGS:
            found = real if isinstance(real, Missing) else [each[what][name] for each in real]
            rows.append(_row(what, name, found))
        for name, settings in SETTINGS.items():
            ratios = [_simulated(law, tasks, seed, settings) for seed in range(1, SIMULATED + 1)]
            rows.append(_row(f"{what}, simulated", name, ratios))
    return rows


def durations_s(law: str, tasks: int, seed: int) -> list[float]:
    """How long each task takes on an ordinary worker."""
    return list(_work(law, tasks, seed).lasts_s)


def _work(law: str, tasks: int, seed: int) -> VirtualWork:
    kind = TaskKind(id=1, name="nap", work=CallByName("benchmarks.contestants.work:nap"))
    specs = [TaskSpec(id_, 1, b"") for id_ in range(1, tasks + 1)]
    return lay_out((kind,), specs, {"": parse_law(law)}, seed)


def _shape() -> ClusterShape:
    return ClusterShape(workers=WORKERS, slow=(Slow(1, WORKERS, FACTOR),))


def _real(seed: int) -> Found:
    """Of each workload and each setting, the ratio."""
    found = under_mpi("slow_rank", seed, ranks=WORKERS + 1)["makespans_s"]
    ratios: Found = {}
    for what, (law, tasks) in WORKLOADS.items():
        oracle_s = oracle_of(_work(law, tasks, seed), _shape()).schedule_s
        ratios[what] = {name: makespan_s / oracle_s for name, makespan_s in found[what].items()}
    return ratios


def _simulated(law: str, tasks: int, seed: int, settings: Mapping[str, str]) -> float:
    scheduler = make_scheduler(SchedulerSettings.model_validate(settings), HeartbeatSettings(), seed)
    work, shape, cluster = _work(law, tasks, seed), _shape(), ClusterSettings.under(HeartbeatSettings())
    return Simulation(scheduler, work, shape, FaultPlan(), cluster, seed=seed).run().ratio


def _row(what: str, name: str, samples: list[float] | Missing) -> Row:
    unit, at_most = "x oracle", MOST if name == HELD_TO_IT else None
    if isinstance(samples, Missing):
        target = "" if at_most is None else f"<= {at_most:g}"
        return Row(benchmark=what, contestant=name, unit=unit, target=target, note=samples.why)
    return single(what, name, unit, samples, at_most=at_most)
