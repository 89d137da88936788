"""What all contestants are made to do, and how they tell how it went.

It knows no contestant.
"""

import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor

import psutil

WARM_UP = 2000
SHORTEST_S = 0.05
PAUSE_S = 2.0
IDLE_S = 5.0


def no_op(number: int) -> int:
    """The task: no work at all, a small argument, a small result."""
    return number


def pid_of(_: int) -> int:
    """The process that runs this task; it lasts long enough for all workers to get some."""
    time.sleep(0.002)
    return os.getpid()


def nap(seconds: float, slow_rank: int, factor: float) -> float:
    """A task that only takes time, on one of the ranks so many times longer; how long it was meant to."""
    from mpi4py import MPI  # noqa: PLC0415 - what needs no MPI imports this module, too

    time.sleep(seconds * (factor if slow_rank == MPI.COMM_WORLD.rank else 1.0))
    return seconds


def tell(**found: object) -> None:
    """Print the one line that a benchmark reads."""
    print(json.dumps(found), flush=True)


def timed(run: Callable[[int], object], tasks: int) -> float:
    """Seconds that ``run(tasks)`` takes."""
    begin = time.perf_counter()
    run(tasks)
    return time.perf_counter() - begin


def tell_rate(run: Callable[[int], object], seconds: float) -> None:
    """Warm up, then tell the tasks per second of a run that takes about ``seconds``."""
    tasks, took = WARM_UP, timed(run, WARM_UP)
    while took < SHORTEST_S:
        tasks *= 4
        took = timed(run, tasks)
    tasks = max(tasks, int(tasks / took * seconds))
    tell(rate=tasks / timed(run, tasks), tasks=tasks)


def check(results: Iterable[int], tasks: int) -> None:
    """Fetch all results, in order, and see that they are those of ``no_op``."""
    fetched = 0
    for expected, result in enumerate(results):
        if result != expected:
            raise RuntimeError(f"task {expected} gave {result}")
        fetched += 1
    if fetched != tasks:
        raise RuntimeError(f"{fetched} results of {tasks} tasks")


def with_executor(executor: Executor, task: str, number: float, **map_options: int) -> None:
    """Do what is asked for with anything that is a ``concurrent.futures.Executor``.

    Parameters
    ----------
    executor
        Open, with its workers there.
    task
        ``map`` or ``submit`` (``number``: seconds), ``latency`` (pauses),
        ``idle`` (workers), ``long`` (tasks).
    number
        See ``task``.
    map_options
        Further arguments of ``map``.
    """

    def by_map(tasks: int) -> None:
        check(executor.map(no_op, range(tasks), **map_options), tasks)

    def by_submit(tasks: int) -> None:
        futures = [executor.submit(no_op, number) for number in range(tasks)]
        check((future.result() for future in futures), tasks)

    match task:
        case "map":
            tell_rate(by_map, number)
        case "submit":
            tell_rate(by_submit, number)
        case "latency":
            tell_latency(executor, int(number))
        case "idle":
            tell_idle(find_pids(executor, int(number)))
        case "long":
            by_map(WARM_UP)
            before = peak_mib()
            took = timed(by_map, int(number))
            tell(before_mib=before, peak_mib=peak_mib(), rate=number / took)
        case _:
            raise SystemExit(f"no such task: {task}")


def tell_latency(executor: Executor, pauses: int, at_once: int = 2000) -> None:
    """Tell the round trips, in microseconds, of single tasks: one right after another, and after pauses."""
    check(executor.map(no_op, range(WARM_UP)), WARM_UP)
    busy_us = [_round_trip_us(executor) for _ in range(at_once)]
    rested_us = []
    for _ in range(pauses):
        time.sleep(PAUSE_S)
        rested_us.append(_round_trip_us(executor))
    tell(
        busy_median=statistics.median(busy_us),
        busy_p95=statistics.quantiles(busy_us, n=20)[-1],
        rested_us=rested_us,
    )


def _round_trip_us(executor: Executor) -> float:
    begin = time.perf_counter()
    executor.submit(no_op, 0).result()
    return (time.perf_counter() - begin) * 1e6


def find_pids(executor: Executor, workers: int) -> set[int]:
    """The processes of all workers."""
    pids: set[int] = set()
    for _ in range(100):
        pids.update(executor.map(pid_of, range(8 * workers)))
        if len(pids) >= workers:
            return pids
    raise RuntimeError(f"{workers} workers were expected, and {len(pids)} came")


def tell_idle(pids: set[int]) -> None:
    """Tell how busy this rank and the others are, in percent of a core, from two seconds from now on."""
    time.sleep(PAUSE_S)
    ranks = {
        "hub": psutil.Process(),
        **{f"worker {n}": psutil.Process(pid) for n, pid in enumerate(sorted(pids), 1)},
    }
    before = {name: _cpu_s(process) for name, process in ranks.items()}
    begin = time.monotonic()
    time.sleep(IDLE_S)
    elapsed_s = time.monotonic() - begin
    tell(
        percent={name: 100 * (_cpu_s(process) - before[name]) / elapsed_s for name, process in ranks.items()}
    )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def peak_mib() -> float:
    """The largest resident size that this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
