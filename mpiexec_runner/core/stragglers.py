"""Slow workers and late tasks: how fast a worker is, and when a second attempt is worth its while.

The speed of a worker is estimated from the ratio of its durations to the median of their kind. Ratios of a
kind whose durations vary widely say little, so each is weighted with the inverse of the variance of their
logarithm; a prior of one doubling keeps a single odd task from condemning a worker. Old ratios fade.
"""

import itertools
import math
from collections.abc import Callable

from mpiexec_runner.core.fleet import LOOKED_AT, Fleet, host_room, room
from mpiexec_runner.core.graph import Graph
from mpiexec_runner.core.kinds import ENOUGH, Kind
from mpiexec_runner.core.ports import Speculation
from mpiexec_runner.core.queue import requirement_of
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Task, Worker
from mpiexec_runner.model.commands import AnyCommand, CancelAttempts, RunTasks
from mpiexec_runner.model.decisions import AttemptView
from mpiexec_runner.model.tasks import TaskState

TELLING_S = 0.005
"""Durations below this are mostly noise: they say nothing of a worker's speed."""
PRIOR = 1.0 / math.log(2.0) ** 2
FADE = 0.9
LEAST_SPREAD = 0.1
P90 = 1.2816
"""The 90th percentile of a normal distribution, in standard deviations."""
LOOK_EVERY_S = 0.1
AGAIN_S = 5.0
"""After so many seconds a worker is told again to end an attempt whose time is over."""
LOOK_REST_S = 1e-4
"""So many seconds for each worker are between two looks at them all."""


def note_speed(worker: Worker, kind: Kind, elapsed_s: float) -> None:
    """Take in how long a worker took for a task, compared with others."""
    median_s = kind.median_s
    if kind.measured < ENOUGH or not 0.0 < elapsed_s < math.inf:
        return
    spread = max(LEAST_SPREAD, math.log(max(kind.high_s / median_s, 1.0)) / P90)
    weight = 1.0 / spread**2
    worker.slow_sum = FADE * worker.slow_sum + weight * math.log(elapsed_s / median_s)
    worker.slow_weight = FADE * worker.slow_weight + weight
    worker.slowness = math.exp(worker.slow_sum / (worker.slow_weight + PRIOR))


class Stragglers:
    """Watches running attempts."""

    def __init__(
        self, state: RunState, fleet: Fleet, graph: Graph, policy: Speculation, prefetch_s: float
    ) -> None:
        self._state, self._fleet, self._graph = state, fleet, graph
        self._policy, self._prefetch_s = policy, prefetch_s

    def plan(self, nothing_to_place: Callable[[], bool]) -> None:
        """Set when to look next: only while somebody is idle and nothing else is to be done."""
        state = self._state
        if not (
            state.counts[TaskState.RUNNING]
            and self._fleet.has_idle()
            and self._may_begin()
            and nothing_to_place()
        ):
            state.speculate_at = math.inf
        elif state.speculate_at == math.inf:
            # The longer nothing happens, the less often: a task of hours does not keep the hub awake.
            state.speculate_at = state.now + max(self._look_every_s(), (state.now - state.stirred) / 4)

    def _may_begin(self) -> bool:
        return self._state.drain is None and not self._state.paused

    def _look_every_s(self) -> float:
        return max(LOOK_EVERY_S, LOOK_REST_S * len(self._state.workers))

    def speculate(self, commands: list[AnyCommand], nothing_to_place: Callable[[], bool]) -> None:
        """Give late attempts a second one on idle workers, when all that is ready has to wait."""
        state = self._state
        state.speculate_at = math.inf
        if not (self._may_begin() and nothing_to_place()):
            return
        look_at = math.inf
        late: list[tuple[float, Task, AttemptView]] = []
        for worker in state.workers.values():
            for task in worker.tasks.values():
                if task.state is not TaskState.RUNNING or task.worker != worker.id or not self._may(task):
                    continue
                view = self._view(task, worker)
                due = task.began + self._policy.begin_after_s(view)
                if due <= state.now:
                    late.append((task.began, task, view))
                    look_at = min(look_at, state.now + view.elapsed_s / 4)
                else:
                    look_at = min(look_at, due)
        late.sort(key=lambda entry: (entry[0], entry[1].spec.id))
        for _, task, view in late:
            idle = self._idle_for(task)
            if idle is None:
                continue
            if self._policy.is_worth(view, idle.slowness):
                attempt = state.give_twin(idle, task)
                self._fleet.changed(idle)
                results = self._graph.results_for([task])
                run = RunTasks(idle.id, [task.spec], [attempt], results=results, aside=True)
                run.isolate.extend(state.suspects & {task.spec.id})
                commands.append(run)
        if look_at < math.inf:
            state.speculate_at = max(look_at, state.now + self._look_every_s())

    def end_overdue(self, commands: list[AnyCommand]) -> None:
        """End attempts that take more than their share of the median of their kind; set when to look next."""
        state = self._state
        look_at = math.inf
        for worker in state.workers.values():
            overdue = []
            for task in worker.tasks.values():
                time_out_s = task.kind.time_out_s
                if time_out_s == math.inf or task.state is not TaskState.RUNNING:
                    continue
                twin = state.twins.get(task.spec.id)
                if task.worker == worker.id:
                    due = task.began + time_out_s
                elif twin is not None:
                    due = twin.began + time_out_s
                else:
                    continue  # a further rank of a gang
                if due <= state.now:
                    overdue.append((task.spec.id, state.attempt_on(task, worker)))
                    due = state.now + AGAIN_S
                look_at = min(look_at, due)
            if overdue:
                commands.append(CancelAttempts(worker.id, overdue, overdue=True))
        state.overdue_at = look_at

    def _may(self, task: Task) -> bool:
        spec = task.kind.spec
        return (
            spec.speculate
            and task.spec.id not in self._state.twins
            and not task.cancelling
            and not task.kind.is_gang
        )

    def _view(self, task: Task, worker: Worker) -> AttemptView:
        kind = task.kind
        elapsed_s = self._state.now - task.began
        if kind.measured < ENOUGH:
            return AttemptView(elapsed_s, 0.0, 0.0, 0.0, worker.slowness)
        return AttemptView(elapsed_s, kind.mean_s, kind.median_s, kind.high_s, worker.slowness)

    def _idle_for(self, task: Task) -> Worker | None:
        """The fastest of some workers with nothing to do that can take a second attempt."""
        state, kind = self._state, task.kind
        if state.usage is not None and not state.usage.room(requirement_of(kind)):
            return None
        fitting = (
            worker
            for worker in itertools.islice(self._fleet.idle(kind.spec.needs), LOOKED_AT)
            if worker.id != task.worker
            and room(state, worker, kind, self._prefetch_s) > 0
            and ((state.usage is None and not state.hosts) or host_room(state, worker.host) > 0)
        )
        return min(fitting, key=lambda worker: (worker.slowness, worker.id), default=None)
