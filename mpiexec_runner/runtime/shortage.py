"""Attempts that failed for want of room where the run itself had none: they are not held against their tasks.

It knows neither queues nor retries: it tells such attempts from others. A command that finds no room for its
output finds none for its complaint either, and its worker may look when there is some again. So one that
exits with a code and without a word is treated like one of which the worker knows.
"""

from collections import defaultdict
from collections.abc import Callable

from mpiexec_runner.execute.ending import exit_failure
from mpiexec_runner.model.tasks import FailureClass, Outcome, Verdict
from mpiexec_runner.runtime.standstill import Standstill

LENIENT = 3
"""How often a task is let off. One that fills the disk by itself is found out so."""
SLACK_S = 1.0
"""How long the news of an attempt may take."""


class Shortage:
    """Looks at the run's own disk when a task says that its disk is full.

    Parameters
    ----------
    check_room
        Raises ``StorageFull`` where the run's disk is full.
    standstill
        Knows when it last was.
    """

    def __init__(self, check_room: Callable[[], None], standstill: Standstill) -> None:
        self._check_room, self._standstill = check_room, standstill
        self._let_off: dict[int, list[float]] = defaultdict(list)
        """By task: when the standstills were over that it was let off for."""

    def split(self, outcomes: list[Outcome], now: float) -> tuple[list[Outcome], list[tuple[int, int]]]:
        """The outcomes that count, and the (task, attempt) of those that are to be made again instead.

        Raises
        ------
        StorageError
            The run's disk is full, or has failed: ask again when that is over.
        """
        excused = [self._is_excused(outcome, now) for outcome in outcomes]
        again = [(outcome.task, outcome.attempt) for outcome, so in zip(outcomes, excused, strict=True) if so]
        for task, _ in again:
            self._let_off[task].append(self._standstill.over_at)
        return [outcome for outcome, so in zip(outcomes, excused, strict=True) if not so], again

    def _is_excused(self, outcome: Outcome, now: float) -> bool:
        """Whether the run's disk was full while an attempt ran."""
        over_at, let_off = self._standstill.over_at, self._let_off.get(outcome.task, ())
        if not _may_lack_room(outcome) or len(let_off) >= LENIENT:
            return False
        if over_at not in let_off and now - outcome.elapsed_s - SLACK_S <= over_at:
            return True
        self._check_room()
        return False


def _may_lack_room(outcome: Outcome) -> bool:
    failure, code = outcome.failure, outcome.exit_code
    if failure is None or outcome.verdict is not Verdict.FAILED:
        return False
    speechless = code is not None and code > 0 and failure == exit_failure(code)
    return speechless or failure.kind is FailureClass.STORAGE
