"""What a run still has to be told, given what its record holds already.

A task of the configuration is the same as one on record when both name and content are: so an edited task
list runs what changed and nothing else.
"""

from collections import defaultdict, deque
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from mpiexec_runner.config.kinds import Workload
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Task
from mpiexec_runner.model.events import (
    AnyEvent,
    CancelRequested,
    KindsRegistered,
    SubmissionsClosed,
    TasksSubmitted,
)
from mpiexec_runner.model.tasks import TaskKind, TaskSpec, TaskState

PORTION = 10_000
"""Tasks in one event: one journal frame of a few megabytes at most."""


class Difference(NamedTuple):
    """What tells a configuration from a record.

    Attributes
    ----------
    kinds
        The kinds of the configuration, numbered as on record.
    fresh
        Tasks that are not on record.
    dropped
        Tasks on record that are not asked for any more, at their end or not.
    unfinished
        Those of them that are not at their end.
    """

    kinds: tuple[TaskKind, ...]
    fresh: list[TaskSpec]
    dropped: frozenset[int]
    unfinished: tuple[int, ...]

    def events(self) -> Iterator[AnyEvent]:
        """What the run has to be told."""
        yield KindsRegistered(self.kinds)
        if self.unfinished:
            yield CancelRequested(self.unfinished)
        for begin in range(0, len(self.fresh), PORTION):
            yield TasksSubmitted(self.fresh[begin : begin + PORTION])
        yield SubmissionsClosed()


def compare(workload: Workload, state: RunState) -> Difference:
    """Find what is missing.

    Parameters
    ----------
    workload
        What the configuration asks for, numbered on its own; tasks come after those that they depend on.
    state
        What the record holds; empty for a new run.
    """
    kinds = _match_kinds(workload.kinds, state)
    on_record = _on_record(state)
    fresh: list[TaskSpec] = []
    next_id = state.next_task
    # Where the tasks of the workload are on record, or will be.
    numbers: dict[int, int] = {}
    for spec in workload.tasks:
        after = tuple(sorted(numbers[id_] for id_ in spec.after))
        known = on_record.get((spec.name, spec.digest))
        if known and _still_stands(state.tasks[known[0]], after):
            numbers[spec.id] = known.popleft()
            continue
        numbers[spec.id] = next_id
        uses = tuple(sorted(numbers[id_] for id_ in spec.uses))
        fresh.append(
            msgspec.structs.replace(spec, id=next_id, kind=kinds[spec.kind].id, after=after, uses=uses)
        )
        next_id += 1
    dropped = _without(state, {*numbers.values()})
    return Difference(
        tuple(kinds.values()),
        fresh,
        frozenset(dropped),
        tuple(id_ for id_ in dropped if not state.tasks[id_].state.terminal),
    )


def find_dropped(workload: Workload, state: RunState) -> frozenset[int]:
    """The tasks on record that nobody asks for any more, in a life that has begun before.

    Other than for :func:`compare`, what was cancelled in this life is asked for.
    """
    wanted = {(spec.name, spec.digest) for spec in workload.tasks}
    dropped = compare(workload, state).dropped
    return frozenset(
        id_
        for id_ in dropped
        if state.tasks[id_].state is not TaskState.CANCELLED
        or not (
            (state.tasks[id_].spec.name, state.tasks[id_].spec.digest) in wanted
            or (state.tasks[id_].spec.parent and state.tasks[id_].spec.parent not in dropped)
        )
    )


def _on_record(state: RunState) -> dict[tuple[str, bytes], deque[int]]:
    """The tasks that a configuration may ask for again, those at their end first."""
    found: dict[tuple[str, bytes], deque[int]] = defaultdict(deque)
    for task in sorted(state.tasks.values(), key=lambda task: not task.state.terminal):
        if task.state is not TaskState.CANCELLED and not task.spec.parent:
            found[task.spec.name, task.spec.digest].append(task.spec.id)
    return found


def _still_stands(task: Task, after: tuple[int, ...]) -> bool:
    """Whether a task on record can be what is asked for: it is done, or waits for the right tasks.

    It may wait for one that was cancelled, and is asked for again under a new number.
    """
    return task.state is TaskState.SUCCEEDED or tuple(sorted(task.spec.after)) == after


def _without(state: RunState, kept: set[int]) -> list[int]:
    """The tasks on record that are not kept. What a task added stays with it."""
    kept = set(kept)
    dropped: list[int] = []
    for id_ in sorted(state.tasks):  # a parent has a smaller number than what it added
        task = state.tasks[id_]
        if task.spec.parent in kept and task.state is not TaskState.CANCELLED:
            kept.add(id_)
        if id_ not in kept:
            dropped.append(id_)
    return dropped


def _match_kinds(wanted: tuple[TaskKind, ...], state: RunState) -> dict[int, TaskKind]:
    """Kinds by their number in the workload, renumbered: like one on record where the work is the same."""
    numbers: dict[bytes, deque[int]] = defaultdict(deque)
    for id_, known in state.kinds.items():
        numbers[_content(known.spec)].append(id_)
    next_id = max(state.kinds, default=0) + 1
    matched = {}
    for kind in wanted:
        alike = numbers[_content(kind)]
        if alike:
            number = alike.popleft()
        else:
            number, next_id = next_id, next_id + 1
        matched[kind.id] = msgspec.structs.replace(kind, id=number)
    return matched


def _content(kind: TaskKind) -> bytes:
    """What makes a kind the same: its work, not its settings."""
    return msgspec.msgpack.encode((kind.name, kind.work, kind.mode, sorted(kind.environment.items())))
