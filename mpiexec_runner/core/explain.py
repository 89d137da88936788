"""Why a task is not running, or what it does: the state of a run in words.

It reads and changes nothing, and takes no part in scheduling. One small function a reason: to teach it
another one, write that function and add it to ``_REASONS``. Why a task that is ready goes to no worker is
told by ``unplaced.py``.
"""

from collections.abc import Callable, Iterator

from mpiexec_runner.core import unplaced
from mpiexec_runner.core.queue import URGENT
from mpiexec_runner.core.sight import SHOWN, Sight, counted, seconds
from mpiexec_runner.core.tasks import NOBODY
from mpiexec_runner.model.tasks import Outcome, TaskState, Verdict, When


def explain(sight: Sight) -> list[str]:
    """Say what a task does or waits for, most important first, one line each.

    Parameters
    ----------
    sight
        The task and what is around it.

    Returns
    -------
    list of str
        At least one line.
    """
    told = [line for reason in _REASONS for line in reason(sight)]
    if sight.task.state is TaskState.READY and not any(_holding_back(sight)):
        told.append("nothing holds it back: it goes to a worker next")
    return told


def _holding_back(sight: Sight) -> Iterator[str]:
    for reason in (*_RUN_WIDE, *_OF_WORKERS):
        yield from reason(sight)


# --- at its end, or at a worker


def _is(sight: Sight) -> Iterator[str]:
    task = sight.task
    unwanted = task.cancelling and not task.state.terminal
    what = "is being cancelled" if unwanted else f"is {task.state.name.lower()}"
    yield f"{sight.name_of(task)} {what}{_how_it_ended(sight)}"


def _how_it_ended(sight: Sight) -> str:
    task, outcomes = sight.task, sight.history.outcomes
    if not task.state.terminal:
        return ""
    _, why = sight.state.whys.get(task.spec.id, (task.state, ""))
    if task.state is TaskState.FAILED and why:
        return f": {why}"
    if not outcomes:
        return ""
    rank, last = outcomes[-1]
    if task.state is TaskState.FAILED and last.verdict is Verdict.FAILED:
        return f": {_failure(last)} (attempt {last.attempt}, on rank {rank})"
    counts = [(rank, one) for rank, one in outcomes if one.verdict is Verdict.SUCCEEDED]
    if task.state is TaskState.SUCCEEDED and counts:
        rank, first = counts[0]
        return f": attempt {first.attempt} on rank {rank}, in {seconds(first.elapsed_s)}"
    return ""


def _runs(sight: Sight) -> Iterator[str]:
    task = sight.task
    if task.state is not TaskState.RUNNING:
        return
    attempt = sight.state.attempt_of(task)
    began = sight.history.began.get((task.worker, attempt))
    since = f", for {seconds(sight.now - began)}" if began is not None else ""
    yield f"it runs on {sight.place(task.worker)}{since} (attempt {attempt})"
    gang, twin = sight.state.gangs.get(task.spec.id), sight.state.twins.get(task.spec.id)
    if gang is not None:
        yield f"it is a group of ranks {', '.join(map(str, gang.workers))}"
    if twin is not None and twin.worker != NOBODY:
        yield f"attempt {twin.attempt} runs beside it on {sight.place(twin.worker)}, since it takes long"


def _is_sent(sight: Sight) -> Iterator[str]:
    """A worker that has not told of a start may have begun it: only what lasts is told."""
    task = sight.task
    if task.state is not TaskState.ASSIGNED:
        return
    worker = sight.state.workers.get(task.worker)
    gang = sight.state.gangs.get(task.spec.id)
    if gang is not None:
        yield f"it was sent to ranks {', '.join(map(str, gang.workers))} as a group (attempt {gang.attempt})"
        return
    held = list(worker.tasks.values()) if worker is not None else [task]
    held.sort(key=lambda other: (other.state is not TaskState.RUNNING, other.priority < URGENT))
    before = held[: held.index(task)]
    behind = f", behind {sight.listed(before)}" if before else ", first in line: it begins there"
    yield f"it was sent to {sight.place(task.worker)}{behind} (attempt {task.attempt})"


# --- waiting


def _waits_for_tasks(sight: Sight) -> Iterator[str]:
    spec = sight.task.spec
    if sight.task.state.terminal or not spec.after:
        return
    before = [sight.state.tasks.get(id_) for id_ in spec.after]
    left = [task for task in before if task is not None and not task.state.terminal]
    if left:
        condition = {When.SUCCESS: "succeed", When.ANY: "end", When.FAILURE: "end, at least one in failure"}
        yield f"it waits for {sight.listed(left)} to {condition[spec.when]}"


def _was_skipped(sight: Sight) -> Iterator[str]:
    spec = sight.task.spec
    if sight.task.state is not TaskState.SKIPPED:
        return
    before = [task for id_ in spec.after if (task := sight.state.tasks.get(id_)) is not None]
    bad = [task for task in before if task.state is not TaskState.SUCCEEDED]
    _, why = sight.state.whys.get(spec.id, (TaskState.SKIPPED, ""))
    if spec.when is When.SUCCESS and bad:
        yield f"it needs all that it depends on to succeed: {sight.listed(bad)}"
    elif len(before) < len(spec.after) and why:
        yield why
    elif spec.when is When.FAILURE:
        yield "it is for the case that something it depends on fails, and nothing did"


def _backs_off(sight: Sight) -> Iterator[str]:
    task = sight.task
    if task.state is TaskState.WAITING and task.due > 0.0:
        rule = task.kind.spec.retry
        most = "" if any(one.max is not None for one in rule.on) else f" of {rule.max}"
        retry = f"retry {task.retries}{most}"
        rest_s = task.due - sight.now
        yield f"its {retry} is due" + (f" in {seconds(rest_s)}" if rest_s > 0 else "")


def _is_draining(sight: Sight) -> Iterator[str]:
    drain = sight.state.drain
    if not sight.task.state.terminal and drain is not None:
        why = drain.reason.words
        yield f"the run is stopping, because of {why}: nothing new begins; a resume goes on with it"


def _is_paused(sight: Sight) -> Iterator[str]:
    if sight.state.paused and _unbegun(sight):
        yield "the run is paused: nothing new begins until mpiexec-runner control continue"


# --- the past


def _attempts(sight: Sight) -> Iterator[str]:
    """What became of earlier attempts; the one that settled it is told above."""
    history, task = sight.history, sight.task
    past = history.outcomes[:-1] if task.state.terminal else history.outcomes
    for rank, outcome in past[-SHOWN:]:
        if outcome.verdict is Verdict.FAILED:
            yield f"attempt {outcome.attempt} failed on rank {rank}: {_failure(outcome)}"
    if history.returned:
        yield f"it came back unbegun {counted(history.returned, 'time')}"
    if task.crashes and not task.state.terminal:
        were = "was" if task.crashes == 1 else "in a row were"
        yield f"{counted(task.crashes, 'worker')} {were} lost while holding it"


_RUN_WIDE = (_is_draining, _is_paused)
_OF_WORKERS = (
    unplaced.no_worker,
    unplaced.all_off,
    unplaced.unmet_needs,
    unplaced.limit_reached,
    unplaced.no_room,
    unplaced.behind_others,
)
_REASONS: tuple[Callable[[Sight], Iterator[str]], ...] = (
    _is,
    _was_skipped,
    _runs,
    _is_sent,
    _waits_for_tasks,
    _backs_off,
    *_RUN_WIDE,
    unplaced.moved,
    *_OF_WORKERS,
    _attempts,
)


# --- words


def _unbegun(sight: Sight) -> bool:
    return sight.task.state in (TaskState.WAITING, TaskState.READY, TaskState.ASSIGNED)


def _failure(outcome: Outcome) -> str:
    if outcome.failure is None:
        return "no reason was told"
    lines = outcome.failure.message.splitlines() or [str(outcome.failure.kind)]
    return lines[0]
