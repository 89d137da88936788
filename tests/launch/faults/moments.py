"""The moments at which faults strike: each a run that is brought there, and who is hurt then.

They know nothing of faults and of what follows from them.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from harmless import FUNCTIONS, given_by, value_of
from job import Job

_HERE = Path(__file__).parent
_TAKES = 96


class Struck(NamedTuple):
    """A run that has come to its moment.

    ``victim`` is the worker that is hurt, where it is a worker's turn. ``held`` are ranks that were stopped
    to hold the moment; they go on when the fault has struck. ``expected`` is what each task returns.
    """

    victim: int
    held: list[psutil.Process]
    expected: list[Any]


class Moment(NamedTuple):
    """A configuration, the number of ranks, and what waits until the run has come to the moment.

    ``ready`` tells whether, after the loss of these ranks, tasks may be let go.
    """

    config: str
    ranks: int
    reach: Callable[[Job], Struck]
    ready: Callable[[Job, Collection[int]], bool] = lambda job, victims: True


def _during_traffic(job: Job) -> Struck:
    """Eight functions and their large arguments are on their way to all workers but the one that holds."""
    job.until(lambda: len(job.marks()) >= 12)
    marks = job.marks()
    assert len(marks) < _TAKES, "it was over too soon"
    (holds,) = marks["2"]
    victim = next(int(rank) for (rank,) in marks.values() if rank != holds)
    return Struck(victim, [], ["x" * 4 * 2**20, *map(value_of, range(2, _TAKES + 3))])


def _while_tasks_run(job: Job) -> Struck:
    """All workers are at a task that does not end yet."""
    job.until(lambda: len(job.marks()) == 3)
    return Struck(int(job.marks()["1"][0]), [], list(map(value_of, range(1, 7))))


def _with_results_in_flight(job: Job) -> Struck:
    """Two workers have ended tasks with large results, which the hub has not taken; the third one holds."""
    job.until(lambda: len(job.marks()) == 3)
    hub = job.process(0)
    hub.suspend()
    (job.place / "finish").touch()
    job.until(lambda: all((job.place / f"given-{i}").exists() for i in (2, 3)))
    return Struck(int(job.marks()["2"][0]), [hub], [value_of(1), *map(given_by, range(2, 7))])


def _while_a_group_runs(job: Job) -> Struck:
    """Two workers have met in a group, and the others have nothing to do."""
    job.until(lambda: len(job.marks().get("1", [])) == 2)
    return Struck(int(job.marks()["1"][1]), [], list(map(value_of, range(1, 4))))


def _group_is_whole(job: Job, victims: Collection[int]) -> bool:
    """A group that lost a member has begun again: before, who is left of it had better not wait in MPI."""
    ranks = list(map(int, job.marks()["1"]))
    return len(ranks) == (2 if set(ranks[:2]).isdisjoint(victims) else 4)


def _while_idle(job: Job) -> Struck:
    """One worker is at a task, which all others wait for."""
    job.until(lambda: "1" in job.marks())
    return Struck(_idle_worker(job), [], list(map(value_of, range(1, 5))))


def _during_shutdown(job: Job) -> Struck:
    """All tasks are done, and the hub waits for one worker that has not said goodbye."""
    job.until(lambda: len(job.marks()) == 2)
    victim = _idle_worker(job)
    silent = job.process(victim)
    silent.suspend()
    job.go()
    job.until(lambda: len(job.succeeded()) == 2)
    return Struck(victim, [silent], list(map(value_of, (1, 2))))


def _idle_worker(job: Job) -> int:
    at_work = {int(rank) for ranks in job.marks().values() for rank in ranks}
    return max(set(job.ranks()) - at_work - {0})


def _workflow(*jobs: str) -> str:
    lines = "".join(f"  {one}\n" for one in jobs)
    return (
        f"name: struck\nrun: {{python_path: ['{_HERE}']}}\nscheduler: {{speculation: false}}\n"
        f"workflow:\n{lines}"
    )


def _each(first: int, last: int) -> str:
    return f"for_each: {{i: {{range: [{first}, {last + 1}]}}}}"


def _takes() -> list[str]:
    each = _TAKES // FUNCTIONS
    return [
        f"take{n}: {{call: 'harmless:take_{n}', {_each(3 + n * each, 2 + (n + 1) * each)}, "
        "with: {data: '{{ make.result }}'}}"
        for n in range(FUNCTIONS)
    ]


MOMENTS = {
    "traffic": Moment(
        _workflow(
            "make: {call: 'harmless:make', with: {i: 1}}",
            "hold: {call: 'harmless:hold', with: {i: 2}}",
            *_takes(),
        ),
        4,
        _during_traffic,
    ),
    "task running": Moment(_workflow(f"hold: {{call: 'harmless:hold', {_each(1, 6)}}}"), 4, _while_tasks_run),
    "result in flight": Moment(
        _workflow(
            "hold: {call: 'harmless:hold', with: {i: 1}}", f"give: {{call: 'harmless:give', {_each(2, 6)}}}"
        ),
        4,
        _with_results_in_flight,
    ),
    "group running": Moment(
        _workflow(
            "one: {call: 'harmless:together', with: {i: 1}, resources: {ranks: 2}}",
            "two: {call: 'harmless:together', with: {i: 2}, resources: {ranks: 2}, depends_on: one}",
            "after: {call: 'harmless:brief', with: {i: 3}, depends_on: two}",
        ),
        5,
        _while_a_group_runs,
        _group_is_whole,
    ),
    "idle": Moment(
        _workflow(
            "one: {call: 'harmless:hold', with: {i: 1}}",
            f"after: {{call: 'harmless:brief', {_each(2, 4)}, depends_on: one}}",
        ),
        4,
        _while_idle,
    ),
    "shutdown": Moment(_workflow(f"hold: {{call: 'harmless:hold', {_each(1, 2)}}}"), 4, _during_shutdown),
}
