"""Workers as a placement policy sees them, and what it is told of tasks, for tests."""

import random
from typing import NamedTuple

from mpiexec_runner.model.decisions import Demand
from mpiexec_runner.model.tasks import Needs
from mpiexec_runner.policies.placement import PLACEMENTS, Sharing


class Someone(NamedTuple):
    """A worker as a policy sees it."""

    id: int
    slots: int = 1
    held: int = 0
    backlog_s: float = 0.0
    slowness: float = 1.0
    cores: int = 1
    memory_bytes: int = 0
    gpus: int = 0
    tags: tuple[str, ...] = ()
    host: str = "node"


Shares = list[tuple[Someone, int]]
ANY = Demand(priority=5, needs=Needs(), mean_s=0.0, near=-1, waiting=0)


def make(name: str, seed: int = 0) -> Sharing:
    return PLACEMENTS[name](seed, random.Random)


def counts(shares: Shares) -> dict[int, int]:
    """How many tasks each worker got, by its id."""
    totals: dict[int, int] = {}
    for worker, n in shares:
        totals[worker.id] = totals.get(worker.id, 0) + n
    return totals
