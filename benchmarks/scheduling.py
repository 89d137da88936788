"""What scheduling costs: calls with dynamic placement, priorities, dependencies; and the core by itself."""

import functools
import itertools

from benchmarks.measure import Timing, in_turns, numbers, python, under_mpi
from benchmarks.report import Missing, Row, compare, single

LEAST_SHARE = 0.85
TASKS = 200_000
MOST_SPREAD = 2.0
PENDING = (1_000, 10_000, 100_000, 1_000_000)
WORKERS = (2, 10, 100, 1_000, 10_000)
USUAL_PENDING, USUAL_WORKERS = 100_000, 100
PLACEMENTS = ("dynamic", "least_loaded")


def scheduling(timing: Timing) -> list[Row]:
    """Rates beside those of a plain ``map``, and microseconds of the core for each task."""
    placements = PLACEMENTS[:1] if timing.quick else PLACEMENTS
    return [*_rates(timing), *(row for placement in placements for row in _costs(timing, placement))]


def _rates(timing: Timing) -> list[Row]:
    """No-op calls a second. *All in use* has to reach most of what ``map`` does without any of it."""
    ours = "ours, all in use"
    features = {ours: "dynamic,priorities,dependencies", "ours, plain map": "map"}
    if not timing.quick:
        features |= {
            "ours, plain, all submitted at once": "",
            "ours, dynamic": "dynamic",
            "ours, priorities": "priorities",
            "ours, dependencies": "dependencies",
        }
    contestants = {
        name: functools.partial(under_mpi, "scheduled", some, timing.scaled(TASKS))
        for name, some in features.items()
    }
    rates = numbers(in_turns(contestants, timing.rounds), "rate")
    targets = {"ours, plain map": LEAST_SHARE}
    return compare(
        "no-op calls, dynamic, priorities, dependencies", "tasks/s", rates, ours=ours, targets=targets
    )


def _costs(timing: Timing, placement: str) -> list[Row]:
    """Of the core: submit, place and finish one task while others wait."""
    pairs = itertools.product(PENDING, WORKERS)
    if timing.quick:  # the two edges, and the corner between them
        most, usual = timing.scaled(PENDING[-1]), USUAL_PENDING
        edges = [(pending, USUAL_WORKERS) for pending in PENDING if pending <= most]
        pairs = iter([*edges, *((usual, workers) for workers in WORKERS), (most, WORKERS[-1])])
    contestants = {
        f"{pending:,} pending, {workers:,} workers": functools.partial(
            python, "benchmarks.core_cost", placement, pending, workers
        )
        for pending, workers in dict.fromkeys(pairs)
    }
    found = numbers(in_turns(contestants, 1 if timing.quick else 3), "us_per_task")
    what = f"core, {placement}: submit, place, finish"
    rows, best = [], []
    for name, samples in found.items():
        if isinstance(samples, Missing):
            rows.append(Row(benchmark=what, contestant=name, unit="µs/task", note=samples.why))
        else:
            rows.append(single(what, name, "µs/task", samples))
            best.append(min(samples))
    if best:
        rows.append(single(what, "dearest to cheapest", "x", [max(best) / min(best)], at_most=MOST_SPREAD))
    return rows
