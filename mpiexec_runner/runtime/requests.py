"""Requests of people as events: which tasks and workers they mean, and what is refused and why.

It reads the state and changes nothing; what an event does is decided in the core.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, assert_never

from mpiexec_runner.core.skipped import why_in_vain
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Task
from mpiexec_runner.errors import StorageError, UserError
from mpiexec_runner.model.events import (
    AnyEvent,
    CancelRequested,
    DrainRequested,
    MoveRequested,
    PauseRequested,
    PriorityRequested,
    RebalanceRequested,
    RetryRequested,
    WorkerSwitched,
)
from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.runtime.control import (
    Answer,
    AnyAsk,
    Cancel,
    Continue,
    Drain,
    Move,
    Pause,
    Rebalance,
    Reprioritise,
    Retry,
    Switch,
    Taken,
)
from mpiexec_runner.runtime.port import Keeper
from mpiexec_runner.storage.rundir import default_name

CHUNK = 10_000
"""An event names at most so many tasks: it is one frame of the journal."""
SHOWN = 5
ID_DIGITS = 18

_UNBEGUN = (TaskState.WAITING, TaskState.READY, TaskState.ASSIGNED)
_ENDED_BADLY = (TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED)


class Meaning(NamedTuple):
    """What a request comes to: events, and how many tasks they concern."""

    events: list[AnyEvent]
    tasks: int = 0


class RequestDesk:
    """Takes requests out of the record's control box and answers them.

    An answer to what was accepted is given when its events are on record: see :meth:`settle`.

    Parameters
    ----------
    keeper
        Has the box.
    note
        Told what nobody waits for an answer to.
    """

    def __init__(self, keeper: Keeper, note: Callable[[str], None]) -> None:
        self._keeper, self._note = keeper, note
        self._owed: list[Answer] = []

    def take(self, state: RunState) -> list[AnyEvent]:
        """What was asked for since the last call. Put it on record, then call :meth:`settle`."""
        events: list[AnyEvent] = []
        for taken in self._keeper.requests():
            try:
                meant = _meaning_of(taken, state)
            except UserError as error:
                self._refuse(taken, str(error))
                continue
            events += meant.events
            answer = Answer(id=taken.id, ok=True, tasks=meant.tasks)
            if meant.events:
                self._owed.append(answer)
            else:
                self._answer(answer)
        return events

    def settle(self) -> None:
        """Answer what is on record now."""
        while self._owed:
            self._answer(self._owed.pop(0))

    def close(self) -> None:
        """Refuse what came too late."""
        for taken in self._keeper.requests():
            self._refuse(taken, "the run has come to its end")

    def _refuse(self, taken: Taken, why: str) -> None:
        if taken.request is None:
            self._note(why)  # whoever wrote such a file may not know where to look
        if taken.id:
            self._answer(Answer(id=taken.id, ok=False, why=why))

    def _answer(self, answer: Answer) -> None:
        try:
            self._keeper.answer(answer)
        except StorageError as error:  # the run does not depend on it
            self._note(f"a request could not be answered: {error}")


def _meaning_of(taken: Taken, state: RunState) -> Meaning:
    if taken.request is None:
        raise UserError(taken.why)
    if taken.request.epoch not in (0, state.epoch):
        raise UserError(f"it was made to life {taken.request.epoch} of the run; this is life {state.epoch}")
    return resolve(taken.request.ask, state)


def resolve(ask: AnyAsk, state: RunState) -> Meaning:
    """What a request means to this run.

    Raises
    ------
    UserError
        When it cannot be carried out: unknown tasks or workers, or a task that is past it.
    """
    match ask:
        case Pause() | Continue():
            return Meaning([PauseRequested(isinstance(ask, Pause))])
        case Drain():
            return Meaning([DrainRequested(ask.reason, ask.abandon)], state.unfinished)
        case Cancel():
            return _cancel(ask, state)
        case Reprioritise():
            ids = _ids(find_tasks(state, ask.tasks), lambda task: not task.state.terminal)
            return Meaning([PriorityRequested(part, ask.priority) for part in _chunks(ids)], len(ids))
        case Retry():
            return _retry(ask, state)
        case Move():
            return _move(ask, state)
        case Rebalance():
            return Meaning([RebalanceRequested()], state.counts[TaskState.ASSIGNED])
        case Switch():
            _check_worker(state, ask.worker)
            held = state.workers[ask.worker].held
            return Meaning([WorkerSwitched(ask.worker, ask.enabled, ask.why)], held)
        case _:
            assert_never(ask)


def _cancel(ask: Cancel, state: RunState) -> Meaning:
    if ask.everything and not ask.tasks and not ask.label:
        return Meaning([CancelRequested()], state.unfinished)
    if ask.everything or not (ask.tasks or ask.label):
        raise UserError("say which tasks are to be cancelled: some by name, those with a label, or all")
    tasks = find_tasks(state, ask.tasks) if ask.tasks else list(state.tasks.values())
    if ask.label:
        kinds = {kind.spec.id for kind in state.kinds.values() if ask.label in kind.spec.labels}
        tasks = [task for task in tasks if task.spec.kind in kinds]
        if not tasks:
            raise UserError(f"no such task has the label {ask.label}")
    ids = _ids(tasks, lambda task: not task.state.terminal)
    return Meaning([CancelRequested(part) for part in _chunks(ids)], len(ids))


def _retry(ask: Retry, state: RunState) -> Meaning:
    if ask.everything == bool(ask.tasks):
        raise UserError("say which tasks are to be tried once more: some by name, or all that failed")
    tasks = find_tasks(state, ask.tasks) if ask.tasks else list(state.tasks.values())
    ids = _ids(tasks, lambda task: task.state in _ENDED_BADLY)
    if ask.everything:
        return Meaning([RetryRequested()] if ids else [], len(ids))
    ids = _not_in_vain(ask.tasks, ids, state)
    return Meaning([RetryRequested(part) for part in _chunks(ids)], len(ids))


def _not_in_vain(words: Sequence[str], ids: list[int], state: RunState) -> list[int]:
    """Those of some tasks to be tried once more that would not be skipped again for the same reason.

    Raises
    ------
    UserError
        When one of the others was named, or there is none but these; says what to retry.
    """
    wanted, useful, refused = set(ids), list[int](), ""
    for id_ in ids:
        task = state.tasks[id_]
        why = why_in_vain(state, task, name_of, wanted)
        if not why:
            useful.append(id_)
        elif name_of(task) in words or str(id_) in words:
            raise UserError(why)
        refused = refused or why
    if refused and not useful:
        raise UserError(refused)
    return useful


def _move(ask: Move, state: RunState) -> Meaning:
    tasks = find_tasks(state, (ask.task,))
    if len(tasks) > 1:
        raise UserError(f"{ask.task} means {len(tasks)} tasks; one can be moved at a time")
    _check_worker(state, ask.to)
    task = tasks[0]
    if task.state not in _UNBEGUN:
        where = f" on rank {task.worker}" if task.state is TaskState.RUNNING else ""
        raise UserError(f"{name_of(task)} is {task.state.name.lower()}{where}: only what has not begun moves")
    return Meaning([MoveRequested(task.spec.id, ask.to)], 1)


def _check_worker(state: RunState, rank: int) -> None:
    if rank not in state.workers:
        there = ", ".join(str(worker) for worker in sorted(state.workers)[:SHOWN])
        more = ", ..." if len(state.workers) > SHOWN else ""
        raise UserError(
            f"no worker has rank {rank}; there are {there}{more}" if there else "no worker is there"
        )


def name_of(task: Task) -> str:
    """What people call a task."""
    return task.spec.name or default_name(task.spec.id)


def find_tasks(state: RunState, words: Sequence[str]) -> list[Task]:
    """The tasks that these words mean, in order of their ids.

    A word is the name of a task, else ``name*`` for all whose names begin so, else an id.

    Raises
    ------
    UserError
        When a word means none: then nothing at all is meant.
    """
    exact = {word for word in words if not word.endswith("*")}
    begins = tuple({word[:-1] for word in words if word.endswith("*")})
    found: dict[int, Task] = {}
    met: set[str] = set()
    for id_, task in state.tasks.items():  # a million of them, while the run waits: the usual case is short
        name = task.spec.name
        if not begins and name not in exact:
            continue
        name = name or default_name(id_)
        if name in exact:
            met.add(name)
            found[id_] = task
        if begins and name.startswith(begins):
            met.update(begin + "*" for begin in begins if name.startswith(begin))
            found[id_] = task
    unknown = []
    for word in dict.fromkeys(words):
        if word in met:
            continue
        by_id = _find_by_id(state, word)
        if by_id is None:
            unknown.append(word)
        else:
            found[by_id.spec.id] = by_id
    if unknown:
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        raise UserError(f"there is no task {', '.join(unknown[:SHOWN])}{more}: use a name, an id, or name*")
    return [found[id_] for id_ in sorted(found)]


def _find_by_id(state: RunState, word: str) -> Task | None:
    """The task with this id, or with this default name."""
    digits = word.removeprefix("task_")
    if not digits.isdecimal() or len(digits) > ID_DIGITS:
        return None
    task = state.tasks.get(int(digits))
    return task if task is not None and word in (digits, name_of(task)) else None


def _ids(tasks: list[Task], fit: Callable[[Task], bool]) -> list[int]:
    return [task.spec.id for task in tasks if fit(task)]


def _chunks(ids: list[int]) -> list[tuple[int, ...]]:
    return [tuple(ids[begin : begin + CHUNK]) for begin in range(0, len(ids), CHUNK)]
