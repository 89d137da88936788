"""Ours with tasks that sleep, on ranks of which the last one takes many times longer over everything.

``... slow_rank SEED``: all workloads with all settings, each in a run of its own that knows nothing of the
ones before.
"""

import sys
import time
from collections.abc import Mapping, Sequence

from mpi4py import MPI

from benchmarks.contestants.work import find_pids, nap, tell
from benchmarks.straggler import FACTOR, SETTINGS, WORKLOADS, durations_s
from mpiexec_runner import ParallelExecutor


def makespan_s(asleep_s: Sequence[float], settings: Mapping[str, str]) -> float:
    """From the first submission to the last result."""
    last = MPI.COMM_WORLD.size - 1
    with ParallelExecutor(scheduler=settings) as executor:
        find_pids(executor, last)  # all are there; that was too short to tell who is slow
        begin = time.perf_counter()
        futures = [executor.submit(nap, seconds, last, FACTOR) for seconds in asleep_s]
        for future, seconds in zip(futures, asleep_s, strict=True):
            if future.result() != seconds:
                raise RuntimeError(f"a task of {seconds} s gave {future.result()}")
        return time.perf_counter() - begin


if __name__ == "__main__":
    seed = int(sys.argv[1])
    tell(
        makespans_s={
            what: {
                name: makespan_s(durations_s(law, tasks, seed), settings)
                for name, settings in SETTINGS.items()
            }
            for what, (law, tasks) in WORKLOADS.items()
        }
    )
