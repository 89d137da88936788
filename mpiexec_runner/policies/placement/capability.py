"""Placement that keeps rare nodes free: each task to workers that have little beyond what it needs.

Goes by what workers are, and within one kind of node by their load.
"""

from collections.abc import Sequence

from mpiexec_runner.model.decisions import Demand
from mpiexec_runner.model.tasks import Needs
from mpiexec_runner.policies.placement.plain import LeastLoaded
from mpiexec_runner.policies.placement.seen import Seen, W, some_of

Spare = tuple[int, int, int, int]


def spare_of(worker: Seen, needs: Needs) -> Spare:
    """Return what a worker has beyond the needs of a task; less is a better fit.

    The rarest goes first: devices, then tags, then memory, then cores. Memory counts by its power of two, as
    no two nodes of one make report the same number of bytes.
    """
    return (
        worker.gpus - needs.gpus,
        len(worker.tags) - len(needs.tags),
        max(0, worker.memory_bytes - needs.memory_bytes).bit_length(),
        worker.cores - needs.cpus,
    )


class Capability:
    """Best fit: a node with a device or much memory gets other work only when the rest has no room.

    Workers are indexed by shape in one pass, so nothing is sorted but the few shapes.
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
        shapes: dict[Spare, list[tuple[W, int]]] = {}
        for candidate in some_of(count, candidates, turn):
            shapes.setdefault(spare_of(candidate[0], demand.needs), []).append(candidate)
        shares: list[tuple[W, int]] = []
        for shape in sorted(shapes):
            part = self._least_loaded.share(count, shapes[shape], turn, demand)
            shares += part
            count -= sum(n for _, n in part)
            if not count:
                break
        return shares
