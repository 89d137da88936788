"""How well a run goes, in numbers: what :func:`measure` makes of its state.

Pure reading; nothing here decides anything.
"""

import msgspec

from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import NOBODY, Task, Violation, Worker
from mpiexec_runner.model.tasks import Needs, TaskState
from mpiexec_runner.model.workers import WorkerState

COMMON_TAGS = frozenset({"cpu"})
"""Tags that every worker has: to have them is nothing special."""


class WorkerMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """How one worker fares.

    ``busy_s`` is the time that its attempts took, in seconds, with what runs now as far as is known;
    ``utilisation`` is that as a share of what its slots had. ``slowness`` is how many times longer tasks take
    there than on an ordinary worker. ``peak_cpu_percent`` is of its host, ``peak_memory_bytes`` of its rank
    and of what ran below it, as its heartbeats told.
    """

    worker: int
    host: str
    state: str
    held: int
    running: int
    done: int
    failed: int
    busy_s: float
    utilisation: float
    slowness: float
    cpu_percent: float
    peak_cpu_percent: float
    peak_memory_bytes: int
    why_idle: str = ""


class KindMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """How long the tasks of one kind took, in seconds, as an ordinary worker would take for them.

    ``mean_s`` is a running mean in which newer ones count more; ``median_s`` and ``high_s`` (the 90th
    percentile) are told to within 9 %.
    """

    name: str
    done: int
    mean_s: float
    median_s: float
    high_s: float


class RunMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """How well a run goes.

    Parameters
    ----------
    elapsed_s
        Since its beginning, in seconds.
    counts
        Tasks by state.
    attempts, retries, steals
        How often a task was sent to a worker, tried again after a failure, taken back from a worker.
    speculations, speculations_won, speculations_lost
        Second attempts: begun, first to end, and begun in vain; the rest are under way.
    scheduling_s
        What the hub has spent on deciding, all together, in seconds.
    queue_wait_s
        The mean time from being ready to being sent, in seconds.
    throughput
        Tasks that ended successfully, per second.
    utilisation
        The mean of that of the workers.
    load_balance
        The mean of the workers' busy time, for each slot, divided by the largest: 1 is even.
    max_load, min_load
        Tasks held by the worker that has most and least, for each slot.
    capability_match
        How well workers fit what they hold now: the share of what is special about them (devices, tags) that
        their tasks ask for; 1 when nothing special is wasted.
    cpu_percent
        The largest use of a host's cores that a worker told in its last heartbeat.
    peak_cpu_percent, peak_memory_bytes
        The largest that a worker ever told, see :class:`WorkerMetrics`.
    throttled, excluded, lost_workers
        How often workers were held back by a limit, hosts excluded after failures, and workers lost.
    violations
        Each time that a worker was found over a limit, or a task ended for its memory, in order.
    workers
        Each worker, in the order of their ranks.
    kinds
        Each kind of tasks of which one has succeeded.
    """

    elapsed_s: float
    counts: dict[str, int]
    attempts: int
    retries: int
    steals: int
    speculations: int
    speculations_won: int
    speculations_lost: int
    scheduling_s: float
    queue_wait_s: float
    throughput: float
    utilisation: float
    load_balance: float
    max_load: float
    min_load: float
    capability_match: float
    cpu_percent: float
    peak_cpu_percent: float
    peak_memory_bytes: int
    throttled: int
    excluded: int
    lost_workers: int
    violations: tuple[Violation, ...]
    workers: tuple[WorkerMetrics, ...]
    kinds: tuple[KindMetrics, ...]


def measure(state: RunState, elapsed_s: float, scheduling_s: float = 0.0) -> RunMetrics:
    """Measure a run.

    Parameters
    ----------
    state
        Only read; one attribute after the other, so it may go on meanwhile.
    elapsed_s
        Since the run began, in seconds.
    scheduling_s
        What the hub has spent on deciding, in seconds.
    """
    tally = state.tally
    workers = sorted(state.workers.values(), key=lambda worker: worker.id)
    there = [w for w in workers if w.state in (WorkerState.ALIVE, WorkerState.SUSPECT)] or workers
    each = tuple(_of_worker(state, worker, elapsed_s) for worker in workers)
    busy = [one.busy_s / worker.slots for one, worker in zip(each, workers, strict=True)]
    loads = [worker.held / worker.slots for worker in there]
    succeeded = state.counts[TaskState.SUCCEEDED]
    begun, won, open_ = (
        tally.speculated,
        tally.speculations_won,
        sum(twin.worker != NOBODY for twin in list(state.twins.values())),
    )
    return RunMetrics(
        elapsed_s=elapsed_s,
        counts={one.name.lower(): n for one, n in zip(TaskState, state.counts, strict=True)},
        attempts=tally.attempts,
        retries=tally.retries,
        steals=tally.stolen,
        speculations=begun,
        speculations_won=won,
        speculations_lost=max(0, begun - won - open_),
        scheduling_s=scheduling_s,
        queue_wait_s=_share(tally.waited_s, tally.attempts - begun),
        throughput=_share(succeeded, elapsed_s),
        utilisation=_share(sum(one.utilisation for one in each), len(each)),
        load_balance=_share(sum(busy), len(busy) * max(busy, default=0.0), nothing=1.0),
        max_load=max(loads, default=0.0),
        min_load=min(loads, default=0.0),
        capability_match=_capability_match(there),
        cpu_percent=max((one.cpu_percent for one in each), default=0.0),
        peak_cpu_percent=max((one.peak_cpu_percent for one in each), default=0.0),
        peak_memory_bytes=max((one.peak_memory_bytes for one in each), default=0),
        throttled=tally.throttled,
        excluded=tally.excluded,
        lost_workers=state.lost_workers,
        violations=tuple(state.violations),
        workers=each,
        kinds=tuple(_of_kind(kind) for kind in list(state.kinds.values()) if kind.measured),
    )


def _of_kind(kind: Kind) -> KindMetrics:
    return KindMetrics(
        name=kind.spec.name,
        done=kind.measured,
        mean_s=kind.mean_s,
        median_s=kind.median_s,
        high_s=kind.high_s,
    )


def _of_worker(state: RunState, worker: Worker, elapsed_s: float) -> WorkerMetrics:
    busy_s = worker.busy_s + sum(_running_s(state, worker, task) for task in list(worker.tasks.values()))
    return WorkerMetrics(
        worker=worker.id,
        host=worker.host,
        state=worker.state.name.lower(),
        held=worker.held,
        running=worker.running,
        done=worker.done,
        failed=worker.failed,
        busy_s=busy_s,
        # Clocks differ a little: never above 1.
        utilisation=min(1.0, _share(busy_s, elapsed_s * worker.slots)),
        slowness=worker.slowness,
        cpu_percent=worker.load.cpu_percent,
        peak_cpu_percent=worker.peak_cpu_percent,
        peak_memory_bytes=worker.peak_memory_bytes,
        why_idle=worker.disabled or worker.throttled,
    )


def _running_s(state: RunState, worker: Worker, task: Task) -> float:
    """How long a worker has been running a task; 0 for one that it is not known to have begun."""
    twin = state.twins.get(task.spec.id)
    if twin is not None and twin.worker == worker.id:
        return max(0.0, state.now - twin.began)
    return max(0.0, state.now - task.began) if task.state is TaskState.RUNNING else 0.0


def _capability_match(workers: list[Worker]) -> float:
    """The mean over all tasks that are held; 1 when there are none."""
    total, count = 0.0, 0
    for worker in workers:
        for task in list(worker.tasks.values()):
            total += fit(task.kind.spec.needs, worker.info.gpus, worker.tags)
            count += 1
    return _share(total, count, nothing=1.0)


def fit(needs: Needs, gpus: int, tags: tuple[str, ...]) -> float:
    """The share of what is special about a worker that a task asks for; 1 for a worker without any."""
    special = [tag in needs.tags for tag in tags if tag not in COMMON_TAGS]
    if gpus:
        special.append(needs.gpus > 0 or "gpu" in needs.tags)
    return _share(sum(special), len(special), nothing=1.0)


def _share(part: float, whole: float, nothing: float = 0.0) -> float:
    return part / whole if whole > 0 else nothing
