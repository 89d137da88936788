"""What the hub keeps its record in, as a port. The adapters are in ``keeper.py``."""

from collections.abc import Sequence
from typing import Protocol

from mpiexec_runner.core.state import RunState
from mpiexec_runner.model.events import AnyEvent
from mpiexec_runner.model.tasks import Outcome
from mpiexec_runner.runtime.control import Answer, Taken
from mpiexec_runner.storage.port import BlobPort, JournalPort


class Keeper(Protocol):
    """A run's record."""

    @property
    def journal(self) -> JournalPort:
        """The truth."""

    @property
    def blobs(self) -> BlobPort:
        """Large data beside it."""

    @property
    def run_dir(self) -> str:
        """The run directory, absolute; empty when there is none."""

    @property
    def task_dirs(self) -> bool:
        """Whether tasks get directories."""

    @property
    def python_path(self) -> tuple[str, ...]:
        """Directories in which workers look for modules first."""

    def maintain(self, state: RunState, now: float) -> list[str]:
        """Called often; checkpoints, renews the lease, when that is due.

        Returns
        -------
        list[str]
            What did not work and does not matter to the run, once each.

        Raises
        ------
        StorageError
            The record is not this run's any more, or cannot be kept.
        """

    def renew(self, now: float) -> None:
        """As :meth:`maintain`, for times at which the state may not be looked at."""

    def confirm(self) -> None:
        """Learn whether this is still the one who keeps the record; ``Fenced`` when it is not."""

    def check_room(self) -> None:
        """Raise ``StorageFull`` where the disk that has the record is full."""

    def requests(self) -> list[Taken]:
        """What people dropped into the control box since the last call."""

    def answer(self, answer: Answer) -> None:
        """Answer one of them; ``StorageError`` when that cannot be written."""


class Adder(Protocol):
    """Makes events of the tasks that a task adds to its run."""

    def expand(self, outcome: Outcome) -> Sequence[AnyEvent]:
        """What to tell the run.

        Raises
        ------
        UserError, ConfigError
            They make no sense, with all that is wrong. Then none is added.
        """
