"""Placement by when a task is expected to end: load, measured speed and capability together.

Knows neither limits nor dependencies; what the rest of the run is like, it takes from ``Demand``.
"""

import heapq
from collections.abc import Sequence
from typing import Generic

from mpiexec_runner.model.decisions import Demand
from mpiexec_runner.policies.placement.seen import W, some_of

ORDINARY = 1.1
"""A worker that is expected to end a task within so many mean durations is never held back."""
RARE = 1.1
"""How much longer a task may take on an ordinary node before one with unneeded devices is preferred."""
PATIENCE = 2.0
"""After so many times the expected wait for the others, nobody is held back for their sake."""


class _Place(Generic[W]):
    """A worker while tasks are divided: what it holds already, in seconds, and the room that is left."""

    __slots__ = ("ahead_s", "given", "held", "rare", "room", "slots", "slowness", "worker")

    def __init__(self, worker: W, room: int, ahead_s: float, *, rare: bool) -> None:
        self.worker, self.room, self.ahead_s = worker, room, ahead_s
        self.slots, self.slowness, self.held = worker.slots, worker.slowness, worker.held
        self.rare = RARE if rare else 1.0
        self.given = 0

    @property
    def rate(self) -> float:
        """How much of an ordinary worker's work it does at once."""
        return self.slots / self.slowness

    def end_s(self, mean_s: float) -> float:
        """In how many seconds it is expected to end the next task that it is given.

        Such a task begins at once on a free slot, else behind those before it and the first that ends.
        """
        queued = self.held - self.slots + 1
        wait_s = self.ahead_s / self.held * queued / self.slots if queued > 0 else 0.0
        return self.slowness * (mean_s + wait_s)

    def order(self, mean_s: float) -> tuple[float, float]:
        """What it goes by who is first: the expected end, and the load where that is the same."""
        return self.end_s(mean_s) * self.rare, self.held / self.slots

    def give(self, n: int, mean_s: float) -> None:
        """Book tasks on it."""
        self.given += n
        self.held += n
        self.room -= n
        self.ahead_s += n * mean_s


class Dynamic:
    """Earliest expected finish first, and a slow worker is held back when the others end sooner without it.

    Tasks are dealt out one by one, or in portions that shrink and go by speed (the weighted factoring of
    Hummel et al., 1996), each to the worker that is expected to end it first: list scheduling on uniform
    machines. A worker is passed over when those that have no room now are expected to get to everything that
    is ready before this one would end a single task: the end of a run is then theirs, and a slow worker does
    not make everybody wait for its last task. See ``docs/policies.md``.
    """

    def share(
        self, count: int, candidates: Sequence[tuple[W, int]], turn: int, demand: Demand
    ) -> list[tuple[W, int]]:
        """See ``core/ports.py``."""
        if len(candidates) == 1 and (demand.mean_s <= 0 or demand.held_s <= 0):
            worker, room = candidates[0]
            return [(worker, min(count, room))]
        # As long as no duration is known, each task counts as one second, and nobody is held back.
        known = demand.mean_s > 0
        mean_s = demand.mean_s if known else 1.0
        some = some_of(count, candidates, turn)
        places = [
            _Place(
                worker,
                room,
                worker.backlog_s if known else float(worker.held),
                rare=worker.gpus > 0 and not demand.needs.gpus,
            )
            for worker, room in some
        ]
        away = _Away(mean_s)
        if known and some is candidates:
            away.count_in(places, demand)
        _deal(count, places, away, demand.waiting if known else None)
        return [(place.worker, place.given) for place in places if place.given]


class _Away:
    """The workers that can get nothing now, as one: how fast they work, and what is before them."""

    def __init__(self, mean_s: float) -> None:
        self.mean_s = mean_s
        self.rate = 0.0
        self.held_s = 0.0

    def count_in(self, places: "list[_Place[W]]", demand: Demand) -> None:
        """Count those that are no candidates: all that ``demand`` knows of, less the candidates."""
        rate = demand.speed - sum(place.rate for place in places)
        held_s = demand.held_s - sum(place.ahead_s for place in places)
        # Rounding leaves a little. Who holds nothing will not come back to ask: nobody waits for that.
        if rate <= 1e-9 * demand.speed or held_s <= 1e-9 * demand.held_s:
            return
        # Nothing has happened for long: somebody hangs, or takes far longer than expected.
        if demand.quiet_s > PATIENCE * max(self.mean_s, held_s / rate):
            return
        self.rate, self.held_s = rate, held_s

    def add(self, place: "_Place[W]") -> None:
        """Count in one whose room is used up. It ends whole tasks only: half a one is lost on average."""
        self.rate += place.rate
        self.held_s += place.ahead_s + place.slots * self.mean_s / 2

    def would_end(self, tasks: int, within_s: float) -> bool:
        """Whether they are expected to end so many more tasks within that time."""
        return within_s * self.rate - self.held_s >= tasks * self.mean_s


def _deal(count: int, places: "list[_Place[W]]", away: _Away, waiting: int | None) -> None:
    """Give ``count`` tasks to ``places``; ``waiting`` is None where nobody is held back."""
    mean_s = away.mean_s
    heap = [(place.order(mean_s), number) for number, place in enumerate(places)]
    heapq.heapify(heap)
    rate = sum(place.rate for place in places)
    while count and heap:
        number = heap[0][1]
        place = places[number]
        end_s = place.end_s(mean_s)
        if waiting is not None and end_s > ORDINARY * mean_s and away.would_end(count + waiting, end_s):
            heapq.heappop(heap)
            rate -= place.rate
            continue
        portion = min(place.room, max(1, int(count * place.rate / (2 * rate)) if rate > 0 else 1))
        place.give(portion, mean_s)
        count -= portion
        if place.room:
            heapq.heapreplace(heap, (place.order(mean_s), number))
        else:
            heapq.heappop(heap)
            rate -= place.rate
            away.add(place)
