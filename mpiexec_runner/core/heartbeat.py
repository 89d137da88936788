"""HeartbeatManager: who has been silent for too long, and who can be counted on.

It knows no clock and no process: times and what was seen of processes come with the events. What follows
from a verdict is the scheduler's.

How long is too long is a matter of the heartbeats that came before: the phi accrual failure detector of
Hayashibara et al. (SRDS 2004). The gaps between the latest heartbeats of a worker are taken as normally
distributed, and phi is minus the power of 10 of the chance that a heartbeat is still to come after so much
silence. Below it and above it there are hard limits, since a node that is suddenly loaded is not dead.
"""

import math
from collections.abc import Collection, Iterable, Iterator

from mpiexec_runner.core.hosts import site_unit
from mpiexec_runner.core.settings import HeartbeatSettings
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Worker
from mpiexec_runner.model.workers import Health, WorkerState

WINDOW = 32
"""So many gaps between heartbeats are remembered of each worker."""
ENOUGH = 8
"""With fewer gaps than these nothing is known of a worker's heartbeats, and the hard limits count."""
DOUBTFUL_BEATS = 2
"""A worker that has missed so many heartbeats is one whose process is worth a look."""
_WATCHED = (WorkerState.JOINING, WorkerState.ALIVE, WorkerState.SUSPECT)

Name = int | str
"""A rank, the name of a host, or that of a site."""


class HeartbeatManager:
    """Watches for silence. Any message is a sign of life, not only a heartbeat."""

    def __init__(self, settings: HeartbeatSettings, state: RunState) -> None:
        self._settings = settings
        self._state = state
        self._suspect_deviations = deviations_of(settings.phi_suspect)
        self._lost_deviations = math.inf if settings.phi_lost is None else deviations_of(settings.phi_lost)

    @property
    def next_check(self) -> float:
        """When the next verdict can fall due, in seconds; infinite while nobody is watched."""
        return self._state.check_at

    def watch(self, now: float) -> None:
        """Begin to watch, when a worker joins."""
        self._state.check_at = min(self._state.check_at, now + self._settings.interval_s)

    def beat(self, worker: Worker, now: float) -> None:
        """Take in when a heartbeat came."""
        gap_s = now - worker.beat_at
        worker.beat_at = now
        # Nothing is learnt of the rhythm from a worker that begins, or was away.
        if worker.state is WorkerState.ALIVE and gap_s < self._settings.timeout_s:
            worker.gaps.append(gap_s)
            if len(worker.gaps) > WINDOW:
                del worker.gaps[0]

    def begin_again(self, worker: Worker) -> None:
        """A new incarnation has a rhythm of its own."""
        worker.gaps.clear()

    def forgive(self, now: float) -> None:
        """Where the hub itself was away, nobody's silence since it last looked counts.

        It was away when it comes to a check late by more than an interval. That it had nothing to do until
        the check is no absence: then the silence of all is what the check is for.
        """
        if now - self._state.check_at > self._settings.interval_s:
            for worker in self._state.workers.values():
                worker.heard += now - self._state.now
                worker.beat_at += now - self._state.now
                worker.seen_at += now - self._state.now

    def verdicts(self, now: float) -> list[tuple[Worker, WorkerState]]:
        """Workers that are now to be suspect or lost. To be asked when ``next_check`` has come."""
        found: list[tuple[Worker, WorkerState]] = []
        watched = False
        for worker in self._state.workers.values():
            if worker.state not in _WATCHED:
                continue
            watched = True
            silence_s = now - worker.heard
            if silence_s <= self._settings.interval_s:
                continue  # most of them
            suspect_s, lost_s = self.limits(worker)
            if silence_s >= lost_s and not self._is_busy(worker, now):
                found.append((worker, WorkerState.LOST))
            elif silence_s >= suspect_s and worker.state is WorkerState.ALIVE:
                found.append((worker, WorkerState.SUSPECT))
        self._state.check_at = now + self._settings.interval_s if watched else math.inf
        return found

    def limits(self, worker: Worker) -> tuple[float, float]:
        """After how many seconds of silence a worker is suspect, and lost."""
        settings = self._settings
        suspect_s, lost_s = settings.suspect_s, settings.timeout_s
        if len(worker.gaps) >= ENOUGH:
            mean_s, deviation_s = self._rhythm(worker)
            suspect_s = min(suspect_s, mean_s + self._suspect_deviations * deviation_s)
            lost_s = min(lost_s, max(settings.floor_s, mean_s + self._lost_deviations * deviation_s))
        return suspect_s, lost_s

    def phi(self, worker: Worker, now: float) -> float:
        """How sure it is that a worker is gone: 1 is a chance of 1 in 10 to be wrong, 2 of 1 in 100.

        0 as long as too little is known of its heartbeats.
        """
        if len(worker.gaps) < ENOUGH:
            return 0.0
        mean_s, deviation_s = self._rhythm(worker)
        return phi_of((now - worker.heard - mean_s) / deviation_s)

    def _rhythm(self, worker: Worker) -> tuple[float, float]:
        """The mean of a worker's gaps, and how far they spread: neither below what is to be expected."""
        gaps = worker.gaps
        mean_s = math.fsum(gaps) / len(gaps)
        variance = math.fsum((gap - mean_s) ** 2 for gap in gaps) / len(gaps)
        return max(mean_s, self._settings.interval_s), max(math.sqrt(variance), self._settings.deviation_s)

    # --- what the operating system shows of silent workers

    @property
    def look_every_s(self) -> float:
        """How many seconds are best between two looks at the processes of silent workers."""
        return min(5.0, max(1.0, self._settings.interval_s))

    def doubtful(self, now: float) -> Iterator[Worker]:
        """Workers that are watched and have been silent for long enough to look at their processes."""
        silent_since = now - DOUBTFUL_BEATS * self._settings.interval_s
        for worker in list(self._state.workers.values()):
            if worker.heard < silent_since and worker.state in _WATCHED:
                yield worker

    def seen_working(self, worker: Worker, now: float) -> bool:
        """Take in that a silent worker's process works; whether that is news."""
        news = worker.seen_at <= worker.heard
        worker.seen_at = now
        return news and worker.state in _WATCHED

    def _is_busy(self, worker: Worker, now: float) -> bool:
        """Whether a silent worker is waited for all the same: that its process works is a sign of life."""
        seen = now - worker.seen_at < self._settings.timeout_s
        return seen and now - worker.heard < self._settings.busy_s

    # --- who can be counted on

    def get_available(self, names: Iterable[Name]) -> list[Name]:
        """Those of some ranks, hosts and sites that can get work now, in order.

        A host can when any of its workers can. Any other name is taken for a site's, whose tasks run
        anywhere: it can while somebody works, unless it is excluded.
        """
        return [name for name in names if self._is_available(name)]

    def are_healthy(self, names: Collection[Name], required_ratio: float = 1.0) -> bool:
        """Whether at least this share of some ranks, hosts and sites is well.

        A worker is well when it is alive, not excluded, and its checks find nothing wrong; a host when
        all of its workers are that have not left, a site when it is not excluded. Of nobody, all are.

        Raises
        ------
        ValueError
            When the ratio is not in [0, 1].
        """
        if not 0.0 <= required_ratio <= 1.0:
            raise ValueError(f"required_ratio must be between 0 and 1, not {required_ratio}")
        well = sum(self._is_healthy(name) for name in names)
        return well >= required_ratio * len(names) - 1e-9  # 0.1 * 3 is a little more than 0.3

    def _is_available(self, name: Name) -> bool:
        workers = self._named(name)
        if workers:
            return any(worker.takes_work for worker in workers)
        return isinstance(name, str) and self._is_site_open(name)

    def _is_healthy(self, name: Name) -> bool:
        workers = [worker for worker in self._named(name) if worker.state is not WorkerState.DRAINED]
        if workers:
            return all(
                worker.state is WorkerState.ALIVE
                and not worker.disabled
                and worker.load.health is Health.HEALTHY
                for worker in workers
            )
        return self._is_available(name)

    def _named(self, name: Name) -> list[Worker]:
        workers = self._state.workers
        if isinstance(name, int):
            return [workers[name]] if name in workers else []
        return [worker for worker in workers.values() if worker.host == name]

    def _is_site_open(self, name: str) -> bool:
        record = self._state.hosts.get(site_unit(name))
        excluded = record is not None and record.probe_at < math.inf
        return not excluded and any(worker.takes_work for worker in self._state.workers.values())


def phi_of(deviations: float) -> float:
    """Phi of a silence that is so many standard deviations longer than the mean gap."""
    chance = math.erfc(deviations / math.sqrt(2)) / 2
    return -math.log10(chance) if chance > 0.0 else math.inf


def deviations_of(phi: float) -> float:
    """How many standard deviations beyond the mean gap phi reaches a value: the inverse of :func:`phi_of`."""
    low, high = -1.0, 40.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if phi_of(middle) < phi else (low, middle)
    return high
