"""What one attempt is given of its worker: cores, threads, devices, memory; and how that is made to hold.

It knows neither queues nor the share from which these were claimed.

Sources: ``sched_setaffinity(2)`` (a thread's mask is inherited by what it starts), OpenMP 5.2 section 21.1.2,
and the documentation of MKL, OpenBLAS, NumExpr and BLIS for their variables.
"""

import contextlib
import os
from collections.abc import Iterator

import msgspec

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLIS_NUM_THREADS",
)


class Allowance(msgspec.Struct, frozen=True):
    """What an attempt is given.

    ``mask`` are the cores that it is held to, empty for any; ``threads`` how many it should use, 0 for
    nothing said; ``variables`` say the same and name its devices; ``memory_bytes`` of 0 is no limit, else
    the attempt is looked at every ``look_every_s`` seconds.
    """

    mask: tuple[int, ...] = ()
    threads: int = 0
    variables: dict[str, str] = {}
    devices: tuple[str, ...] = ()
    memory_bytes: int = 0
    look_every_s: float = 1.0


NOTHING = Allowance()
"""For an attempt that asked for nothing."""


@contextlib.contextmanager
def on_cores(mask: tuple[int, ...]) -> Iterator[None]:
    """Hold the calling thread, and what it starts meanwhile, to some cores; other threads are not touched."""
    if not mask:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, mask)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def with_threads(count: int) -> Iterator[None]:
    """Hold the numerical libraries that are loaded in this process to ``count`` threads; 0 leaves them."""
    if not count:
        yield
        return
    import threadpoolctl  # noqa: PLC0415 - it looks at every loaded library, for tasks that ask for cores

    with threadpoolctl.threadpool_limits(limits=count):
        yield


def hold_process(mask: tuple[int, ...]) -> None:
    """Hold every thread of this process to some cores."""
    for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 - names are all that is wanted
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread), mask)
