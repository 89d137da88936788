"""The workers by what they can do: who fits a requirement, and who of them has room.

Workers of about the same *shape* (cores, memory, devices, tags) are one group. A requirement is compared
with shapes, of which there are few, and only workers that may have room are looked at, so that the cost of
placing a task does not grow with the number of workers.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from mpiexec_runner.core.hosts import rank_unit
from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.core.queue import Requirement
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Worker
from mpiexec_runner.model.tasks import Needs
from mpiexec_runner.model.workers import WorkerInfo, WorkerState

GONE = (WorkerState.LOST, WorkerState.DRAINED)
LOOKED_AT = 64
"""So many workers with room are compared for one task, and four for each task of many."""
MANY = 2**31
_EXACTLY = 2**40
"""Speeds and backlogs are added up as whole numbers of this fraction: their sums never drift."""


class Shape(NamedTuple):
    """What a worker can do."""

    cores: int
    memory_bytes: int
    gpus: int
    tags: tuple[str, ...]

    def fits(self, needs: Needs) -> bool:
        """Whether such a worker, with nothing else to do, can run a task with these needs."""
        return not self.lacks(needs)

    def lacks(self, needs: Needs) -> str:
        """What is missing for these needs, in words; empty for nothing."""
        if needs.cpus > self.cores:
            return f"{needs.cpus} cpus (it has {self.cores})"
        if needs.memory_bytes > self.memory_bytes:
            return f"{needs.memory_bytes:,} bytes of memory (it has {self.memory_bytes:,})"
        if needs.gpus > self.gpus:
            return f"{needs.gpus} gpus (it has {self.gpus})"
        missing = [tag for tag in needs.tags if tag not in self.tags]
        return f"the tag {missing[0]}" if missing else ""


def shape_of(worker: Worker) -> Shape:
    """The shape of a worker."""
    return Shape(worker.cores, worker.memory_bytes, worker.gpus, worker.tags)


def _about(worker: Worker) -> Shape:
    """The shape under which a worker is indexed: each node reports a few bytes more or less than the next."""
    step = max(1, 1 << max(0, worker.memory_bytes.bit_length() - 3))
    memory_bytes = -(-worker.memory_bytes // step) * step
    return Shape(worker.cores, memory_bytes, worker.gpus, worker.tags)


class _Group:
    """The workers of about one shape; ``idle`` and ``busy`` ones may have room.

    ``speed`` and ``held`` are what those that take work do and hold together, in parts of ``_EXACTLY``.
    """

    __slots__ = ("busy", "held", "idle", "speed")

    def __init__(self) -> None:
        self.idle: dict[int, Worker] = {}
        self.busy: dict[int, Worker] = {}
        self.speed = self.held = 0


class _Entry:
    """Where a worker is indexed, and what it adds to the sums of its group."""

    __slots__ = ("group", "held", "info", "speed")

    def __init__(self, group: _Group, info: WorkerInfo) -> None:
        self.group, self.info = group, info
        self.speed = self.held = 0


class Fleet:
    """An index over the workers of a run.

    ``fresh`` are those that changed since the last dispatch, and ``shrunk`` is that one of them takes no work
    any more. ``surplus`` are those that hold more than they run at once.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._groups: dict[Shape, _Group] = {}
        self._fitting: dict[Needs, list[_Group]] = {}
        self._entries: dict[int, _Entry] = {}
        self._by_host: dict[str, dict[int, Worker]] = {}
        self._shut: set[str] = set()
        self.fresh: dict[int, Worker] = {}
        self.surplus: dict[int, Worker] = {}
        self.shrunk = False

    # --- what happens to workers

    def changed(self, worker: Worker) -> None:
        """Tell that a worker may have room now, or no longer be there."""
        worker.full = False
        id_ = worker.id
        entry = self._entry(worker)
        group = entry.group
        if not worker.takes_work:
            group.idle.pop(id_, None)
            group.busy.pop(id_, None)
            self.fresh.pop(id_, None)
            self.surplus.pop(id_, None)
            self.shrunk |= entry.speed > 0
        elif worker.tasks:
            group.idle.pop(id_, None)
            self._list(worker, group.busy)
        else:
            group.busy.pop(id_, None)
            self._list(worker, group.idle)
        self._count(worker, entry)

    def given(self, worker: Worker) -> None:
        """Tell that a worker was given tasks."""
        entry = self._entry(worker)
        if entry.group.idle.pop(worker.id, None) is not None:
            self._list(worker, entry.group.busy)
        if len(worker.tasks) > worker.slots:
            self.surplus[worker.id] = worker
        self._count(worker, entry)

    def set_full(self, worker: Worker) -> None:
        """Tell that a worker has no room, until it changes."""
        worker.full = True
        self._unlist(worker)

    def forget_all(self) -> None:
        """Tell that every worker is gone."""
        self._groups.clear()
        self._fitting.clear()
        self._entries.clear()
        self._by_host.clear()
        self._shut.clear()
        self.fresh.clear()
        self.surplus.clear()

    def adopt(self) -> None:
        """Index the workers of a state that was restored."""
        stamps, usage = self._state.stamps, self._state.usage
        if usage is not None:
            self._shut.update(host for host in usage.by_host if not usage.room_on(host))
            usage.moved.clear()
        for worker in sorted(self._state.workers.values(), key=lambda worker: worker.stamp):
            full, stamp = worker.full, worker.stamp
            self.changed(worker)
            worker.stamp = stamp
            if full:
                self.set_full(worker)
        self._state.stamps = stamps

    def follow_limits(self) -> None:
        """Take the workers of a host whose limit is reached out of the index until it has room again."""
        usage = self._state.usage
        if usage is None or not usage.moved:
            return
        for host in sorted(usage.moved):
            shut = not usage.room_on(host)
            if shut is (host in self._shut):
                continue
            workers = self._by_host.get(host, {})
            if shut:
                self._shut.add(host)
                for worker in workers.values():
                    self._unlist(worker)
            else:
                self._shut.discard(host)
                for _, worker in sorted(workers.items()):
                    if worker.takes_work and not worker.full:
                        group = self._entry(worker).group
                        self._list(worker, group.busy if worker.tasks else group.idle)
        usage.moved.clear()

    def _list(self, worker: Worker, among: dict[int, Worker]) -> None:
        if len(worker.tasks) > worker.slots:
            self.surplus[worker.id] = worker
        if self._shut and worker.host in self._shut:
            return
        if worker.id not in among:
            self._state.stamps += 1
            worker.stamp = self._state.stamps
            among[worker.id] = worker
        self.fresh[worker.id] = worker

    def _unlist(self, worker: Worker) -> None:
        group = self._entry(worker).group
        group.idle.pop(worker.id, None)
        group.busy.pop(worker.id, None)
        self.fresh.pop(worker.id, None)

    def _count(self, worker: Worker, entry: _Entry) -> None:
        """Bring the sums up to date."""
        speed = held = 0
        if worker.takes_work:
            speed = int(worker.slots / worker.slowness * _EXACTLY)
            held = int(worker.backlog_s * _EXACTLY)
        group = entry.group
        group.speed += speed - entry.speed
        group.held += held - entry.held
        entry.speed, entry.held = speed, held

    def _entry(self, worker: Worker) -> _Entry:
        """Where a worker is indexed; anew when it has come back as another."""
        entry = self._entries.get(worker.id)
        if entry is not None and entry.info is worker.info:
            return entry
        if entry is not None:
            entry.group.idle.pop(worker.id, None)
            entry.group.busy.pop(worker.id, None)
            entry.group.speed -= entry.speed
            entry.group.held -= entry.held
            self._by_host[entry.info.host].pop(worker.id, None)
        self._by_host.setdefault(worker.host, {})[worker.id] = worker
        shape = _about(worker)
        group = self._groups.get(shape)
        if group is None:
            group = self._groups[shape] = _Group()
            self._fitting.clear()
        entry = self._entries[worker.id] = _Entry(group, worker.info)
        return entry

    # --- who there is

    def someone_is_there(self) -> bool:
        """Whether any worker is neither lost nor gone."""
        return any(worker.state not in GONE for worker in self._state.workers.values())

    def has_room(self) -> bool:
        """Whether any worker may have room."""
        return any(group.idle or group.busy for group in self._groups.values())

    def has_idle(self) -> bool:
        """Whether any worker that takes work has nothing to do."""
        return any(group.idle for group in self._groups.values())

    def with_room(self, needs: Needs) -> Iterator[Worker]:
        """Workers that may have room and may do what is needed: the idle first, then the others."""
        groups = self._fitting_groups(needs)
        for group in groups:
            yield from group.idle.values()
        for group in groups:
            yield from group.busy.values()

    def fresh_with_room(self, needs: Needs) -> list[Worker]:
        """Those of :meth:`with_room` that have changed since lines were parked, in the same order."""
        places = {id(group): place for place, group in enumerate(self._fitting_groups(needs))}
        found: list[tuple[bool, int, int, Worker]] = []
        for worker in self.fresh.values():
            group = self._entry(worker).group
            place, idle = places.get(id(group)), worker.id in group.idle
            if place is not None and (idle or worker.id in group.busy):
                found.append((not idle, place, worker.stamp, worker))
        return [worker for *_, worker in sorted(found, key=lambda each: each[:3])]

    def idle(self, needs: Needs) -> Iterator[Worker]:
        """Workers with nothing to do that can do what is needed, those with the least to spare first."""
        for group in self._fitting_groups(needs):
            for worker in group.idle.values():
                if shape_of(worker).fits(needs):
                    yield worker

    def idle_count(self, needs: Needs) -> int:
        """How many workers :meth:`idle` tells at the most."""
        return sum(len(group.idle) for group in self._fitting_groups(needs))

    def able(self, needs: Needs) -> tuple[float, float]:
        """How fast all workers that may get such tasks are together, and how much work they hold."""
        groups = self._fitting_groups(needs)
        speed, held = sum(group.speed for group in groups), sum(group.held for group in groups)
        return speed / _EXACTLY, held / _EXACTLY

    def can_ever(self, requirement: Requirement, *, also_gone: bool = False) -> bool:
        """Whether the workers that are there could run such a task if they had nothing else to do.

        ``also_gone``: or those that are lost, and may come back.
        """
        wanted = requirement.needs.ranks if requirement.gang else 1
        most, at_once = self._most_on_host(), 0
        on_host: Counter[str] = Counter()
        for worker in self._state.workers.values():
            if (also_gone or worker.state not in GONE) and shape_of(worker).fits(requirement.needs):
                on_host[worker.host] += 1
                at_once += on_host[worker.host] <= most
                if at_once >= wanted:
                    return True
        return False

    def _most_on_host(self) -> int:
        usage = self._state.usage
        return MANY if usage is None else usage.most_on_host

    def why_never(self, requirement: Requirement) -> str:
        """Why no worker could run such a task, in words."""
        needs = requirement.needs
        lacks: Counter[str] = Counter()
        on_host: Counter[str] = Counter()
        for worker in self._state.workers.values():
            if worker.state in GONE:
                continue
            lack = shape_of(worker).lacks(needs)
            if lack:
                lacks[lack] += 1
            else:
                on_host[worker.host] += 1
        if on_host:
            fitting, most = on_host.total(), self._most_on_host()
            at_once = sum(min(most, number) for number in on_host.values())
            short = f"it needs {needs.ranks} workers at once, and {at_once} "
            if at_once < fitting:
                return f"{short}of the {fitting} that fit may work at once: limits.per_host is {most}"
            return f"{short}fit"
        if not lacks:
            return "no worker is there"
        # The lack that most workers have says best what to change.
        lack = max(lacks, key=lambda what: lacks[what])
        return f"no worker has {lack}"

    def _fitting_groups(self, needs: Needs) -> list[_Group]:
        found = self._fitting.get(needs)
        if found is None:
            shapes = sorted(
                (shape for shape in self._groups if shape.fits(needs)),
                key=lambda shape: (shape.gpus, shape.memory_bytes, shape.cores, len(shape.tags), shape.tags),
            )
            found = self._fitting[needs] = [self._groups[shape] for shape in shapes]
        return found


def room(state: RunState, worker: Worker, kind: Kind, prefetch_s: float) -> int:
    """How many more tasks of ``kind`` a worker may be sent.

    Free slots, and as many more as keep it busy for ``prefetch_s`` seconds: none of a kind that claims
    cores, memory or devices, nor of one whose duration is not measured, nor for a worker that others took
    work from. A worker that is kept for a gang takes what ends before the gang begins.
    """
    free = worker.slots - len(worker.tasks)
    if worker.in_gang or not ends_before_gang(state, worker, kind):
        return 0
    if kind.measured and not (kind.claims or worker.robbed or worker.reserved_until < math.inf):
        window_s = prefetch_s * worker.slots
        ahead = (window_s - worker.backlog_s * worker.slowness - OVERHEAD_S * len(worker.tasks)) / (
            kind.mean_s * worker.slowness + OVERHEAD_S
        )
        free = max(free, int(ahead))
    if free > 0 and kind.claims:
        free = min(free, claimable(worker, kind))
    return free


def ends_before_gang(state: RunState, worker: Worker, kind: Kind) -> bool:
    """Whether a task is expected to end before the gang begins that a worker is kept for, if it is."""
    if worker.reserved_until == math.inf:
        return True
    return kind.is_known and state.now + kind.expected_s * worker.slowness <= worker.reserved_until


def host_room(state: RunState, name: str) -> int:
    """How many more tasks a host may get, whoever there has room: a limit, or one to probe it with."""
    most = MANY if state.usage is None else state.usage.room_on(name)
    host = state.hosts.get(name)
    if host is not None and host.probing:
        busy = any(worker.tasks for worker in state.workers.values() if worker.host == name)
        most = min(most, 0 if busy else 1)
    return most


def probe_room(state: RunState, worker: Worker) -> int:
    """How many more tasks a worker may get that may have to show that it is well."""
    unit = state.hosts.get(rank_unit(worker.id))
    return (0 if worker.tasks else 1) if unit is not None and unit.probing else MANY


def claimable(worker: Worker, kind: Kind) -> int:
    """How many tasks of a kind the cores, memory and devices that are free on a worker are enough for."""
    needs = kind.spec.needs
    rooms = []
    if needs.cpus:
        rooms.append(worker.free_cpus // needs.cpus)
    if needs.memory_bytes:
        rooms.append(worker.free_memory // needs.memory_bytes)
    if needs.gpus:
        rooms.append(worker.free_gpus // needs.gpus)
    return max(0, min(rooms))


OVERHEAD_S = 10e-6
"""What a task costs its worker besides its own work: no window is sized as if tasks were free."""
