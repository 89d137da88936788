"""What somebody who knows all durations and speeds could do: bounds that no schedule beats, and a schedule.

It knows nothing of the scheduler; messages, overheads and faults cost it nothing.
"""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

from mpiexec_runner.sim.work import VirtualWork


class Oracle(NamedTuple):
    """What a run that knows everything would take, in seconds.

    Attributes
    ----------
    bound_s
        No schedule is shorter: all work at all speeds together, and the longest chain of tasks that depend
        on one another on the fastest worker.
    schedule_s
        Of a real schedule: longest chain first, each task where it ends soonest. Without dependencies that
        is LPT (Graham, 1969) on uniform machines; with them HEFT (Topcuoglu, Hariri and Wu, 2002) without
        the insertion.
    """

    bound_s: float
    schedule_s: float


def foresee(work: VirtualWork, slots: Sequence[int], slowness: Sequence[float]) -> Oracle:
    """Find both for workers with ``slots[i]`` slots, each of which takes ``slowness[i]`` times longer."""
    chains = _chains(work)
    ranks = {kind.id: kind.needs.ranks for kind in work.kinds}
    area = sum(lasts * ranks[spec.kind] for spec, lasts in zip(work.tasks, work.lasts_s, strict=True))
    speed = sum(count / slow for count, slow in zip(slots, slowness, strict=True))
    bound_s = max(area / speed, max(chains, default=0.0) * min(slowness))
    return Oracle(bound_s, max(bound_s, _schedule(work, chains, ranks, _classes(slots, slowness))))


def _chains(work: VirtualWork) -> list[float]:
    """For each task, how long it and the longest chain of tasks behind it take."""
    position = {spec.id: place for place, spec in enumerate(work.tasks) if spec.after}
    chains = list(work.lasts_s)
    if not position:
        return chains
    position = {spec.id: place for place, spec in enumerate(work.tasks)}
    behind = [0.0] * len(chains)
    for place in _order_of_dependence(work, position)[::-1]:
        chains[place] = work.lasts_s[place] + behind[place]
        for id_ in work.tasks[place].after:
            before = position[id_]
            behind[before] = max(behind[before], chains[place])
    return chains


def _order_of_dependence(work: VirtualWork, position: dict[int, int]) -> list[int]:
    """All places, each behind those that it depends on (Kahn, 1962)."""
    missing = [len(spec.after) for spec in work.tasks]
    successors: list[list[int]] = [[] for _ in work.tasks]
    for place, spec in enumerate(work.tasks):
        for id_ in spec.after:
            successors[position[id_]].append(place)
    order = [place for place, count in enumerate(missing) if not count]
    for place in order:  # grows while it is read
        for successor in successors[place]:
            missing[successor] -= 1
            if not missing[successor]:
                order.append(successor)
    return order


Class = tuple[float, list[float]]
"""Slots of one speed: their slowness, and a heap of when each is free."""


def _classes(slots: Sequence[int], slowness: Sequence[float]) -> list[Class]:
    count: dict[float, int] = {}
    for number, slow in zip(slots, slowness, strict=True):
        count[slow] = count.get(slow, 0) + number
    return [(slow, [0.0] * number) for slow, number in sorted(count.items())]


def _schedule(
    work: VirtualWork, chains: Sequence[float], ranks: dict[int, int], classes: Sequence[Class]
) -> float:
    """The length of the schedule."""
    depends = any(spec.after for spec in work.tasks)
    order = sorted(range(len(chains)), key=lambda place: (-chains[place], place))
    if depends:  # a task of no length has the same chain as the one behind it
        position = {spec.id: place for place, spec in enumerate(work.tasks)}
        depth = {place: at for at, place in enumerate(_order_of_dependence(work, position))}
        order.sort(key=lambda place: (-chains[place], depth[place]))
    ends: dict[int, float] = {}
    latest = 0.0
    for place in order:
        spec, lasts_s = work.tasks[place], work.lasts_s[place]
        ready = max((ends[id_] for id_ in spec.after), default=0.0) if depends else 0.0
        if ranks[spec.kind] > 1:
            end = _place_group(ready, lasts_s, ranks[spec.kind], classes)
        else:
            end = _place(ready, lasts_s, classes)
        if depends:
            ends[spec.id] = end
        latest = max(latest, end)
    return latest


def _place(ready: float, lasts_s: float, classes: Sequence[Class]) -> float:
    best, best_end = classes[0][1], float("inf")
    for slow, free in classes:
        end = max(free[0], ready) + lasts_s * slow
        if end < best_end:
            best, best_end = free, end
    heapq.heapreplace(best, best_end)
    return best_end


def _place_group(ready: float, lasts_s: float, ranks: int, classes: Sequence[Class]) -> float:
    """On the slots that are free soonest, as fast as the slowest of them."""
    taken: list[Class] = []
    begin, slowest = ready, 0.0
    for _ in range(min(ranks, sum(len(free) for _, free in classes))):
        slow, free = min((one for one in classes if one[1]), key=lambda one: (one[1][0], one[0]))
        begin, slowest = max(begin, heapq.heappop(free)), max(slowest, slow)
        taken.append((slow, free))
    end = begin + lasts_s * slowest
    for _, free in taken:
        heapq.heappush(free, end)
    return end
