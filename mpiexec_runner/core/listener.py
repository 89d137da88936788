"""What a run tells those who wait for it. A port only: progress displays and futures implement it."""

from typing import Protocol

from mpiexec_runner.core.state import RunState
from mpiexec_runner.model.commands import RunEnd
from mpiexec_runner.model.tasks import Outcome, TaskState


class Listener(Protocol):
    """Somebody who waits for results or shows progress. Called in the hub's thread: to be quick."""

    def settled(self, outcomes: list[Outcome]) -> None:
        """These tasks are at their end, with the outcome that counts."""

    def settled_without(self, task: int, state: TaskState, why: str) -> None:
        """A task is at its end without an attempt that counts."""

    def worker_noted(self, worker: int, what: str) -> None:
        """Something became of a worker."""

    def noted(self, what: str) -> None:
        """Something befell the run itself: a whole sentence, with its remedy."""

    def progressed(self, state: RunState) -> None:
        """Called every so often with the state of the run, to be read only."""

    def ended(self, end: RunEnd, why: str) -> None:
        """The run is over."""
