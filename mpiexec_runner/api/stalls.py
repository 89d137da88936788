"""Saying that nothing goes on because the workers that could go on with it are disabled.

What waits for them goes on waiting: they may be enabled again. Where nobody is left at all, the run ends by
itself (``core/scheduler.py``), and whoever waits is told.
"""

import logging
import math

from mpiexec_runner.core.fleet import GONE, shape_of
from mpiexec_runner.core.hosts import EXCLUDED
from mpiexec_runner.core.queue import Requirement
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Worker

PATIENCE_S = 2.0
"""A worker may be disabled for a moment on purpose."""
SHOWN = 5

_log = logging.getLogger("mpiexec_runner")


class StallWatch:
    """Looks at the run every so often, in the hub's thread, and says once what each stall is about."""

    def __init__(self) -> None:
        self._since = math.inf
        self._said = ""

    def look(self, state: RunState, now: float) -> None:
        """Look; ``now`` is in seconds, on a clock that never goes back."""
        why = why_stalled(state)
        if not why:
            self._since, self._said = math.inf, ""
            return
        self._since = min(self._since, now)
        if now >= self._since + PATIENCE_S and why != self._said:
            self._said = why
            _log.warning("%s", why)


def why_stalled(state: RunState) -> str:
    """Why ready tasks wait for somebody to enable workers; empty when they do not."""
    if state.paused or state.drain is not None or not state.ready:
        return ""
    stalled: dict[int, Worker] = {}
    for line in state.ready.lines.values():
        if line.head() is not None:
            stalled.update((worker.id, worker) for worker in _held_back(state, line.requirement))
    if not stalled:
        return ""
    ranks = ", ".join(str(id_) for id_ in sorted(stalled)[:SHOWN]) + (", ..." if len(stalled) > SHOWN else "")
    whys = "; ".join(dict.fromkeys(worker.disabled for _, worker in sorted(stalled.items())))
    return (
        f"tasks wait for workers that take no new work: rank {ranks} ({whys}). They go on waiting until "
        "enable_worker(RANK) is called"
    )


def _held_back(state: RunState, requirement: Requirement) -> list[Worker]:
    """The disabled workers without which tasks can never be placed; none when others are enough."""
    wanted = requirement.needs.ranks if requirement.gang else 1
    fitting = [
        worker
        for worker in state.workers.values()
        if worker.state not in GONE and shape_of(worker).fits(requirement.needs)
    ]
    # A host that is excluded is let in again by itself, and so is one that is throttled.
    off = [worker for worker in fitting if worker.disabled and not worker.disabled.startswith(EXCLUDED)]
    return off if len(fitting) - len(off) < wanted <= len(fitting) else []
