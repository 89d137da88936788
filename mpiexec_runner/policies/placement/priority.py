"""Placement that keeps the best workers for what is urgent.

The order among tasks is the ready queue's; this is about where they go.
"""

import heapq
from collections.abc import Sequence

from mpiexec_runner.model.decisions import Demand
from mpiexec_runner.policies.placement.plain import LeastLoaded
from mpiexec_runner.policies.placement.seen import W, some_of

PRESSING = 8
"""From this priority on, a task goes to the best workers."""
BEST_PART = 4
"""One in so many workers with room counts as one of the best."""


class ByPriority:
    """Urgent tasks to the best workers first, others to the rest first; to the least loaded in each part.

    The best are the quarter, at least one, that is fastest and has most cores. Nobody stays idle: a part
    that has no more room passes what is left to the other.
    """

    def __init__(self) -> None:
        self._least_loaded = LeastLoaded()

    def share(
        self, count: int, candidates: Sequence[tuple[W, int]], turn: int, demand: Demand
    ) -> list[tuple[W, int]]:
        """See ``core/ports.py``."""
        if len(candidates) == 1:
            worker, room = candidates[0]
            return [(worker, min(count, room))]
        some = some_of(count, candidates, turn)
        order = heapq.nsmallest(
            max(1, len(some) // BEST_PART),
            some,
            key=lambda candidate: (candidate[0].slowness, -candidate[0].cores, candidate[0].id),
        )
        best = {worker.id for worker, _ in order}
        rest = [candidate for candidate in some if candidate[0].id not in best]
        shares: list[tuple[W, int]] = []
        for part in (order, rest) if demand.priority >= PRESSING else (rest, order):
            if count:
                given = self._least_loaded.share(count, part, turn, demand)
                shares += given
                count -= sum(n for _, n in given)
        return shares
