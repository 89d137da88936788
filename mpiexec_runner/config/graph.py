"""An order in which everything comes after what it depends on, or the cycles because of which there is none.

Knows names, not jobs.
"""

import heapq
from collections.abc import Collection, Mapping


def in_order(after: Mapping[str, Collection[str]]) -> tuple[list[str], list[list[str]]]:
    """Sort names so that each comes after those that it depends on; else as they were given.

    Parameters
    ----------
    after
        For each name those that it depends on. Those that are no keys are passed over.

    Returns
    -------
    (order, cycles)
        ``order`` lacks the names that are on a cycle, or depend on one that is. A cycle is the names on it,
        each depending on the next and the last on the first; no name is on two of them.
    """
    waits = {name: {other for other in others if other in after} for name, others in after.items()}
    order = _peeled(waits)
    cycles: list[list[str]] = []
    while waits:
        path: dict[str, None] = {}
        name = next(iter(waits))
        # Everything that is left depends on something that is left, so this walk comes back to itself.
        while name not in path:
            path[name] = None
            name = min(waits[name], key=list(after).index)
        walked = list(path)
        cycle = walked[walked.index(name) :]
        first = min(cycle, key=list(after).index)
        at = cycle.index(first)
        cycles.append(cycle[at:] + cycle[:at])
        for member in cycle:
            waits.pop(member)
        for others in waits.values():
            others.difference_update(cycle)
        _peeled(waits)
    return order, cycles


def _peeled(waits: dict[str, set[str]]) -> list[str]:
    """Take out, again and again, the first name that waits for nothing that is left; return them."""
    names = list(waits)
    number = {name: at for at, name in enumerate(names)}
    needed_by: dict[str, list[str]] = {name: [] for name in names}
    for name, others in waits.items():
        for other in others:
            needed_by[other].append(name)
    free = [number[name] for name, others in waits.items() if not others]
    heapq.heapify(free)
    order: list[str] = []
    while free:
        name = names[heapq.heappop(free)]
        order.append(name)
        del waits[name]
        for later in needed_by[name]:
            waits[later].discard(name)
            if not waits[later]:
                heapq.heappush(free, number[later])
    return order
