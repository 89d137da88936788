"""What a virtual cluster consists of, and what everything in it costs besides the tasks. Values only."""

from dataclasses import dataclass
from typing import NamedTuple

from mpiexec_runner.core.settings import HeartbeatSettings
from mpiexec_runner.errors import UserError
from mpiexec_runner.model.tasks import TaskKind
from mpiexec_runner.model.workers import WorkerInfo
from mpiexec_runner.sim.worker import VirtualWorker

GIB = 2**30


class Slow(NamedTuple):
    """Some of the workers take longer: ``of`` every ``among`` workers, ``factor`` times."""

    of: int
    among: int
    factor: float


def parse_slow(text: str) -> Slow:
    """Read ``1/8:10``: one of eight workers takes ten times as long.

    Raises
    ------
    UserError
        It is written in another way.
    """
    share, colon, factor = text.partition(":")
    of, slash, among = share.partition("/")
    try:
        slow = Slow(int(of), int(among), float(factor))
    except ValueError:
        slow = Slow(0, 0, 0.0)
    if not (colon and slash and 1 <= slow.of <= slow.among and 0 < slow.factor < float("inf")):
        raise UserError(
            f"slow workers are written as 1/8:10 (one of eight takes ten times as long), not {text!r}"
        )
    return slow


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterShape:
    """The workers of a cluster.

    Attributes
    ----------
    workers, hosts
        How many; workers of one host follow one another.
    slots, cores, memory_bytes, gpus, tags
        Of each worker, as in :class:`~mpiexec_runner.model.workers.WorkerInfo`.
    slow
        Which ones are slow.
    """

    workers: int
    hosts: int = 1
    slots: int = 1
    cores: int = 1
    memory_bytes: int = 0
    gpus: int = 0
    tags: tuple[str, ...] = ()
    slow: tuple[Slow, ...] = ()

    def slowness(self, worker: int) -> float:
        """How many times longer everything takes on a worker."""
        factor = 1.0
        for slow in self.slow:
            if (worker - 1) % slow.among >= slow.among - slow.of:
                factor *= slow.factor
        return factor

    def make(self) -> list[VirtualWorker]:
        """New workers, by their ids from 1 on."""
        return [VirtualWorker(id_, self._info(id_), self.slowness(id_)) for id_ in range(1, self.workers + 1)]

    def _info(self, worker: int) -> WorkerInfo:
        host = (worker - 1) * self.hosts // self.workers + 1
        return WorkerInfo(
            host=f"node{host:04d}",
            pid=worker,
            slots=self.slots,
            cores=self.cores,
            memory_bytes=self.memory_bytes,
            gpus=self.gpus,
            tags=self.tags,
        )


def shape_for(
    kinds: tuple[TaskKind, ...], workers: int, slots: int, hosts: int, slow: tuple[Slow, ...]
) -> ClusterShape:
    """A cluster on which every task can run: each worker has what any kind needs, for all its slots."""
    needs = [kind.needs for kind in kinds]
    return ClusterShape(
        workers=workers,
        hosts=hosts,
        slots=slots,
        cores=slots * max([1, *(need.cpus for need in needs)]),
        memory_bytes=slots * max((need.memory_bytes for need in needs), default=0),
        gpus=slots * max((need.gpus for need in needs), default=0),
        tags=tuple(sorted({tag for need in needs for tag in need.tags})),
        slow=slow,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """What everything besides the tasks takes, in seconds.

    Attributes
    ----------
    latency_s
        A message, from its sender's hands to the receiver's; that includes waiting with adaptive back-off.
    overhead_s
        What a worker needs for an attempt besides the work itself.
    turn_s
        The hub comes around at most so often.
    hub_task_s
        What the hub needs for each task that it sends or is told finished.
    beat_s
        Between two rounds of heartbeats.
    silence_s
        A worker that has said anything in this time is left out of a round.
    """

    latency_s: float = 0.0005
    overhead_s: float = 20e-6
    turn_s: float = 0.0002
    hub_task_s: float = 3e-6
    beat_s: float = 5.0
    silence_s: float = 0.0

    @classmethod
    def under(cls, heartbeat: HeartbeatSettings, latency_s: float = 0.0005) -> "ClusterSettings":
        """Those that fit how closely the scheduler watches."""
        patient = heartbeat.suspect_s >= 3 * heartbeat.interval_s
        return cls(
            latency_s=latency_s,
            beat_s=heartbeat.interval_s,
            silence_s=heartbeat.suspect_s / 2 if patient else 0.0,
        )
