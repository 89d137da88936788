"""What a seed means: the work, the ranks, the network, and all that goes wrong, life by life.

Drawn beforehand and printed with a failure. Each life leaves some workers unharmed, and the last one ends
nothing but workers, so that every plan leaves a run that has to come to its end.
"""

import errno
import random
from dataclasses import dataclass, field

from loop_disk import DiskFault
from loop_net import Cut, Delays
from loop_work import Fates, parts_of

from mpiexec_runner.core.settings import HeartbeatSettings, LimitSettings, SchedulerSettings
from mpiexec_runner.model.events import (
    AnyEvent,
    CancelRequested,
    DrainRequested,
    MoveRequested,
    PauseRequested,
    PriorityRequested,
    RebalanceRequested,
    StopReason,
    WorkerSwitched,
)
from mpiexec_runner.model.tasks import (
    BlobRef,
    CallByName,
    CommandLine,
    Mode,
    Needs,
    RetryRule,
    TaskKind,
    TaskSpec,
    When,
)
from mpiexec_runner.policies.placement import PLACEMENTS

LIVES = 4
HUB = -1


@dataclass
class Fault:
    """What befalls a rank at a time."""

    at: float
    what: str
    """``kill`` (the others are told), ``vanish`` (they are not), or ``hang`` for ``lasts_s``."""
    rank: int
    """``HUB`` for whoever leads then."""
    lasts_s: float = 0.0


@dataclass
class Trip:
    """Rank 0 dies at a certain point of its work: before or after a record, or before a packet."""

    where: str
    count: int


@dataclass
class LifePlan:
    """One life of the run, from the start of the job to the end of rank 0."""

    workers: int
    slots: int
    delays: list[Delays]
    unharmed: frozenset[int]
    faults: list[Fault] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    trip: Trip | None = None
    power: bool = False
    """Whether the death of rank 0 is that of its host."""
    disk: list[DiskFault] = field(default_factory=list)
    requests: list[tuple[float, AnyEvent]] = field(default_factory=list)
    threaded: bool = True
    follows: bool = False
    """Whether another rank leads when the hub is gone; else the life ends with it."""

    @property
    def horizon(self) -> float:
        """When the last of what goes wrong is over."""
        ends = [0.0]
        ends += [fault.at + fault.lasts_s for fault in self.faults]
        ends += [cut.ends for cut in self.cuts]
        ends += [fault.ends for fault in self.disk]
        ends += [at for at, _ in self.requests]
        return max(ends)


@dataclass
class Plan:
    """All of one simulation."""

    seed: int
    scheduler: SchedulerSettings
    heartbeat: HeartbeatSettings
    limits: LimitSettings
    kinds: tuple[TaskKind, ...]
    tasks: list[TaskSpec]
    fates: Fates
    checkpoint_every_s: float
    fsync_s: float
    lives: list[LifePlan]

    @property
    def patience_s(self) -> float:
        """Virtual seconds in which the last life has to end after everything is well."""
        attempts = sum(self.fates.lasts_s.values()) * 4 + len(self.fates.lasts_s)
        return 200.0 + 10 * attempts


def draw_plan(seed: int) -> Plan:
    """The plan of a seed."""
    draws = random.Random(f"{seed}/plan")
    interval_s, timeout_s = draws.choice([0.5, 1.0, 2.0]), draws.choice([6.0, 9.0])
    # A rank without threads is silent for as long as a call lasts, which phi alone would not bear.
    heartbeat = HeartbeatSettings(interval_s=interval_s, timeout_s=timeout_s, phi_floor_s=timeout_s)
    ranks_at_most = draws.choice([1, 1, 2, 3])
    kinds = _draw_kinds(draws, ranks_at_most)
    tasks, lasts_s = _draw_tasks(draws, kinds)
    fates = Fates(
        f"{seed}",
        lasts_s,
        fail=draws.choice([0.0, 0.0, 0.1, 0.4]),
        drag=draws.choice([0.0, 0.0, 0.05]),
        obstinate=draws.choice([0.0, 0.3]),
        poison=frozenset(draws.sample(range(1, len(tasks) + 1), draws.choice([0, 0, 0, 1]))),
        large=frozenset(kind.id for kind in kinds if draws.random() < 0.3),
        adding=frozenset(draws.sample(range(1, len(tasks) + 1), draws.choice([0, 0, 2]))),
    )
    most = max(kind.needs.ranks for kind in kinds)
    work_s = sum(lasts_s.values())
    lives = [
        _draw_life(draws, heartbeat, most, len(tasks), work_s) for _ in range(draws.choice([1, 2, 3, LIVES]))
    ]
    longest_s = fates.longest_s(task.id for task in tasks if kinds[task.kind - 1].needs.ranks > 1)
    for life in lives:  # a rank without threads says nothing for as long as a group lasts
        life.threaded |= longest_s >= timeout_s
    last = lives[-1]
    last.trip, last.disk = None, []
    last.faults = [fault for fault in last.faults if fault.rank != 0 or fault.what == "hang"]
    last.requests = [one for one in last.requests if not isinstance(one[1], DrainRequested)]
    for number, life in enumerate(lives):
        _draw_failover(random.Random(f"{seed}/failover/{number}"), life, work_s)
    return Plan(
        seed,
        SchedulerSettings(
            placement=draws.choice(sorted(PLACEMENTS)),
            work_stealing=draws.random() < 0.8,
            speculation=draws.random() < 0.7,
            crash_limit=draws.choice([1, 2, 3]),
            prefetch_s=draws.choice([0.0, 0.05, 1.0]),
        ),
        heartbeat,
        LimitSettings(
            concurrent=draws.choice([None, None, None, 2, 5]),
            # Those that are left at last may all be on one host.
            per_host=draws.choice([None, None, None, max(2, most)]),
            per_label=draws.choice([{}, {}, {"licence": 1}]),
        ),
        kinds,
        tasks,
        fates,
        draws.choice([2.0, 10.0, 60.0]),
        draws.choice([0.05, 0.2]),
        lives,
    )


def _draw_kinds(draws: random.Random, ranks_at_most: int) -> tuple[TaskKind, ...]:
    kinds = []
    for id_ in range(1, draws.randint(1, 4) + 1):
        mode = draws.choice([Mode.AUTO, Mode.AUTO, Mode.INLINE, Mode.THREAD, Mode.PROCESS, Mode.COMMAND])
        ranks = draws.choice([1, 1, ranks_at_most]) if mode is not Mode.COMMAND else 1
        kinds.append(
            TaskKind(
                id=id_,
                name=f"kind{id_}",
                work=CommandLine("work") if mode is Mode.COMMAND else CallByName("tests:work"),
                mode=mode if ranks == 1 else Mode.AUTO,
                priority=draws.choice([5, 5, 5, 2, 10]),
                timeout_s=draws.choice([None, None, 1.0]) if ranks == 1 else None,
                retry=RetryRule(draws.choice([0, 1, 3]), draws.choice([0.05, 1.0])),
                labels=draws.choice([(), ("licence",)]),
                needs=Needs(ranks=ranks),
                keep_result=draws.random() < 0.1,
                timeout_factor=draws.choice([None, None, None, 20.0]) if ranks == 1 else None,
            )
        )
    return tuple(kinds)


def _draw_tasks(draws: random.Random, kinds: tuple[TaskKind, ...]) -> tuple[list[TaskSpec], dict[int, float]]:
    tasks, lasts_s = [], {}
    linked = draws.choice([0.0, 0.0, 0.4])
    pace = draws.choice([0.2, 1.0, 4.0])
    for id_ in range(1, draws.choice([5, 15, 30, 50]) + 1):
        after: tuple[int, ...] = ()
        if id_ > 1 and draws.random() < linked:
            after = tuple(sorted(draws.sample(range(1, id_), min(id_ - 1, draws.randint(1, 3)))))
        uses = after[:1] if draws.random() < 0.5 else ()
        blob = BlobRef("", ()) if draws.random() < 0.1 else None
        if blob is not None:
            blob = BlobRef(f"args-{id_}", tuple(len(part) for part in parts_of(id_)))
        when = draws.choice([When.SUCCESS, When.SUCCESS, When.ANY, When.FAILURE]) if after else When.SUCCESS
        tasks.append(
            TaskSpec(
                id_, draws.choice(kinds).id, b"", f"t{id_}", blob=blob, after=after, when=when, uses=uses
            )
        )
        lasts_s[id_] = pace * draws.choice([0.0001, 0.001, 0.01, 0.01, 0.1, 0.5, 3.0])
    return tasks, lasts_s


def _draw_life(
    draws: random.Random, heartbeat: HeartbeatSettings, most_ranks: int, tasks: int, work_s: float
) -> LifePlan:
    unharmed_count = max(most_ranks, draws.choice([1, 2]))
    workers = unharmed_count + draws.randint(0, 3)
    slow = draws.choice([0.0005, 0.002, 0.05])
    delays = [
        Delays(slow, draws.choice([0.1, heartbeat.suspect_s * 0.5]), draws.choice([0.0, 0.02, 0.1]))
        for _ in range(workers + 1)
    ]
    ranks = list(range(1, workers + 1))
    unharmed = frozenset(draws.sample(ranks, unharmed_count))
    harmed = [rank for rank in ranks if rank not in unharmed]
    life = LifePlan(workers, draws.choice([1, 1, 2, 3]), delays, unharmed, threaded=draws.random() < 0.8)
    span = 0.5 + work_s / workers / life.slots * draws.choice([0.3, 0.7, 1.5])
    for rank in harmed:
        for _ in range(draws.randint(0, 3)):
            what = draws.choice(["kill", "vanish", "hang", "hang", "cut"])
            at, lasts_s = (
                draws.uniform(0.0, span),
                draws.choice([0.3, 3.0, 15.0, 25.0]) * draws.uniform(0.5, 1.0),
            )
            if what == "cut":
                life.cuts.append(Cut(frozenset([rank]), at, at + lasts_s))
            else:
                life.faults.append(Fault(at, what, rank, lasts_s if what == "hang" else 0.0))
    if draws.random() < 0.3:  # everybody stops for a moment
        life.faults += [Fault(draws.uniform(0, span), "hang", rank, 0.5) for rank in ranks]
    fate = draws.choice(["", "kill", "kill", "trip", "trip", "disk", "hang"])
    life.power = draws.random() < 0.4
    if fate == "kill":
        life.faults.append(Fault(draws.uniform(0.0, span), "kill", 0))
    elif fate == "trip":
        where = draws.choice(["before a record", "after a record", "before a packet"])
        life.trip = Trip(where, draws.randint(1, 60))
    elif fate == "hang":
        life.faults.append(Fault(draws.uniform(0.0, span), "hang", 0, draws.choice([1.0, 5.0, 30.0])))
    elif fate == "disk":
        at = draws.uniform(0.0, span)
        code, of_syncs = draws.choice([(errno.ENOSPC, False), (errno.EIO, False), (errno.EIO, True)])
        life.disk.append(DiskFault(at, at + draws.choice([0.01, 1.0, 20.0]), code, of_syncs))
    life.requests = _draw_requests(draws, ranks, span, tasks)
    return life


def _draw_failover(draws: random.Random, life: LifePlan, work_s: float) -> None:
    """Let some lives go on without their hub, and that one die or hang, and those that follow."""
    # Without threads nobody can follow; a disk that refuses ends the job.
    if not life.threaded or life.disk or draws.random() < 0.4:
        return
    life.follows, life.power, life.cuts = True, False, []
    span = 0.5 + work_s / life.workers / life.slots
    for _ in range(draws.choice([0, 1, 2, 3])):
        what = draws.choice(["kill", "kill", "vanish", "hang"])
        lasts_s = draws.choice([3.0, 15.0, 40.0]) if what == "hang" else 0.0
        life.faults.append(Fault(draws.uniform(0.0, span), what, HUB, lasts_s))


def _draw_requests(
    draws: random.Random, ranks: list[int], span: float, tasks: int
) -> list[tuple[float, AnyEvent]]:
    requests: list[tuple[float, AnyEvent]] = []
    for _ in range(draws.choice([0, 1, 4])):
        at, id_ = draws.uniform(0.0, span), draws.randint(1, tasks)
        what = draws.choice(
            ["cancel", "cancel", "all", "pause", "priority", "move", "rebalance", "switch", "drain"]
        )
        match what:
            case "cancel":
                ids = draws.sample(range(1, tasks + 1), min(tasks, draws.choice([1, 3, 10])))
                requests.append((at, CancelRequested(tuple(ids))))
            case "all" if draws.random() < 0.3:
                requests.append((at, CancelRequested()))
            case "pause":
                requests.append((at, PauseRequested(True)))
                requests.append((at + draws.uniform(0.1, 10.0), PauseRequested(False)))
            case "priority":
                requests.append((at, PriorityRequested((id_,), draws.randint(1, 10))))
            case "move":
                requests.append((at, MoveRequested(id_, draws.choice(ranks))))
            case "rebalance":
                requests.append((at, RebalanceRequested()))
            case "switch":
                rank = draws.choice(ranks)
                requests.append((at, WorkerSwitched(rank, False, "by hand")))
                requests.append((at + draws.uniform(0.1, 5.0), WorkerSwitched(rank, True)))
            case "drain":
                requests.append((at, DrainRequested(StopReason.SIGNAL, abandon=draws.random() < 0.5)))
    return requests
