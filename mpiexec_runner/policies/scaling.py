"""How many workers are to be active: more when work waits, fewer when they have little to do.

A pure decision; who is woken or parked, and when it is asked, is not its business.
"""

import math

import msgspec


class ScalingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Between which bounds, and how eagerly, the number of active workers follows the work.

    Parameters
    ----------
    min_workers, max_workers
        The bounds; ``None`` is all there are.
    target
        The share of the active slots that is to be busy.
    patience
        After so many looks in a row that found too many workers active, some are parked.
    """

    min_workers: int = 1
    max_workers: int | None = None
    target: float = 0.9
    patience: int = 4


class PoolDemand(msgspec.Struct, frozen=True):
    """What was seen at a look: workers that could work, those that may, their slots, and tasks.

    ``waiting`` tasks are ready and not sent to anybody; ``held`` ones are with workers. ``slots`` is the mean
    of a worker.
    """

    workers: int
    active: int
    slots: float
    held: int
    waiting: int


class FollowDemand:
    """Grows at once and shrinks with patience, as the autoscalers of clusters do.

    The number wanted is that whose slots would be busy to the share ``target`` with what is there; while
    tasks wait it is at least one more than are active, since what waits may need several, or other ones.
    """

    def __init__(self, settings: ScalingSettings) -> None:
        self._settings = settings
        self._calm = 0

    def wanted(self, demand: PoolDemand) -> int:
        """How many workers are to be active."""
        settings = self._settings
        most = demand.workers if settings.max_workers is None else min(settings.max_workers, demand.workers)
        least = min(max(0, settings.min_workers), most)
        tasks = demand.held + demand.waiting
        wanted = math.ceil(tasks / max(1e-9, demand.slots * settings.target))
        if demand.waiting:
            wanted = max(wanted, demand.active + 1)
        wanted = max(least, min(most, wanted))
        if wanted >= demand.active:
            self._calm = 0
            return wanted
        if demand.active > most:
            return most
        self._calm += 1
        if self._calm < settings.patience:
            return demand.active
        self._calm = 0
        return wanted
