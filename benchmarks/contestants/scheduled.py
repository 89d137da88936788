"""Ours, with what a scheduler can be asked for: no-op calls in blocks, the size of those of ``map``.

``... scheduled FEATURES TASKS``. Features, with commas: ``map`` alone (the executor's own), ``dynamic``
(placement), ``priorities`` (blocks in turn of 1 to 10), ``dependencies`` (each block in chains of eight).
"""

import sys
from collections import deque
from collections.abc import Callable, Iterator

from benchmarks.contestants.work import WARM_UP, check, no_op, tell, timed
from mpiexec_runner import ParallelExecutor
from mpiexec_runner.api.executor import PORTION
from mpiexec_runner.api.futures import MapResults, value_of
from mpiexec_runner.api.options import TaskOptions
from mpiexec_runner.api.session import Session, Setup
from mpiexec_runner.model.events import SubmissionsClosed
from mpiexec_runner.model.tasks import Outcome, TaskSpec

CHAIN = 8
SCHEDULER = {"placement": "dynamic"}


class Blocks:
    """``map`` over numbers with other options for each block.

    Parameters
    ----------
    session
        The run.
    priorities
        Of the blocks, in turn.
    chain
        So many tasks of a block follow one after the other.
    """

    def __init__(self, session: Session, priorities: list[int], chain: int) -> None:
        self._session, self._chain = session, chain
        options = [TaskOptions(priority=priority) for priority in priorities]
        self._kinds = [session.kind_for_call(no_op, (), one)[0] for one in options]
        self._blocks = 0

    def _submit(self, numbers: range, results: MapResults) -> list[int]:
        """One block; in chains, the first of each come first."""
        session, kind = self._session, self._kinds[self._blocks % len(self._kinds)]
        self._blocks += 1
        width = -(-len(numbers) // self._chain)
        with session.lock:
            specs: list[TaskSpec] = []
            for place, number in enumerate(numbers):
                after = (specs[place - width].id,) if place >= width else ()
                specs.append(session.make(kind, (number,), {}, after=after))
            session.submit(specs, results)
        return [spec.id for spec in specs]

    def results(self, tasks: int) -> Iterator[int]:
        """All results in order.

        All is submitted at once: with a window, as ``map`` has one, whoever waits for the oldest task would
        wait for the one of the lowest priority, and workers for the next block.
        """
        session, results = self._session, MapResults()
        pending = deque[int]()
        for begin in range(0, tasks, PORTION):
            pending.extend(self._submit(range(begin, min(begin + PORTION, tasks)), results))
        while pending:
            task = pending.popleft()
            found = results.take_if_here(task, None)
            if not isinstance(found, Outcome):
                found = results.fetch(task, None, found)
            yield value_of(found, session.engine.blobs)


def measure(results: Callable[[int], Iterator[int]], tasks: int) -> None:
    """Tell the rate of that many tasks. Fewer would tell how long a chain is under way, not what it costs."""
    check(results(WARM_UP), WARM_UP)
    tell(rate=tasks / timed(lambda count: check(results(count), count), tasks))


def by_map(tasks: int) -> None:
    """What everybody has without asking for anything."""
    with ParallelExecutor() as executor:
        measure(lambda count: executor.map(no_op, range(count)), tasks)


def by_blocks(features: list[str], tasks: int) -> None:
    """With some of the features."""
    session = Session(Setup(scheduler=SCHEDULER if "dynamic" in features else None))
    if not session.begin():
        raise SystemExit(0)
    priorities = list(range(1, 11)) if "priorities" in features else [5]
    measure(Blocks(session, priorities, CHAIN if "dependencies" in features else 1).results, tasks)
    session.post(SubmissionsClosed())  # as the executor does at the end of its block
    session.engine.join()


if __name__ == "__main__":
    asked = [name for name in sys.argv[1].split(",") if name]
    if asked == ["map"]:
        by_map(int(sys.argv[2]))
    else:
        by_blocks(asked, int(sys.argv[2]))
