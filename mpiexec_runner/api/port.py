"""What the Python interface needs of the machinery below it; ``app/engine.py`` provides it.

This room and the runtime do not know each other: they meet in ``app``.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from mpiexec_runner.core.listener import Listener
from mpiexec_runner.core.state import RunState
from mpiexec_runner.errors import UserError
from mpiexec_runner.model.commands import EndRun
from mpiexec_runner.model.events import AnyEvent
from mpiexec_runner.model.tasks import Outcome
from mpiexec_runner.storage.port import BlobPort


class Audience(Listener, Protocol):
    """Whoever hears of a run, and takes in the tasks that its tasks add."""

    def expand(self, outcome: Outcome) -> Sequence[AnyEvent]:
        """What follows from ``Outcome.more`` for the core; raises ``UserError`` when it makes no sense."""


class Engine(Protocol):
    """One run without a configuration file: a hub on rank 0, workers on the others."""

    @property
    def hub_here(self) -> bool:
        """Whether this process is rank 0."""

    @property
    def blobs(self) -> BlobPort:
        """Where large arguments go."""

    @property
    def state(self) -> RunState | None:
        """The state of the run, to be looked at only; ``None`` before :meth:`start`."""

    @property
    def capacity(self) -> int:
        """How many tasks the workers run at once when all are there."""

    @property
    def scheduling_s(self) -> float:
        """How long the scheduler took to decide so far, all together, in seconds."""

    def start(self, listener: Audience, setup: bytes) -> None:
        """On rank 0: begin, in a thread; ``setup`` is a pickled call for each worker to begin with."""

    def post(self, event: AnyEvent) -> None:
        """Let something happen, from any thread."""

    def join(self) -> EndRun:
        """Wait for the end of the run; raises what the hub died of."""

    def serve(self) -> None:
        """On any other rank: work until rank 0 has ended (or ends this run, as the engine was made)."""


EngineFactory = Callable[..., Engine]
_factories: list[EngineFactory] = []


def provide(factory: EngineFactory) -> None:
    """Set what makes engines; done once, by ``app``."""
    _factories[:] = [factory]


def make_engine(**options: object) -> Engine:
    """An engine.

    Raises
    ------
    UserError
        When nothing provides one: the class was imported past the package's front door.
    """
    if not _factories:
        raise UserError(
            "import ParallelExecutor, or what else you use, from mpiexec_runner, not from a module inside it"
        )
    return _factories[0](**options)
