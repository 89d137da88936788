"""How busy ranks are that have nothing to do: from 2 s after the last task on, for 5 s, executor open."""

import functools

from benchmarks.measure import RANKS, Timing, in_turns, under_mpi
from benchmarks.report import Missing, Row, single

MOST_PERCENT = 3.0


def idle(timing: Timing) -> list[Row]:
    """Percent of a core, for each rank."""
    contestants = {
        "ours": functools.partial(under_mpi, "engine", "idle", RANKS - 1),
        "mpi4py.futures": functools.partial(under_mpi, "mpi4py_futures", "idle", RANKS - 1),
        "raw mpi4py ping-pong": functools.partial(under_mpi, "ping_pong", "idle", RANKS - 1),
    }
    what, unit = "idle after 2 s", "% CPU"
    rows = []
    for contestant, told in in_turns(contestants, max(1, timing.rounds // 2)).items():
        if isinstance(told, Missing):
            rows.append(Row(benchmark=what, contestant=contestant, unit=unit, note=told.why))
            continue
        limit = MOST_PERCENT if contestant == "ours" else None
        for rank in told[0]["percent"]:
            samples = [each["percent"][rank] for each in told]
            rows.append(single(what, f"{contestant}, {rank}", unit, samples, at_most=limit))
    return rows
