"""``python -m benchmarks.defaults [PART...]``: simulations from which defaults of the scheduler are chosen.

Many virtual runs, each compared with an oracle's schedule; what was found is in
docs/adr/0012-scheduling-defaults.md. It is no benchmark: nothing in it depends on the machine.
"""

import argparse
import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from mpiexec_runner.app.wiring import make_scheduler
from mpiexec_runner.core.settings import HeartbeatSettings, SchedulerSettings
from mpiexec_runner.errors import InvariantBroken
from mpiexec_runner.model.commands import RunEnd
from mpiexec_runner.model.tasks import CallByName, RetryRule, TaskKind, TaskSpec
from mpiexec_runner.sim.faults import draw_plan, parse_faults
from mpiexec_runner.sim.settings import ClusterSettings, ClusterShape, Slow
from mpiexec_runner.sim.simulation import Simulation, oracle_of
from mpiexec_runner.sim.work import VirtualWork, lay_out, parse_law

SEEDS = range(1, 6)
TASK_S = 20.0
PATIENCE_TURNS = 20_000
"""A run that settles nothing in so many turns counts as one that never ends."""
LAWS = {
    "equal": "constant:1",
    "uniform": "uniform:0.5,1.5",
    "log-normal 0.5": "lognormal:1,0.5",
    "log-normal 1": "lognormal:1,1",
    "bimodal": "bimodal:0.5,5,0.1",
}
"""Durations in units of a task."""
STEP = (1.3 / 0.7) ** (1 / 7)
SPEEDS = {
    "alike": (),
    "1/8 ten times slower": (Slow(1, 8, 10.0),),
    # Eight speeds from 1.3 to 0.7, in even steps of their logarithm: one of each among eight neighbours.
    "0.7 to 1.3": (Slow(1, 1, 1 / 1.3), Slow(4, 8, STEP**4), Slow(2, 4, STEP**2), Slow(1, 2, STEP)),
}
SMALL = ((8, 1, 40), (8, 1, 10), (64, 1, 10))
LARGE = ((64, 4, 10), (512, 1, 4))
"""Clusters: workers, slots of each, and tasks for each slot."""
UNEVEN = ("log-normal 0.5", "log-normal 1", "bimodal")
TWO_SPEEDS = ("alike", "1/8 ten times slower")
FAULTS = {
    "none": "",
    "some": "fail=0.01,drag=0.02,kill={few},slow={few},slow_s=200",
}
"""``few`` is one of sixteen workers, at least one."""


class Case(NamedTuple):
    """One simulated run."""

    part: str
    law: str
    speeds: str
    workers: int
    slots: int
    per_slot: int
    faults: str
    seed: int
    placement: str
    speculation: bool
    prefetch_s: float = 0.05
    task_s: float = TASK_S
    stealing: bool = True


class Found(msgspec.Struct, frozen=True):
    """What became of it."""

    case: Case
    ratio: float
    attempts: int
    doubled: int
    complete: bool


BOTH = ("least_loaded", "dynamic")


def cases_of_placement() -> Iterator[Case]:
    """All workloads on small clusters, with each placement that could be a default."""
    for seed, law, speeds, cluster, faults in itertools.product(SEEDS, LAWS, SPEEDS, SMALL, FAULTS):
        for placement, speculation in itertools.product(BOTH, (True, False)):
            yield Case("placement", law, speeds, *cluster, faults, seed, placement, speculation)


def cases_of_large() -> Iterator[Case]:
    """Some workloads on large clusters, likewise."""
    for seed, law, speeds, cluster, faults in itertools.product(SEEDS, UNEVEN, TWO_SPEEDS, LARGE, FAULTS):
        for placement, speculation in itertools.product(BOTH, (True, False)):
            yield Case("large", law, speeds, *cluster, faults, seed, placement, speculation)


def cases_of_others() -> Iterator[Case]:
    """The other placements, on small clusters, with second attempts."""
    others = ("round_robin", "random", "weighted", "capability", "priority")
    for seed, law, speeds, cluster, faults in itertools.product(SEEDS, LAWS, SPEEDS, SMALL, FAULTS):
        for placement in others:
            yield Case("others", law, speeds, *cluster, faults, seed, placement, True)


def cases_of_prefetch() -> Iterator[Case]:
    """Short tasks, where it matters how many wait at the workers."""
    windows = (0.0, 0.01, 0.05, 0.2, 1.0)
    for seed, law, speeds, task_s in itertools.product(SEEDS, UNEVEN, TWO_SPEEDS, (0.001, 0.02)):
        for prefetch_s in windows:
            yield Case(
                "prefetch", law, speeds, 8, 1, 250, "none", seed, "least_loaded", True, prefetch_s, task_s
            )


def cases_of_stealing() -> Iterator[Case]:
    """Whether to take work back, where there is some to be taken."""
    for seed, law, speeds, task_s in itertools.product(SEEDS, UNEVEN, TWO_SPEEDS, (0.001, 0.02)):
        for stealing in (True, False):
            yield Case(
                "stealing", law, speeds, 8, 1, 250, "none", seed, "least_loaded", True, 0.05, task_s, stealing
            )


PARTS: dict[str, Callable[[], Iterator[Case]]] = {
    "placement": cases_of_placement,
    "large": cases_of_large,
    "others": cases_of_others,
    "prefetch": cases_of_prefetch,
    "stealing": cases_of_stealing,
}


def work_of(law: str, tasks: int, task_s: float, seed: int) -> VirtualWork:
    """Tasks of one kind, each of which may be tried again."""
    kind = TaskKind(id=1, name="work", work=CallByName("benchmarks:work"), retry=RetryRule(max=3))
    draw = parse_law(LAWS[law])
    specs = [TaskSpec(id_, 1, b"") for id_ in range(1, tasks + 1)]
    return lay_out((kind,), specs, {"": lambda draws: task_s * draw(draws)}, seed)


def run(case: Case) -> Found:
    """Simulate one run."""
    shape = ClusterShape(
        workers=case.workers, hosts=case.workers, slots=case.slots, cores=case.slots, slow=SPEEDS[case.speeds]
    )
    work = work_of(case.law, case.workers * case.slots * case.per_slot, case.task_s, case.seed)
    oracle = oracle_of(work, shape)
    rates = parse_faults(FAULTS[case.faults].format(few=max(1, case.workers // 16)))
    settings = SchedulerSettings(
        placement=case.placement,
        speculation=case.speculation,
        prefetch_s=case.prefetch_s,
        work_stealing=case.stealing,
    )
    heartbeat = HeartbeatSettings()
    ids = [spec.id for spec in work.tasks]
    plan = draw_plan(rates, case.workers, ids, oracle.schedule_s, settings.crash_limit, case.seed)
    simulation = Simulation(
        make_scheduler(settings, heartbeat, case.seed),
        work,
        shape,
        plan,
        ClusterSettings.under(heartbeat),
        label=case.placement,
        seed=case.seed,
        oracle=oracle,
        patience_turns=PATIENCE_TURNS,
    )
    try:
        report = simulation.run()
    except InvariantBroken:  # it said so in many words; here it only counts
        return Found(case, math.inf, 0, 0, complete=False)
    complete = report.end is RunEnd.COMPLETE and report.succeeded == len(work.tasks)
    return Found(case, report.ratio, report.attempts, report.speculations, complete)


def table(found: Sequence[Found], row: Callable[[Case], str], column: Callable[[Case], str]) -> str:
    """A table in Markdown: of each cell the median ratio, the 95th percentile, and the worst."""
    cells: dict[tuple[str, str], list[float]] = {}
    for one in found:
        cells.setdefault((row(one.case), column(one.case)), []).append(one.ratio)
    rows, columns = (list(dict.fromkeys(key[which] for key in cells)) for which in (0, 1))
    lines = ["| |" + "".join(f" {name} |" for name in columns), "|---|" + "---|" * len(columns)]
    for name in rows:
        line = f"| {name} |"
        for other in columns:
            ratios = cells.get((name, other))
            line += f" {_told(ratios)} |" if ratios else " |"
        lines.append(line)
    return "\n".join(lines)


def _told(ratios: list[float]) -> str:
    ended = [ratio for ratio in ratios if ratio < math.inf]
    never = f" ({len(ratios) - len(ended)} never end)" if len(ended) < len(ratios) else ""
    if len(ended) < 2:
        return f"{ended}{never}"
    high = statistics.quantiles(ended, n=20, method="inclusive")[-1]
    return f"{statistics.median(ended):.3f}, {high:.2f}, {max(ended):.2f}{never}"


def choice(case: Case) -> str:
    """The settings that were tried, in a word."""
    return f"`{case.placement}`{'' if case.speculation else ', no second attempts'}"


def size(case: Case) -> str:
    """The cluster, in a word."""
    return f"{case.workers} x {case.slots}, {case.per_slot} tasks a slot"


TABLES: dict[str, tuple[tuple[Callable[[Case], str], Callable[[Case], str]], ...]] = {
    "placement": (
        (lambda case: f"{case.speeds}, faults: {case.faults}", choice),
        (lambda case: case.law, choice),
        (size, choice),
    ),
    "prefetch": (
        (
            lambda case: f"`{case.placement}`, {case.task_s * 1000:g} ms, {case.speeds}",
            lambda case: f"{case.prefetch_s:g} s",
        ),
    ),
    "stealing": (
        (
            lambda case: f"`{case.placement}`, {case.task_s * 1000:g} ms, {case.speeds}",
            lambda case: "stealing" if case.stealing else "no stealing",
        ),
    ),
}
TABLES["others"] = TABLES["large"] = TABLES["placement"]


def main() -> None:
    """Simulate, print tables, and keep the rows where asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.defaults", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"which: {', '.join(PARTS)}; all if left out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append all results, one a line")
    asked = parser.parse_args()
    if unknown := [name for name in asked.parts if name not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    for part in asked.parts or PARTS:
        begin, found = time.perf_counter(), []
        for case in PARTS[part]():
            one = run(case)
            found.append(one)
            if asked.json:
                with asked.json.open("ab") as file:
                    file.write(msgspec.json.encode(one) + b"\n")
            if not one.complete:
                print(f"not complete: {case}", file=sys.stderr, flush=True)
        print(f"\n{part}: {len(found)} runs in {time.perf_counter() - begin:.0f} s")
        for row, column in TABLES[part]:
            print("\n" + table(found, row, column), flush=True)


if __name__ == "__main__":
    main()
