"""Placement by where a task's data or site already is.

What is near is the core's to say, in ``Demand.near``.
"""

from bisect import bisect_left
from collections.abc import Sequence

from mpiexec_runner.model.decisions import Demand
from mpiexec_runner.policies.placement.plain import LeastLoaded
from mpiexec_runner.policies.placement.seen import W, some_of


class Locality:
    """To the worker that is near, as far as it has room; the rest to the least loaded.

    It never waits for the near one: data can be read again from elsewhere, and an idle worker cannot.
    """

    def __init__(self) -> None:
        self._least_loaded = LeastLoaded()

    def share(
        self, count: int, candidates: Sequence[tuple[W, int]], turn: int, demand: Demand
    ) -> list[tuple[W, int]]:
        """See ``core/ports.py``."""
        shares: list[tuple[W, int]] = []
        # The port hands them over in order of their ids.
        place = bisect_left(candidates, demand.near, key=lambda candidate: candidate[0].id)
        if place < len(candidates) and candidates[place][0].id == demand.near:
            worker, room = candidates[place]
            shares.append((worker, min(count, room)))
            count -= shares[0][1]
            if not count:
                return shares
        others = [
            each for each in some_of(count, candidates, turn) if not shares or each[0] is not shares[0][0]
        ]
        if others:
            shares += self._least_loaded.share(count, others, turn, demand)
        return shares
