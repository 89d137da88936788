"""Auto-scaling of one run: workers are parked and woken as ``policies/scaling.py`` says.

A parked worker is a disabled one: it waits for messages and costs no processor time.
"""

import time

from mpiexec_runner.api.session import Session
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Worker
from mpiexec_runner.model.events import WorkerSwitched
from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.model.workers import WorkerState
from mpiexec_runner.policies.scaling import FollowDemand, PoolDemand, ScalingSettings

PARKED = "parked by auto-scaling"


class AutoScaler:
    """Looks at the run every so often, in the hub's thread.

    Parameters
    ----------
    session
        The run.
    settings
        See :class:`~mpiexec_runner.policies.scaling.ScalingSettings`.
    """

    def __init__(self, session: Session, settings: ScalingSettings) -> None:
        self._session, self._policy = session, FollowDemand(settings)
        self._parked: set[int] = set()
        self._began = time.monotonic()
        self.history: list[tuple[float, int]] = []
        """How many workers were active from when on, in seconds."""

    def look(self, state: RunState) -> None:
        """Wake or park workers, if that is due."""
        able = [worker for worker in state.workers.values() if self._is_able(worker)]
        if not able:
            return
        active = [worker for worker in able if worker.id not in self._parked]
        demand = PoolDemand(
            workers=len(able),
            active=len(active),
            slots=sum(worker.slots for worker in able) / len(able),
            held=state.counts[TaskState.ASSIGNED] + state.counts[TaskState.RUNNING],
            waiting=state.counts[TaskState.READY],
        )
        wanted = self._policy.wanted(demand)
        if wanted > len(active):
            asleep = sorted(worker.id for worker in able if worker.id in self._parked)
            self._wake(asleep[: wanted - len(active)])
        elif wanted < len(active):
            idlest = sorted(active, key=lambda worker: (worker.held, -worker.id))
            self._park([worker.id for worker in idlest[: len(active) - wanted]])
        if not self.history or self.history[-1][1] != wanted:
            self.history.append((time.monotonic() - self._began, wanted))

    def _is_able(self, worker: Worker) -> bool:
        """Whether it could work: nobody else has disabled it."""
        return worker.state is WorkerState.ALIVE and (worker.id in self._parked or not worker.disabled)

    def _wake(self, workers: list[int]) -> None:
        for worker in workers:
            self._parked.discard(worker)
            self._session.post(WorkerSwitched(worker, True))

    def _park(self, workers: list[int]) -> None:
        for worker in workers:
            self._parked.add(worker)
            self._session.post(WorkerSwitched(worker, False, PARKED, by_hand=False))

    def stop(self) -> None:
        """Wake all."""
        self._wake(sorted(self._parked))
