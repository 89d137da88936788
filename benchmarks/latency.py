"""How long one task takes there and back, ``submit(...).result()``: in a row, and after a pause of 2 s."""

import functools
import statistics

from benchmarks.measure import Timing, in_turns, numbers, under_mpi
from benchmarks.report import Missing, Row, Samples, compare

OURS = "ours"


def latency(timing: Timing) -> list[Row]:
    """Round trips in microseconds. After pauses there are few samples: their 95 % is nearly the greatest."""
    pauses = 3 if timing.quick else 5
    contestants = {
        OURS: functools.partial(under_mpi, "engine", "latency", pauses),
        "mpi4py.futures": functools.partial(under_mpi, "mpi4py_futures", "latency", pauses),
    }
    found = in_turns(contestants, timing.rounds)
    rested: dict[str, list[float] | Missing] = {
        name: told if isinstance(told, Missing) else [sample for each in told for sample in each["rested_us"]]
        for name, told in found.items()
    }

    def rows(what: str, samples: Samples) -> list[Row]:
        return compare(f"round trip, {what}", "µs", samples, ours=OURS, less_is_better=True)

    return [
        *rows("in a row, median", numbers(found, "busy_median")),
        *rows("in a row, 95 %", numbers(found, "busy_p95")),
        *rows("after 2 s, median", rested),
        *rows("after 2 s, 95 %", {name: _high_end(samples) for name, samples in rested.items()}),
    ]


def _high_end(samples: list[float] | Missing) -> list[float] | Missing:
    if isinstance(samples, Missing):
        return samples
    return [statistics.quantiles(samples, n=20, method="inclusive")[-1]]
