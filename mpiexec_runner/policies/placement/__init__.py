"""Placement policies: how ready tasks of one kind are divided among workers with room.

They fit the ``Placement`` port of ``core/ports.py`` without importing it, and keep no state of the run: what
each does follows from its arguments alone. What they are for is in ``docs/policies.md``.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from mpiexec_runner.model.decisions import Demand
from mpiexec_runner.policies.placement.capability import Capability
from mpiexec_runner.policies.placement.dynamic import Dynamic
from mpiexec_runner.policies.placement.locality import Locality
from mpiexec_runner.policies.placement.plain import LeastLoaded, RandomPlacement, RoundRobin
from mpiexec_runner.policies.placement.priority import ByPriority
from mpiexec_runner.policies.placement.seen import Randomness, W
from mpiexec_runner.policies.placement.weighted import Weighted

__all__ = [
    "PLACEMENTS",
    "ByPriority",
    "Capability",
    "Dynamic",
    "LeastLoaded",
    "Locality",
    "RandomPlacement",
    "RoundRobin",
    "Weighted",
]


class Sharing(Protocol):
    """What each of these is."""

    def share(
        self, count: int, candidates: Sequence[tuple[W, int]], turn: int, demand: Demand
    ) -> list[tuple[W, int]]:
        """See ``core/ports.py``."""


PLACEMENTS: dict[str, Callable[[int, Callable[[str], Randomness]], Sharing]] = {
    "least_loaded": lambda *_: LeastLoaded(),
    "round_robin": lambda *_: RoundRobin(),
    "random": RandomPlacement,
    "weighted": lambda *_: Weighted(),
    "capability": lambda *_: Capability(),
    "priority": lambda *_: ByPriority(),
    "locality": lambda *_: Locality(),
    "dynamic": lambda *_: Dynamic(),
}
"""Each is made from the run's seed and a maker of random numbers."""
