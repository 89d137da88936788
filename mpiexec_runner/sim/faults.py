"""What goes wrong in a virtual cluster, and when. Everything follows from a seed.

Nothing here changes anything: ``cluster.py`` asks what becomes of a worker or an attempt.
"""

import enum
import random
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, ValidationError

from mpiexec_runner.errors import UserError
from mpiexec_runner.model.settings import Settings

_MASK = 2**64 - 1


class Misfortune(enum.StrEnum):
    """What can befall a worker."""

    KILL = "kill"
    """Its rank dies, and the hub hears of it from MPI."""
    VANISH = "vanish"
    """Its rank dies, and only its silence tells."""
    HANG = "hang"
    """It stops dead for a while, and then goes on where it was."""
    SLOW = "slow"
    """It takes longer over everything for a while."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One misfortune: ``at_s`` seconds after the start; ``lasts_s`` and ``factor`` where they apply."""

    at_s: float
    worker: int
    what: Misfortune
    lasts_s: float = 0.0
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """All that goes wrong in one simulation.

    Attributes
    ----------
    faults
        What befalls workers.
    fail
        Probability that an attempt fails at its end.
    drag, drag_by
        Probability that an attempt takes ``drag_by`` times longer than its task should.
    poison
        Tasks that kill every worker that runs them.
    seed
        Decides which attempts fail and drag: the same ones in whatever order they run.
    """

    faults: tuple[Fault, ...] = ()
    fail: float = 0.0
    drag: float = 0.0
    drag_by: float = 10.0
    poison: frozenset[int] = field(default_factory=frozenset)
    seed: int = 0

    @property
    def touches_attempts(self) -> bool:
        """Whether attempts may end in another way than their tasks' durations say."""
        return bool(self.fail or self.drag or self.poison)

    def fails(self, task: int, attempt: int) -> bool:
        """Whether this attempt fails."""
        return self.fail > 0 and _draw(self.seed, task, attempt, 1) < self.fail

    def stretch(self, task: int, attempt: int) -> float:
        """How many times longer than it should this attempt takes."""
        drags = self.drag > 0 and _draw(self.seed, task, attempt, 2) < self.drag
        return self.drag_by if drags else 1.0


def _draw(seed: int, task: int, attempt: int, salt: int) -> float:
    """A number in [0, 1) from four numbers: splitmix64 (Steele, Lea and Flood, 2014), cheap and stateless."""
    z = (seed * 0x9E3779B97F4A7C15 + task * 0xBF58476D1CE4E5B9 + attempt * 0x94D049BB133111EB + salt) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / 2**53


Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0)]
Factor = Annotated[float, Field(ge=1)]


class FaultRates(Settings):
    """How much goes wrong; a plan is drawn from it."""

    kill: Count = 0
    """Workers that die."""
    vanish: Count = 0
    """Workers that die without a word."""
    hang: Count = 0
    """How often a worker hangs."""
    hang_s: Seconds = 120.0
    """For how many seconds."""
    slow: Count = 0
    """How often a worker is slow for a while."""
    slow_s: Seconds = 60.0
    """For how many seconds."""
    slow_by: Factor = 10.0
    """How many times longer everything takes then."""
    fail: Share = 0.0
    """Share of attempts that fail."""
    drag: Share = 0.0
    """Share of attempts that take longer than their task should."""
    drag_by: Factor = 10.0
    """How many times longer."""
    poison: Count = 0
    """Tasks that kill the worker that runs them."""
    within_s: Seconds | None = None
    """Workers are struck in the first so many seconds; without it, while an oracle would be at work."""

    @property
    def strikes_without_time(self) -> bool:
        """Whether somebody has to say when workers are struck."""
        return self.within_s is None and bool(self.kill or self.vanish or self.hang or self.slow)


def parse_faults(text: str) -> FaultRates:
    """Read rates, such as ``kill=2,fail=0.01``.

    Raises
    ------
    UserError
        A name or a number is not right; all names are listed.
    """
    given: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, sign, value = part.partition("=")
        if not sign or name not in FaultRates.model_fields:
            names = ", ".join(FaultRates.model_fields)
            raise UserError(f"faults are written as NAME=NUMBER, not {part!r}. Names are {names}")
        given[name] = value
    try:
        return FaultRates.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"faults: {first['loc'][0]}={first['input']}: {first['msg'].lower()}") from error


def draw_plan(
    rates: FaultRates, workers: int, tasks: list[int], oracle_s: float, crash_limit: int, seed: int
) -> FaultPlan:
    """Draw a plan that leaves at least one worker alive.

    Parameters
    ----------
    rates
        How much goes wrong.
    workers
        Workers are 1 to this.
    tasks
        Ids of all tasks; poison is drawn from them.
    oracle_s
        How long an oracle would need.
    crash_limit
        How many workers a poison task kills before it is given up.
    seed
        The plan follows from this.

    Raises
    ------
    UserError
        When more would die than there are.
    """
    deaths = rates.kill + rates.vanish + rates.poison * crash_limit
    if deaths >= workers:
        raise UserError(
            f"the faults kill {deaths} of {workers} workers (a poison task kills {crash_limit}): "
            "leave at least one, or simulate more workers"
        )
    draws = random.Random(f"{seed}/faults")  # noqa: S311 - not for secrets
    within_s = rates.within_s or oracle_s
    doomed = iter(draws.sample(range(1, workers + 1), rates.kill + rates.vanish))
    faults = [Fault(draws.uniform(0, within_s), next(doomed), Misfortune.KILL) for _ in range(rates.kill)]
    faults += [
        Fault(draws.uniform(0, within_s), next(doomed), Misfortune.VANISH) for _ in range(rates.vanish)
    ]
    for _ in range(rates.hang):
        at_s, worker = draws.uniform(0, within_s), draws.randint(1, workers)
        faults.append(Fault(at_s, worker, Misfortune.HANG, rates.hang_s))
    for _ in range(rates.slow):
        at_s, worker = draws.uniform(0, within_s), draws.randint(1, workers)
        faults.append(Fault(at_s, worker, Misfortune.SLOW, rates.slow_s, rates.slow_by))
    poison = frozenset(draws.sample(tasks, min(rates.poison, len(tasks))))
    return FaultPlan(tuple(faults), rates.fail, rates.drag, rates.drag_by, poison, seed)
