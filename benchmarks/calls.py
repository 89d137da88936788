"""Python tasks that do nothing, one by one, per second; ours with a record and without.

Three ranks each: one that leads, two that work.
"""

import functools
from pathlib import Path

from benchmarks.measure import Found, Timing, in_turns, needs_package, numbers, scratch, under_mpi
from benchmarks.report import Row, compare

OURS = "ours, journal on"
FUTURES, SCHWIMMBAD = "mpi4py.futures", "schwimmbad MPIPool"
TIMES_FUTURES, TIMES_SCHWIMMBAD = 20.0, 1.0


def calls(timing: Timing) -> list[Row]:
    """Rates of ``map`` with one call a task, and of ``submit``."""
    with scratch() as folder:
        by_map = {
            OURS: functools.partial(_with_journal, "map", timing.seconds, folder),
            "ours, no record": functools.partial(under_mpi, "engine", "map", timing.seconds),
            FUTURES: functools.partial(under_mpi, "mpi4py_futures", "map", timing.seconds),
            SCHWIMMBAD: functools.partial(_schwimmbad, timing.seconds),
            "raw mpi4py ping-pong": functools.partial(under_mpi, "ping_pong", "map", timing.seconds),
        }
        by_submit = {
            OURS: functools.partial(_with_journal, "submit", timing.seconds, folder),
            "ours, no record": functools.partial(under_mpi, "engine", "submit", timing.seconds),
            FUTURES: functools.partial(under_mpi, "mpi4py_futures", "submit", timing.seconds),
        }
        mapped = numbers(in_turns(by_map, timing.rounds), "rate")
        submitted = numbers(in_turns(by_submit, timing.rounds), "rate")
    targets = {FUTURES: TIMES_FUTURES, SCHWIMMBAD: TIMES_SCHWIMMBAD}
    return [
        *compare("no-op calls, map one by one", "tasks/s", mapped, ours=OURS, targets=targets),
        *compare("no-op calls, submit one by one", "tasks/s", submitted, ours=OURS),
    ]


def _with_journal(task: str, seconds: float, folder: Path) -> Found:
    return under_mpi("engine", task, seconds, folder / f"{task}-{len(list(folder.iterdir()))}")


def _schwimmbad(seconds: float) -> Found:
    needs_package("schwimmbad")
    return under_mpi("schwimmbad_pool", "map", seconds)
