"""What an explanation looks at, and the words that all explanations share. It changes nothing."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Task, Worker
from mpiexec_runner.model.events import AnyEvent, TasksFinished, TasksReturned, TasksStarted
from mpiexec_runner.model.tasks import Outcome
from mpiexec_runner.model.workers import WorkerState

SHOWN = 5
"""How many tasks or workers a list names before it only counts."""


class History:
    """What the record says of one task that the state does not keep.

    Feed it the whole record with :meth:`take`.

    Attributes
    ----------
    outcomes : list of (int, Outcome)
        How its attempts ended, as workers told it, with their ranks.
    began : dict
        When attempts began, in seconds, by (worker, attempt). Short ones are not told to have begun.
    """

    def __init__(self, task_id: int) -> None:
        self._id = task_id
        self.outcomes: list[tuple[int, Outcome]] = []
        self.began: dict[tuple[int, int], float] = {}
        self.returned = 0

    def take(self, now: float, events: Sequence[AnyEvent]) -> None:
        """Take in one batch."""
        for event in events:
            match event:
                case TasksFinished():
                    mine = (outcome for outcome in event.outcomes if outcome.task == self._id)
                    self.outcomes.extend((event.worker, outcome) for outcome in mine)
                case TasksStarted():
                    for task_id, attempt in event.attempts:
                        if task_id == self._id:
                            self.began[event.worker, attempt] = now
                case TasksReturned():
                    self.returned += sum(task_id == self._id for task_id, _ in event.attempts)
                case _:
                    pass


class Sight(msgspec.Struct, frozen=True):
    """All that an explanation looks at.

    ``now`` is in seconds, on the clock of the record; ``name_of`` says what people call a task.
    """

    state: RunState
    task: Task
    history: History
    now: float
    name_of: Callable[[Task], str]

    @property
    def alive(self) -> list[Worker]:
        """The workers that are there, in the order in which they came."""
        return [worker for worker in self.state.workers.values() if worker.state is WorkerState.ALIVE]

    def place(self, rank: int) -> str:
        """A rank with its host."""
        worker = self.state.workers.get(rank)
        return f"rank {rank} ({worker.info.host})" if worker is not None else f"rank {rank}"

    def listed(self, tasks: Sequence[Task]) -> str:
        """Tasks with their states."""
        shown = [f"{self.name_of(task)} ({task.state.name.lower()})" for task in tasks[:SHOWN]]
        more = f" and {len(tasks) - SHOWN} more" if len(tasks) > SHOWN else ""
        return ", ".join(shown) + more

    def named(self, task_id: int) -> str:
        """What people call the task of this number, which may be forgotten."""
        task = self.state.tasks.get(task_id)
        return self.name_of(task) if task is not None else f"task {task_id}"


def ranks(workers: Sequence[Worker]) -> str:
    """The ranks of some workers."""
    shown = ", ".join(str(worker.id) for worker in workers[:SHOWN])
    return f"rank {shown}" + (", ..." if len(workers) > SHOWN else "")


def held_by(workers: Iterable[Worker]) -> int:
    """How many tasks workers hold together: a group's task is one, however many hold it."""
    return len({task_id for worker in workers for task_id in worker.tasks})


def seconds(number: float) -> str:
    """A duration."""
    return f"{max(0.0, number):.{1 if number < 60 else 0}f} s"


def counted(number: int, noun: str) -> str:
    """So many of something."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
