"""What placement policies see of a worker, and how they look at some of very many.

They fit ``core/ports.py`` without importing it. Knows no policy.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

MOST_LOOKED_AT = 128
"""Workers with room that are looked at for one task."""
GOLDEN = 0.6180339887498949
"""The part of the golden ratio behind the point: its multiples, modulo 1, are spread evenly over [0, 1)
however many are taken (Weyl's sequence), so that turns that follow one another differ and all come up."""


class Seen(Protocol):
    """What these policies see of a worker; ``core/ports.WorkerView`` says what each is."""

    @property
    def id(self) -> int:
        """Its rank."""

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
        """How many times longer tasks take on it than on an ordinary worker."""

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


W = TypeVar("W", bound=Seen)


class Randomness(Protocol):
    """The part of ``random.Random`` that is used here."""

    def random(self) -> float:
        """A number in [0, 1)."""


def phase(turn: int) -> float:
    """Return a number in [0, 1) that is spread evenly over the turns."""
    return turn * GOLDEN % 1.0


def some_of(count: int, candidates: Sequence[tuple[W, int]], turn: int) -> Sequence[tuple[W, int]]:
    """Return all candidates, or of very many an even choice that changes from turn to turn.

    What a task costs must not grow with the number of idle workers. The best of a hundred is nearly the
    best of all (Mitzenmacher, "The power of two choices in randomized load balancing", 2001), and a choice at
    equal distances meets every kind of node, however they are numbered.

    There are at least four for each task: their room is less than ``count`` only where that of all is.
    """
    wanted = max(MOST_LOOKED_AT, 4 * count)
    there = len(candidates)
    if there <= wanted:
        return candidates
    first = int(phase(turn) * there)
    return [candidates[(first + step * there // wanted) % there] for step in range(wanted)]
