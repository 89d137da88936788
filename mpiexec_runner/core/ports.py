"""What the core asks of its policies. Protocols only; the policies are in ``policies/``."""

from collections.abc import Sequence
from typing import Protocol

from mpiexec_runner.model.decisions import Again, AttemptView, Demand
from mpiexec_runner.model.tasks import Failure, RetryRule


class WorkerView(Protocol):
    """What a placement policy may see of a worker."""

    @property
    def id(self) -> int:
        """Its rank."""

    @property
    def host(self) -> str:
        """The name of its host."""

    @property
    def slots(self) -> int:
        """How many tasks it runs at once."""

    @property
    def held(self) -> int:
        """How many tasks it holds, running or not."""

    @property
    def backlog_s(self) -> float:
        """Expected seconds of work that it holds, as an ordinary worker would take for it."""

    @property
    def slowness(self) -> float:
        """How many times longer tasks take on it than on an ordinary worker: 1 for most."""

    @property
    def cores(self) -> int:
        """How many cores its tasks share."""

    @property
    def memory_bytes(self) -> int:
        """How much memory its tasks share."""

    @property
    def gpus(self) -> int:
        """How many devices its tasks share."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""


class Placement(Protocol):
    """Divides ready tasks of one kind among workers with room."""

    def share(
        self, count: int, candidates: Sequence[tuple[WorkerView, int]], turn: int, demand: Demand
    ) -> Sequence[tuple[WorkerView, int]]:
        """Divide ``count`` tasks.

        Parameters
        ----------
        count
            How many tasks are to be placed, at least 1.
        candidates
            Workers and the room of each, at least 1; at least one candidate, in order of their ids.
        turn
            How many tasks were placed in this run before. What a policy remembers of itself is lost at a
            resume; what it makes of this number is not.
        demand
            What is known of the tasks.

        Returns
        -------
        sequence of (worker, n)
            Each worker's part: never more than its room, all together never more than ``count``. None at all
            is to wait for a better moment: it is asked again when a worker has room anew. A worker may
            appear more than once.
        """


class Retry(Protocol):
    """Decides whether and when a failed task is tried again."""

    def decide(
        self, rule: RetryRule, retries: int, failure: Failure, exit_code: int | None, draw: float
    ) -> Again | None:
        """Decide, after ``retries`` earlier repetitions; ``None`` to give up.

        ``exit_code`` is that of the attempt, if it had one; ``draw`` is a random number in [0, 1).
        """


class Speculation(Protocol):
    """Decides when a second attempt is worth its while."""

    def begin_after_s(self, attempt: AttemptView) -> float:
        """At which elapsed time to look at this attempt, in seconds; infinite for never."""

    def is_worth(self, attempt: AttemptView, idle_slowness: float) -> bool:
        """Whether a second attempt on an idle worker of that slowness is expected to end sooner."""
