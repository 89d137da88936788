"""Pi, by counting random points in a quarter of a circle: a Python program for many ranks.

Run it with ``mpiexec -n 4 python configs/executor_pi.py``, or without ``mpiexec`` in one process. Where Open
MPI finds fewer cores than ranks it wants ``mpiexec --oversubscribe -n 4``.
"""

import math
import time

import numpy as np

from mpiexec_runner import ParallelExecutor

POINTS = 200_000
TASKS = 200


def count_inside(seed: int) -> int:
    """How many of ``POINTS`` random points of the unit square are closer to the origin than 1."""
    x, y = np.random.default_rng(seed).random((2, POINTS))
    return int(np.count_nonzero(x * x + y * y < 1.0))


def main() -> None:
    """Rank 0 alone goes on behind the ``with``; the other ranks work until it is done, and leave."""
    began = time.perf_counter()
    with ParallelExecutor() as executor:
        inside = sum(executor.map(count_inside, range(TASKS)))
    n = TASKS * POINTS
    pi = 4 * inside / n
    error = 4 * math.sqrt(inside / n * (1 - inside / n) / n)
    print(f"pi = {pi:.5f} +- {error:.5f} from {n:,} points in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
