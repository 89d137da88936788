"""Placement in proportion to what workers can do: cores times slots, by how slow they are.

Sees nothing of their load but their room.
"""

from collections.abc import Sequence

from mpiexec_runner.model.decisions import Demand
from mpiexec_runner.policies.placement.seen import Seen, W, phase, some_of


def weight_of(worker: Seen) -> float:
    """Return the weight of a worker: ``cores * slots / slowness``."""
    return max(1, worker.cores) * worker.slots / worker.slowness


class Weighted:
    """To each in proportion to its weight, as far as it has room.

    Whole tasks are dealt out first. What the fractions leave is dealt out by systematic sampling (Madow,
    1949) from a start that depends on the turn: nothing is left to chance, one task at a time comes out in
    proportion, too, and everybody has a turn.
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
        open_ = [(weight_of(worker), worker, room) for worker, room in some_of(count, candidates, turn)]
        total = sum(weight for weight, _, _ in open_)
        shares: list[tuple[W, int]] = []
        if any(room * total <= count * weight for weight, _, room in open_):
            # Whom its part would fill gets what it has room for, and the others share the rest.
            open_.sort(key=lambda each: (-each[2] / each[0], -each[1].id))
            while count and open_ and open_[-1][2] * total <= count * open_[-1][0]:
                weight, worker, room = open_.pop()
                shares.append((worker, min(room, count)))
                count -= min(room, count)
                total -= weight
        return [*shares, *_proportional(count, open_, turn)] if count else shares


def _proportional(count: int, open_: list[tuple[float, W, int]], turn: int) -> list[tuple[W, int]]:
    """Divide ``count`` among workers of which everybody has room for more than its part."""
    total = sum(weight for weight, _, _ in open_)
    parts = [count * weight / total for weight, _, _ in open_]
    whole = [min(int(part), room) for part, (_, _, room) in zip(parts, open_, strict=True)]
    left, mark, passed = count - sum(whole), phase(turn), 0.0
    for place, part in enumerate(parts):
        passed += part - int(part)
        if left and passed > mark and whole[place] < open_[place][2]:
            whole[place] += 1
            left -= 1
            mark += 1.0
    # Where rounding kept the sum of the fractions below the last mark, one task is left.
    for place in range(len(open_)):
        if left and whole[place] < open_[place][2]:
            whole[place] += 1
            left -= 1
    return [(worker, n) for n, (_, worker, _) in zip(whole, open_, strict=True) if n]
