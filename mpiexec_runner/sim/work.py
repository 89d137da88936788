"""What a virtual cluster is to do: tasks as the scheduler knows them, and how long each really takes.

The scheduler is never told these times. Nothing here knows where tasks come from.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mpiexec_runner.errors import UserError
from mpiexec_runner.model.tasks import TaskKind, TaskSpec

UNKNOWN_S = 1.0
"""How long a task takes of which nothing is said."""


@dataclass(frozen=True, slots=True)
class VirtualWork:
    """Tasks and their true durations.

    Attributes
    ----------
    kinds, tasks
        As they are submitted; ids grow.
    lasts_s
        For each of ``tasks``, how long one attempt takes on an ordinary worker, in seconds.
    """

    kinds: tuple[TaskKind, ...]
    tasks: Sequence[TaskSpec]
    lasts_s: Sequence[float]


Draw = Callable[[random.Random], float]


class _Shape(NamedTuple):
    """A family of laws: what its parameters are called, and what makes one of it."""

    parameters: tuple[str, ...]
    make: Callable[..., Draw]


def _bimodal(short_s: float, long_s: float, share: float) -> Draw:
    return lambda draws: long_s if draws.random() < share else short_s


def _lognormal(median_s: float, sigma: float) -> Draw:
    return lambda draws: median_s * draws.lognormvariate(0.0, sigma)


SHAPES = {
    "constant": _Shape(("seconds",), lambda s: lambda _: s),
    "uniform": _Shape(("low_s", "high_s"), lambda low, high: lambda draws: draws.uniform(low, high)),
    "exponential": _Shape(("mean_s",), lambda mean: lambda draws: draws.expovariate(1.0) * mean),
    "lognormal": _Shape(("median_s", "sigma"), _lognormal),
    "bimodal": _Shape(("short_s", "long_s", "share_of_long"), _bimodal),
}
"""Laws by name."""


def parse_law(text: str) -> Draw:
    """Read a law of durations, such as ``uniform:1,3``; durations are in seconds.

    Raises
    ------
    UserError
        There is no such law, or its numbers are not right; all laws are listed.
    """
    name, _, rest = text.partition(":")
    shape = SHAPES.get(name)
    known = ", ".join(f"{name}:{','.join(shape.parameters)}" for name, shape in SHAPES.items())
    if shape is None:
        raise UserError(f"there is no law of durations {text!r}. There are {known}")
    try:
        numbers = [float(part) for part in rest.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != len(shape.parameters) or not all(0 <= number < float("inf") for number in numbers):
        raise UserError(
            f"{text!r} is not written as {name}:{','.join(shape.parameters)}, with numbers from 0 on"
        )
    draw: Draw = shape.make(*numbers)
    return draw


def measured_law(durations_s: Sequence[float]) -> Draw:
    """A law that draws from durations that were measured."""
    return lambda draws: draws.choice(durations_s)


def lay_out(
    kinds: tuple[TaskKind, ...],
    tasks: Sequence[TaskSpec],
    laws: dict[str, Draw],
    seed: int,
    known_s: dict[int, float] | None = None,
) -> VirtualWork:
    """Give each task its true duration.

    Parameters
    ----------
    kinds, tasks
        What is to be done.
    laws
        By the name of a kind; ``""`` is for all others. Without one, tasks take what their kind expects, or
        ``UNKNOWN_S``.
    seed
        What is drawn follows from this alone.
    known_s
        Durations by task id, which go before all laws.
    """
    known_s = known_s or {}
    draws = random.Random(f"{seed}/durations")  # noqa: S311 - not for secrets
    law_of: dict[int, Draw] = {}
    for kind in kinds:
        expected_s = UNKNOWN_S if kind.expected_s is None else kind.expected_s
        law_of[kind.id] = laws.get(kind.name) or laws.get("") or _always(expected_s)
    # Drawn for every task, known or not: a task's duration does not depend on what is known of others.
    drawn = [(spec.id, law_of[spec.kind](draws)) for spec in tasks]
    return VirtualWork(kinds, tasks, [known_s.get(id_, lasts_s) for id_, lasts_s in drawn])


def _always(seconds: float) -> Draw:
    return lambda _: seconds
