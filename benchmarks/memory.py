"""Memory of the hub: for each pending task of a large sweep, and while a long ``map`` streams through it."""

import functools

from benchmarks.measure import Timing, in_turns, numbers, python, under_mpi
from benchmarks.report import Missing, Row, single

PENDING = 1_000_000
MOST_BYTES = 1024.0
MOST_GROWTH_MIB = 16.0


def memory(timing: Timing) -> list[Row]:
    """Bytes for each pending task: of the core alone, and of all that rank 0 of a run holds."""
    pending = timing.scaled(PENDING)
    contestants = {
        "ours, core with its queue": functools.partial(python, "benchmarks.pending", "core", pending),
        "ours, rank 0 of a sweep": functools.partial(python, "benchmarks.pending", "run", pending),
    }
    found = numbers(in_turns(contestants, 1), "bytes_per_task")
    what, unit = f"memory at {pending:,} pending tasks", "bytes/task"
    return [
        Row(benchmark=what, contestant=name, unit=unit, note=samples.why)
        if isinstance(samples, Missing)
        else single(what, name, unit, samples, at_most=MOST_BYTES)
        for name, samples in found.items()
    ]


def long_map(timing: Timing) -> list[Row]:
    """Peak resident size of rank 0 over a ``map`` of tiny tasks: ten times as many need no more."""
    what, unit = "map, peak memory of rank 0", "MiB"
    sizes = [timing.scaled(100_000), timing.scaled(1_000_000)]
    tasks = {f"ours, {size:,} tasks": functools.partial(under_mpi, "engine", "long", size) for size in sizes}
    peaks = numbers(in_turns(tasks, 1), "peak_mib")
    rows, found = [], []
    for name, samples in peaks.items():
        if isinstance(samples, Missing):
            rows.append(Row(benchmark=what, contestant=name, unit=unit, note=samples.why))
        else:
            rows.append(single(what, name, unit, samples))
            found += samples
    if len(found) == len(sizes):
        rows.append(single(what, "ours, growth", unit, [found[1] - found[0]], at_most=MOST_GROWTH_MIB))
    return rows
