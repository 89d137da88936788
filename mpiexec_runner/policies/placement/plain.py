"""Placement that goes by the number of tasks alone: the least loaded, one after the other, by chance.

Sees of a worker its id, its slots, and how many tasks it holds.
"""

import heapq
from collections.abc import Callable, Sequence

from mpiexec_runner.model.decisions import Demand
from mpiexec_runner.policies.placement.seen import Randomness, W, some_of


class LeastLoaded:
    """To whom has least to do, in shrinking portions.

    The portions are those of guided self-scheduling (Polychronopoulos and Kuck, 1987): half of what is
    left, divided by the number of workers, so that many tasks take few steps and the last ones even out.
    """

    def share(
        self,
        count: int,
        candidates: Sequence[tuple[W, int]],
        turn: int,
        demand: Demand,  # noqa: ARG002 - the port has it
    ) -> list[tuple[W, int]]:
        """See ``core/ports.py``."""
        if len(candidates) == 1:
            worker, room = candidates[0]
            return [(worker, min(count, room))]
        some = some_of(count, candidates, turn)
        heap = [(worker.held / worker.slots, worker.id, worker, room) for worker, room in some]
        heapq.heapify(heap)
        shares: dict[int, tuple[W, int]] = {}
        while count and heap:
            load, id_, worker, room = heap[0]
            portion = min(room, max(1, count // (2 * len(heap))))
            already = shares.get(id_, (worker, 0))[1]
            shares[id_] = (worker, already + portion)
            count -= portion
            if room > portion:
                heapq.heapreplace(heap, (load + portion / worker.slots, id_, worker, room - portion))
            else:
                heapq.heappop(heap)
        return list(shares.values())


class RoundRobin:
    """One after the other, each as often as its room allows."""

    def share(
        self,
        count: int,
        candidates: Sequence[tuple[W, int]],
        turn: int,
        demand: Demand,  # noqa: ARG002 - the port has it
    ) -> list[tuple[W, int]]:
        """See ``core/ports.py``."""
        there = len(candidates)
        first = turn % there
        if count <= there:
            return [(candidates[(first + step) % there][0], 1) for step in range(count)]
        order = [*candidates[first:], *candidates[:first]]
        taken = [0] * there
        open_ = list(range(there))
        while count and open_:
            # As many whole rounds as nobody's room ends in.
            shortest = min(order[place][1] - taken[place] for place in open_)
            rounds = min(count // len(open_), shortest)
            now = open_ if rounds else open_[:count]
            for place in now:
                taken[place] += rounds or 1
            count -= (rounds or 1) * len(now)
            open_ = [place for place in open_ if taken[place] < order[place][1]]
        return [(worker, n) for (worker, _), n in zip(order, taken, strict=True) if n]


class RandomPlacement:
    """Each task to a worker drawn by chance among those that have room."""

    def __init__(self, seed: int, randomness: Callable[[str], Randomness]) -> None:
        self._seed, self._randomness = seed, randomness

    def share(
        self,
        count: int,
        candidates: Sequence[tuple[W, int]],
        turn: int,
        demand: Demand,  # noqa: ARG002 - the port has it
    ) -> list[tuple[W, int]]:
        """See ``core/ports.py``."""
        draw_one = self._randomness(f"{self._seed}/{turn}").random
        there = len(candidates)
        taken: dict[int, int] = {}
        if 4 * count <= there:  # at most a quarter gets full: to draw again costs less than to keep a list
            while count:
                place = int(draw_one() * there)
                if taken.get(place, 0) < candidates[place][1]:
                    taken[place] = taken.get(place, 0) + 1
                    count -= 1
            return [(candidates[place][0], n) for place, n in taken.items()]
        open_ = list(range(there))
        while count and open_:
            draw = int(draw_one() * len(open_))
            place = open_[draw]
            taken[place] = taken.get(place, 0) + 1
            count -= 1
            if taken[place] == candidates[place][1]:
                open_[draw] = open_[-1]
                open_.pop()
        return [(candidates[place][0], n) for place, n in sorted(taken.items())]
