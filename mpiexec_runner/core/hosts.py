"""Hosts, workers and sites whose tasks keep failing are excluded, named, and tried again with one task.

A failure is held against the host and the worker that ran the task, and against the task's site, but only
while tasks succeed elsewhere: a task that fails everywhere says nothing of any of them. That a site is
excluded is only told (see ``HeartbeatManager.get_available``): its tasks are somebody else's to hold back.
"""

import math
from collections.abc import Iterator

from mpiexec_runner.core.settings import SchedulerSettings
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Host, Worker
from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.model.workers import WorkerState

EXCLUDED = "excluded"
FADE = 0.9
"""What an earlier outcome counts for each one that comes after it."""
FORGOTTEN = 0.1
"""Failures that count less than this, all together, are no reason to remember anything."""


def rank_unit(worker: int) -> str:
    """Under what name a worker's outcomes are kept: no host has a space in its name."""
    return f"rank {worker}"


def site_unit(site: str) -> str:
    """Under what name a site's outcomes are kept."""
    return f"site {site}"


class Hosts:
    """Keeps count of failures by host, worker and site, its *units*; of those that have failed at all."""

    def __init__(self, settings: SchedulerSettings, state: RunState) -> None:
        self._after, self._pause_s = settings.exclude_after, settings.probe_after_s
        self._ratio = math.inf if settings.exclude_ratio is None else settings.exclude_ratio
        self._state = state

    @property
    def next_probe(self) -> float:
        """When somebody excluded gets a task again, in seconds; infinite for never."""
        return min((unit.probe_at for unit in self._state.hosts.values()), default=math.inf)

    # --- how tasks end

    def succeeded(self, worker: Worker, site: str = "") -> list[Worker]:
        """A task is about to be booked as a success: its units are well, others are suspect by comparison.

        Returns the workers that were probed with it, and have room for more now.
        """
        hosts = self._state.hosts
        opened: list[Worker] = []
        for name in _units(worker, site):
            unit = hosts.get(name)
            if unit is None or unit.probe_at < math.inf:
                continue  # what still runs where it is excluded may end well; it is probed all the same
            _count(unit, bad=0)
            unit.row, unit.since = 0, self._state.counts[TaskState.SUCCEEDED] + 1
            if unit.probing:
                opened += self._of(name)
            if unit.probing or unit.bad < FORGOTTEN:
                del hosts[name]
        return opened

    def failed(self, worker: Worker, site: str = "") -> list[Worker]:
        """A task failed, and ``tally.failures`` counts it; the workers that are to be excluded for it now."""
        if not self._after:
            return []
        for name in _units(worker, site):
            self._note_failure(name)
        if site:
            self._judge(site_unit(site))
        return self._judge(worker.host) or self._judge(rank_unit(worker.id))

    def _note_failure(self, name: str) -> None:
        state = self._state
        unit = state.hosts.get(name)
        if unit is None:
            successes, failures = state.counts[TaskState.SUCCEEDED], state.tally.failures - 1
            unit = state.hosts[name] = Host(since=successes, before=(successes, failures))
        _count(unit, bad=1)
        unit.row += 1

    def _judge(self, name: str) -> list[Worker]:
        """Exclude a unit if it deserves it; the workers that get no more for that."""
        state = self._state
        unit = state.hosts[name]
        again = unit.probing
        why = self._why_exclude(name, unit) if unit.probe_at == math.inf else ""
        here = self._of(name)
        if not why or (here and not self._has_others(here)):
            return []
        unit.pause_s = 2 * unit.pause_s if again else self._pause_s
        unit.probe_at, unit.probing = state.now + unit.pause_s, False
        state.tally.excluded += 1
        excluded = [worker for worker in here if not worker.disabled]
        for worker in excluded:
            worker.disabled = f"{EXCLUDED}: {why}"
        return excluded

    def _why_exclude(self, name: str, unit: Host) -> str:
        """What is wrong with a unit; empty for nothing."""
        host = not name.startswith((rank_unit(0)[:-1], site_unit("")))
        where = f" on {name}" if host else ""
        elsewhere = self._state.counts[TaskState.SUCCEEDED] - unit.since
        if host and (unit.probing or unit.row >= self._after <= elsewhere):
            return f"{unit.row} tasks in a row failed{where}"
        if unit.probing:
            return "the task that it was probed with failed"
        share = unit.bad / unit.recent
        if unit.seen >= 2 * self._after and share >= self._ratio and self._fare_better(unit, share):
            return f"{100 * share:.0f} % of {'the' if host else 'its'} latest tasks failed{where}"
        return ""

    def _fare_better(self, unit: Host, share: float) -> bool:
        """Whether enough tasks ended elsewhere since the first failure here, and far fewer of them badly."""
        good = self._state.counts[TaskState.SUCCEEDED] - unit.before[0] - (unit.seen - unit.failed)
        bad = self._state.tally.failures - unit.before[1] - unit.failed
        return good + bad >= 2 * self._after and bad <= share / 2 * (good + bad)

    def _has_others(self, here: list[Worker]) -> bool:
        away = {worker.id for worker in here}
        return any(worker.takes_work and worker.id not in away for worker in self._state.workers.values())

    # --- another chance

    def due_probes(self, now: float) -> list[tuple[Worker, str]]:
        """The workers that are to get one task, to show that all is well, and what to say of each."""
        found: list[tuple[Worker, str]] = []
        for name, unit in self._state.hosts.items():
            if unit.probe_at > now:
                continue
            unit.probe_at, unit.probing = math.inf, True
            what = "probed with one task"
            for worker in self._of(name):
                if self._is_excluded(worker) and not any(map(self._is_shut, _units(worker))):
                    worker.disabled = ""
                    found.append((worker, f"its host is {what}" if name == worker.host else what))
        return [(worker, what) for worker, what in found if worker.state is WorkerState.ALIVE]

    def give_way(self) -> list[Worker]:
        """Nobody else can run what is left: all workers that were excluded get work again."""
        state = self._state
        found = [worker for worker in state.workers.values() if self._is_excluded(worker)]
        for worker in found:
            worker.disabled = ""
        state.hosts.clear()
        return found

    def forgive(self, worker: Worker) -> list[Worker]:
        """Somebody enables a worker; the others that were excluded with it, whose past counts no more."""
        if not self._is_excluded(worker):
            return []
        self.forget(worker)
        if self._state.hosts.pop(worker.host, None) is None:
            return []
        return [
            other
            for other in self._of(worker.host)
            if other is not worker and self._is_excluded(other) and not self._is_shut(rank_unit(other.id))
        ]

    def forget(self, worker: Worker) -> None:
        """A worker is gone, or begins anew: what it did counts no more."""
        gone = self._state.hosts.pop(rank_unit(worker.id), None)
        if gone is not None and self._is_excluded(worker) and not self._is_shut(worker.host):
            worker.disabled = ""

    def _of(self, name: str) -> list[Worker]:
        """The workers that a unit is about."""
        workers = self._state.workers.values()
        return [worker for worker in workers if name in (worker.host, rank_unit(worker.id))]

    def _is_shut(self, name: str) -> bool:
        unit = self._state.hosts.get(name)
        return unit is not None and unit.probe_at < math.inf

    def _is_excluded(self, worker: Worker) -> bool:
        return worker.disabled.startswith(EXCLUDED)


def _units(worker: Worker, site: str = "") -> Iterator[str]:
    yield worker.host
    yield rank_unit(worker.id)
    if site:
        yield site_unit(site)


def _count(unit: Host, *, bad: int) -> None:
    unit.seen += 1
    unit.failed += bad
    unit.bad = FADE * unit.bad + bad
    unit.recent = FADE * unit.recent + 1
