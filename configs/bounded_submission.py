"""Bounded submission: a producer that is faster than the workers waits, so its tasks never pile up.

Run it with ``mpiexec -n 4 python configs/bounded_submission.py``, or without ``mpiexec`` in one process.
"""

import threading
from concurrent.futures import Future

import numpy as np

from mpiexec_runner import ParallelExecutor, ResourceLimits

BLOCKS, SIZE, UNDER_WAY = 400, 20_000, 8


def norm(block: np.ndarray) -> float:
    """The sum of the squares of a block."""
    return float(block @ block)


class Sum:
    """Adds results as they come, and knows how many are awaited."""

    def __init__(self) -> None:
        self.value, self.awaited, self.most = 0.0, 0, 0
        self._lock = threading.Lock()

    def expect(self) -> None:
        """A task is about to be submitted."""
        with self._lock:
            self.awaited += 1
            self.most = max(self.most, self.awaited)

    def add(self, future: Future[float]) -> None:
        """A task has ended; its future is forgotten after this."""
        with self._lock:
            self.awaited -= 1
            self.value += future.result()


def main() -> None:
    """``map`` bounds itself (``buffersize``); with ``submit``, ``max_queue_size`` does."""
    total, exact = Sum(), 0.0
    with ParallelExecutor(limits=ResourceLimits(max_queue_size=UNDER_WAY)) as executor:
        for number in range(BLOCKS):
            block = np.full(SIZE, float(number % 7))
            exact += SIZE * float(number % 7) ** 2
            total.expect()
            executor.submit(norm, block).add_done_callback(total.add)
    # One more is made while it waits for room, and one may have left whose callback is still to come.
    if total.value != exact or total.most > UNDER_WAY + 2:
        raise SystemExit(f"{total.value} instead of {exact}, {total.most} at a time")
    print(f"{BLOCKS} blocks, never more than {UNDER_WAY} under way: {total.value:.0f}")


if __name__ == "__main__":
    main()
