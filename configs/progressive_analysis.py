"""Progressive analysis: batches are added until the answer is as certain as wanted, then no more.

Run it with ``mpiexec -n 4 python configs/progressive_analysis.py``, or without ``mpiexec`` in one process.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from mpiexec_runner import TaskPipeline

POINTS = 100_000
WANTED_ERROR = 2e-4


def sample(seed: int) -> tuple[float, float]:
    """Sum and sum of squares of exp(-x*x) at random points of the unit interval."""
    x = np.random.default_rng(seed).random(POINTS)
    values = np.exp(-x * x)
    return float(values.sum()), float((values * values).sum())


class Estimate:
    """The integral so far, and its standard error."""

    def __init__(self) -> None:
        self.n, self.total, self.squares = 0, 0.0, 0.0

    def add(self, total: float, squares: float) -> None:
        """Take in the points of one task."""
        self.n, self.total, self.squares = self.n + POINTS, self.total + total, self.squares + squares

    @property
    def mean(self) -> float:
        """The integral."""
        return self.total / self.n

    @property
    def error(self) -> float:
        """Its standard error."""
        return math.sqrt((self.squares / self.n - self.mean**2) / self.n) if self.n else math.inf


def main() -> None:
    """The generator of tasks is read batch by batch: what it sees is what the last batch has told."""
    estimate = Estimate()
    with TaskPipeline() as pipeline:

        def tasks() -> Iterator[dict[str, Any]]:
            for seed in itertools.count():
                if estimate.error < WANTED_ERROR:
                    return
                yield {"call": sample, "args": [seed]}

        def take_in(batch: list[Any]) -> None:
            for status in batch:
                estimate.add(*pipeline.get_result(status.id))

        workflow = pipeline.submit_batch_workflow(tasks(), batch_size=4, callback=take_in)
        batches = pipeline.wait_for_workflow(workflow, timeout=300).total // 4
    exact = math.sqrt(math.pi) / 2 * math.erf(1)
    if abs(estimate.mean - exact) > 4 * WANTED_ERROR:
        raise SystemExit(f"{estimate.mean} is too far from {exact}")
    print(f"{estimate.mean:.4f} +- {estimate.error:.4f} after {batches} batches")


if __name__ == "__main__":
    main()
