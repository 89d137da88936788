"""Why a task that is ready goes to no worker: the scheduler's own rules, asked once more and put in words.

It reads and changes nothing. What a worker has room for is decided in ``fleet.py`` and ``limits.py``; here
the rule is found that says no.
"""

import math
from collections import Counter
from collections.abc import Iterator

from mpiexec_runner.core.fleet import (
    Fleet,
    Shape,
    ends_before_gang,
    host_room,
    room,
    shape_of,
)
from mpiexec_runner.core.hosts import EXCLUDED
from mpiexec_runner.core.queue import requirement_of
from mpiexec_runner.core.sight import Sight, counted, held_by, ranks, seconds
from mpiexec_runner.core.tasks import Worker
from mpiexec_runner.model.tasks import TaskState

FULL = "every slot has a task"


def no_worker(sight: Sight) -> Iterator[str]:
    """Nobody is there."""
    if not _unplaced(sight) or sight.alive:
        return
    states = Counter(worker.state.name.lower() for worker in sight.state.workers.values())
    there = ", ".join(f"{n} {state}" for state, n in states.items())
    yield f"no worker is there to run it ({there or 'none has joined'})"


def all_off(sight: Sight) -> Iterator[str]:
    """Nobody takes anything new."""
    off = [worker for worker in sight.alive if not worker.takes_work]
    if off and len(off) == len(sight.alive) and _unplaced(sight):
        whys = dict.fromkeys(_why_off(sight, worker) for worker in off)
        yield f"no worker takes new work: {'; '.join(whys)} ({ranks(off)})"


def unmet_needs(sight: Sight) -> Iterator[str]:
    """Only some have what it needs, or nobody has."""
    alive = sight.alive
    if not _unplaced(sight) or not alive:
        return
    requirement, fleet = requirement_of(sight.task.kind), Fleet(sight.state)
    if not fleet.can_ever(requirement):
        yield f"no worker can run it: {fleet.why_never(requirement)}"
    elif len(able := _able(sight)) < len(alive):
        yield f"{len(able)} of {counted(len(alive), 'worker')} can run it: {ranks(able)}"


def limit_reached(sight: Sight) -> Iterator[str]:
    """The run, or tasks with its labels, are at a limit."""
    if sight.task.state is TaskState.READY and sight.state.usage is not None:
        why = sight.state.usage.why_none(requirement_of(sight.task.kind))
        if why:
            yield why


def moved(sight: Sight) -> Iterator[str]:
    """Somebody asked for a certain worker."""
    task = sight.task
    target = sight.state.pinned.get(task.spec.id)
    if target in (None, task.worker) or task.state >= TaskState.RUNNING:
        return
    place = sight.place(target)
    if _pinned_to(sight) is not None:
        yield f"it is to run on {place}, where it was moved"
        return
    worker = sight.state.workers.get(target)
    why = "is not there"
    if worker is not None and not worker.takes_work:
        why = f"takes no new work ({_why_off(sight, worker) or worker.state.name.lower()})"
    elif worker is not None:
        why = f"has not {shape_of(worker).lacks(task.kind.spec.needs)}"
    yield f"it was moved to {place}, which {why}: it may go elsewhere"


def no_room(sight: Sight) -> Iterator[str]:
    """Workers that could run it, by what keeps it from them; nothing when one of them has room."""
    task, alive = sight.task, sight.alive
    if task.state is not TaskState.READY or not any(worker.takes_work for worker in alive):
        return
    able = _able(sight)
    whys = {worker.id: _why_not(sight, worker) for worker in able}
    if task.kind.is_gang:
        free = [worker for worker in able if not whys[worker.id]]
        yield from _for_gang(sight, free, able)
        yield from _reservation(sight)
        if len(free) >= task.kind.spec.needs.ranks or sight.state.reserved_for == task.spec.id:
            return
    elif not all(whys.values()):
        return
    if len(able) == len(alive) and set(whys.values()) == {FULL}:
        held = counted(held_by(alive), "task")
        yield f"all {counted(len(alive), 'worker')} that are there have work ({held})"
        return
    by_why: dict[str, list[Worker]] = {}
    for worker in able:
        by_why.setdefault(whys[worker.id], []).append(worker)
    for why, workers in by_why.items():
        if why:
            yield f"{ranks(workers)}: {why}"


def _for_gang(sight: Sight, free: list[Worker], able: list[Worker]) -> Iterator[str]:
    wanted = sight.task.kind.spec.needs.ranks
    if len(free) < wanted:
        yield f"it is a group of {wanted}, and {len(free)} of {len(able)} that can take part are free now"
        return
    on_host = Counter(worker.host for worker in free)
    left = sum(min(number, host_room(sight.state, host)) for host, number in on_host.items())
    if left < wanted:
        yield f"limits.per_host: it is a group of {wanted}, and hosts have room for {left} of {len(free)}"


def _reservation(sight: Sight) -> Iterator[str]:
    if sight.state.reserved_for == sight.task.spec.id:
        kept = [worker for worker in sight.state.workers.values() if worker.reserved_until < math.inf]
        if kept:
            rest_s = max(worker.reserved_until for worker in kept) - sight.now
            when = f", expected to be free in {seconds(rest_s)}" if rest_s > 0 else ""
            yield f"{ranks(kept)} {'is' if len(kept) == 1 else 'are'} kept for it{when}"


def behind_others(sight: Sight) -> Iterator[str]:
    """Tasks whose turn is before, and that go where it could go."""
    task = sight.task
    if task.state is not TaskState.READY:
        return
    able = {shape_of(worker) for worker in sight.alive if shape_of(worker).fits(task.kind.spec.needs)}
    higher = earlier = 0
    for needs, other in sight.state.ready.ahead_of(task):
        if able and not any(shape.fits(needs) for shape in able):
            continue
        if other.priority > task.priority:
            higher += 1
        else:
            earlier += 1
    if higher or earlier:
        parts = [f"{higher} of higher priority"] if higher else []
        parts += [f"{earlier} that came before it"] if earlier else []
        yield f"it is queued with priority {task.priority} behind {' and '.join(parts)}"


# --- one worker


def _why_not(sight: Sight, worker: Worker) -> str:
    """Which rule keeps a worker that could run a task from being sent it now; empty for none."""
    state, task = sight.state, sight.task
    if not worker.takes_work:
        return _why_off(sight, worker)
    pinned = _pinned_to(sight)
    if pinned is not None and pinned is not worker:
        return f"it was moved to rank {pinned.id}"
    if worker.id in state.avoided.get(task.spec.id, ()) and pinned is None and _is_avoidable(sight):
        return "it failed there, and others can run it"
    if task.kind.is_gang:
        return _why_not_idle(sight, worker)
    if room(state, worker, task.kind, 0.0) > 0:
        return _why_host_full(sight, worker)
    if worker.in_gang:
        return _in_group(sight, worker)
    if worker.held >= worker.slots:
        return FULL
    if not ends_before_gang(state, worker, task.kind):
        return _kept(sight, worker)
    free = Shape(worker.free_cpus, worker.free_memory, worker.free_gpus, worker.tags)
    return f"its tasks leave too little free: {free.lacks(task.kind.spec.needs)}"


def _why_not_idle(sight: Sight, worker: Worker) -> str:
    """Why a worker cannot take part in a group now."""
    own = sight.state.reserved_for == sight.task.spec.id
    if worker.in_gang:
        return _in_group(sight, worker)
    if worker.tasks:
        return "it has work, and a group wants it idle"
    if not own and not ends_before_gang(sight.state, worker, sight.task.kind):
        return _kept(sight, worker)
    return _why_host_full(sight, worker)


def _why_host_full(sight: Sight, worker: Worker) -> str:
    state, name = sight.state, worker.host
    if host_room(state, name) > 0:
        return ""
    host = state.hosts.get(name)
    if host is not None and host.probing:
        held = [task for one in state.workers.values() if one.host == name for task in one.tasks.values()]
        probe = sight.name_of(held[0]) if held else "one task"
        return f"{name}, where tasks kept failing, is probed with {probe} alone"
    return f"limits.per_host: {name} has as many tasks as it may"


def _why_off(sight: Sight, worker: Worker) -> str:
    """Why a worker gets nothing new."""
    if not worker.disabled:
        return f"throttled: {worker.throttled}" if worker.throttled else ""
    host = sight.state.hosts.get(worker.host)
    if worker.disabled.startswith(EXCLUDED) and host is not None and host.probe_at < math.inf:
        rest_s = host.probe_at - sight.now
        return f"{worker.disabled}; one task probes it" + (
            f" in {seconds(rest_s)}" if rest_s > 0 else " next"
        )
    return worker.disabled


def _in_group(sight: Sight, worker: Worker) -> str:
    return f"in the group {', '.join(sight.named(task_id) for task_id in worker.tasks)}"


def _kept(sight: Sight, worker: Worker) -> str:
    group = sight.named(sight.state.reserved_for)
    rest_s = worker.reserved_until - sight.now
    until = f" in {seconds(rest_s)}" if rest_s > 0 else ""
    return f"kept for the group {group}, which is to begin{until}: only what ends before that goes there"


# --- which workers


def _able(sight: Sight) -> list[Worker]:
    """The workers that are there and could run it if they had nothing else to do."""
    needs = sight.task.kind.spec.needs
    return [worker for worker in sight.alive if shape_of(worker).fits(needs)]


def _pinned_to(sight: Sight) -> Worker | None:
    """The worker that somebody moved it to, if it can go there."""
    worker = sight.state.workers.get(sight.state.pinned.get(sight.task.spec.id, -1))
    if worker is None or not worker.takes_work or not shape_of(worker).fits(sight.task.kind.spec.needs):
        return None
    return worker


def _is_avoidable(sight: Sight) -> bool:
    """Whether others can run it than those on which it failed."""
    avoid = sight.state.avoided.get(sight.task.spec.id, ())
    return any(worker.takes_work and worker.id not in avoid for worker in _able(sight))


def _unplaced(sight: Sight) -> bool:
    return sight.task.state in (TaskState.WAITING, TaskState.READY)
