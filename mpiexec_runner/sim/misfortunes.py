"""What befalls virtual workers: they die, hang, and are slow for a while.

When it does is in ``faults.py``; the ordinary life of a worker is in ``cluster.py``.
"""

import math
from typing import TYPE_CHECKING, assert_never

from mpiexec_runner.model.events import WorkerLeft
from mpiexec_runner.sim.faults import Fault, Misfortune
from mpiexec_runner.sim.worker import Key, VirtualWorker

if TYPE_CHECKING:
    from mpiexec_runner.sim.cluster import VirtualCluster

FOUND_DEAD_S = 0.02
"""How long it takes MPI to tell the hub that a rank died (measured, Open MPI 5 with ULFM)."""


class Misfortunes:
    """Carries out a fault plan."""

    def __init__(self, cluster: "VirtualCluster") -> None:
        self._cluster = cluster

    def expect(self, fault: Fault, start: float) -> None:
        """Let a fault happen in its time."""
        worker = self._cluster.workers[fault.worker]

        def happen(now: float) -> None:
            match fault.what:
                case Misfortune.KILL:
                    self._kill(worker, now, told=True)
                case Misfortune.VANISH:
                    self._kill(worker, now, told=False)
                case Misfortune.HANG:
                    self._freeze(worker, fault.lasts_s, now)
                case Misfortune.SLOW:
                    self._strain(worker, fault.factor, now)
                    self._cluster.calendar.at(
                        now + fault.lasts_s, lambda at: self._strain(worker, 1 / fault.factor, at)
                    )
                case _:
                    assert_never(fault.what)

        self._cluster.calendar.at(start + fault.at_s, happen)

    def poison(self, worker: VirtualWorker, key: Key, when: float) -> None:
        """Let an attempt kill its worker, if that is still at it then."""

        def strike(now: float) -> None:
            if worker.frozen:
                worker.inbox.append(strike)
            elif any(
                (attempt.spec.id, attempt.number) == key
                for burst in worker.bursts
                for attempt in burst.attempts
            ):
                self._kill(worker, now, told=True)

        self._cluster.calendar.at(when, strike)

    def _kill(self, worker: VirtualWorker, now: float, *, told: bool) -> None:
        if worker.dead:
            return
        cluster = self._cluster
        if not told and not worker.frozen:
            cluster.beat_if_due(worker, now)
        worker.dead = True
        for burst in list(worker.bursts):
            for attempt in burst.attempts:
                cluster.note_end(burst, attempt, None, now)
            cluster.leave(burst, now)
            if burst.group is not None:
                cluster.stall(burst.group, now)
        worker.line.clear()
        if told:
            left = WorkerLeft(worker.id, "its rank died")
            cluster.calendar.at(now + FOUND_DEAD_S, lambda at: cluster.say(worker, left, at))

    def _freeze(self, worker: VirtualWorker, lasts_s: float, now: float) -> None:
        if worker.dead or worker.frozen:
            return
        self._cluster.beat_if_due(worker, now)
        worker.frozen = True
        for burst in worker.bursts:
            burst.halt(now)
            if burst.group is not None:
                self._cluster.stall(burst.group, now)
        self._cluster.calendar.at(now + lasts_s, lambda at: self._wake(worker, at))

    def _wake(self, worker: VirtualWorker, now: float) -> None:
        """It goes on where it was, and then hears what it was told meanwhile."""
        if worker.dead:
            return
        cluster = self._cluster
        worker.frozen = False
        for burst in worker.bursts:
            if burst.group is None:
                cluster.go_on(burst, now)
            else:
                burst.group.stalled -= 1
                cluster.go_on_together(burst.group, now)
        if worker.incarnation:
            cluster.say(worker, worker.beat, now)
        inbox, worker.inbox = worker.inbox, []
        for deed in inbox:
            deed(now)

    def _strain(self, worker: VirtualWorker, factor: float, now: float) -> None:
        """Everything takes longer, also what is under way; a group keeps the pace it began with."""
        worker.strained *= factor
        for burst in worker.bursts:
            if burst.group is not None:
                continue
            if burst.end == math.inf:
                burst.left_s *= factor
            else:
                burst.end = now + (burst.end - now) * factor
                self._cluster.calendar.at(burst.end, burst)
