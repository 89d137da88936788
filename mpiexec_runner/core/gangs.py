"""Gangs: tasks that run on several workers at once, and the workers that are kept free for the next one.

The workers for a gang have to be idle at the same time. The first gang in line gets a reservation on those
that are expected to be free soonest; until it begins they take only what ends before that. This is EASY
backfilling (Lifka, "The ANL/IBM SP Scheduling System", 1995): a big gang is never overtaken for ever, and
small tasks fill the gaps.
"""

import math
from collections import Counter

from mpiexec_runner.core.fleet import MANY, Fleet, ends_before_gang, host_room, shape_of
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Task, Worker
from mpiexec_runner.model.tasks import TaskState


class Gangs:
    """Finds workers for gangs; keeps one reservation at a time."""

    def __init__(self, state: RunState, fleet: Fleet) -> None:
        self._state, self._fleet = state, fleet
        self._reserved: list[Worker] = [
            worker for worker in state.workers.values() if worker.reserved_until < math.inf
        ]

    def find_workers(self, task: Task) -> list[Worker]:
        """Idle workers for all ranks of a task, on few hosts; empty when there are too few."""
        state, needs = self._state, task.kind.spec.needs
        if self._fleet.idle_count(needs) < needs.ranks:
            return []
        own = state.reserved_for == task.spec.id
        idle: list[Worker] = []
        left: dict[str, int] = {}
        for worker in self._fleet.idle(needs):
            if not own and not ends_before_gang(state, worker, task.kind):
                continue
            if state.usage is not None or state.hosts:
                host_left = left.get(worker.host)
                left[worker.host] = (host_room(state, worker.host) if host_left is None else host_left) - 1
                if left[worker.host] < 0:
                    continue
            idle.append(worker)
        if len(idle) < needs.ranks:
            return []
        by_host: dict[str, list[Worker]] = {}
        for worker in sorted(idle, key=lambda worker: (worker.slowness > 1.5, worker.id)):
            by_host.setdefault(worker.host, []).append(worker)
        # The smallest host that takes all of it, else the largest ones.
        enough = [workers for workers in by_host.values() if len(workers) >= needs.ranks]
        if enough:
            return min(enough, key=len)[: needs.ranks]
        chosen: list[Worker] = []
        for workers in sorted(by_host.values(), key=len, reverse=True):
            chosen += workers
        return chosen[: needs.ranks]

    def reserve(self, task: Task) -> None:
        """Keep the workers that are free soonest for a task that has to wait."""
        state, needs = self._state, task.kind.spec.needs
        if state.reserved_for == task.spec.id and all(worker.takes_work for worker in self._reserved):
            return
        self.clear()
        by_time = sorted(
            (worker for worker in state.workers.values() if worker.takes_work),
            key=lambda worker: (self._free_at(worker), worker.id),
        )
        most = MANY if state.usage is None else state.usage.most_on_host
        on_host: Counter[str] = Counter()
        kept: list[Worker] = []
        for worker in by_time:
            if len(kept) < needs.ranks and on_host[worker.host] < most and shape_of(worker).fits(needs):
                on_host[worker.host] += 1
                kept.append(worker)
        if len(kept) < needs.ranks:
            return
        if most < MANY:
            kept += _in_the_way(kept, by_time, {host: most - number for host, number in on_host.items()})
        begins = max(state.now, *map(self._free_at, kept))
        for worker in kept:
            worker.reserved_until = begins
        self._reserved += kept
        state.reserved_for = task.spec.id

    def _free_at(self, worker: Worker) -> float:
        """When a worker is expected to have done what it holds."""
        now, left_s = self._state.now, worker.backlog_s * worker.slowness
        for task in worker.tasks.values():
            if task.state is TaskState.RUNNING and task.worker == worker.id:
                left_s -= min(now - task.began, task.expected_s * worker.slowness)
        return now + max(0.0, left_s) / max(1, worker.slots)

    def clear(self) -> None:
        """Give the reserved workers free."""
        for worker in sorted(self._reserved, key=lambda worker: worker.id):  # after a restore as before it
            worker.reserved_until = math.inf
            if worker.id in self._state.workers:
                self._fleet.changed(worker)
        self._reserved.clear()
        self._state.reserved_for = 0

    @property
    def reserves(self) -> bool:
        """Whether workers are kept for a gang."""
        return bool(self._reserved)


def _in_the_way(kept: list[Worker], by_time: list[Worker], spare: dict[str, int]) -> list[Worker]:
    """Those who would take the room on their hosts that a gang needs: all but the ``spare`` latest there."""
    chosen = {worker.id for worker in kept}
    found: list[Worker] = []
    for worker in reversed(by_time):
        if worker.id in chosen or worker.host not in spare:
            continue
        if worker.slots <= spare[worker.host]:
            spare[worker.host] -= worker.slots
        else:
            found.append(worker)
    return found
