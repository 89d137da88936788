"""The ways to give the values of a sweep's parameter. Records only.

What values they stand for is worked out in ``points.py``; nothing here computes any.
"""

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from mpiexec_runner.config.values import Plain, plain
from mpiexec_runner.model.settings import Settings, refuse, shown

MOST_VALUES = 10_000_000
Count = Annotated[int, Field(ge=1, le=MOST_VALUES, strict=True)]


class _Shape:
    """The check of a short list of numbers: how many, and of which sort.

    ``names`` are those of its items, the last in brackets if optional; one named ``count`` is how many
    values to make.
    """

    def __init__(self, names: str, example: str, *, whole: bool = False, above_zero: bool = False) -> None:
        self._names = names.split()
        self._required = len([name for name in self._names if not name.startswith("[")])
        self._example = example
        self._whole = whole
        self._above_zero = above_zero

    def __call__(self, value: object) -> tuple[object, ...]:
        if not isinstance(value, list | tuple) or not self._required <= len(value) <= len(self._names):
            usage = ", ".join(name.strip("[]") for name in self._names)
            optional = " (the last may be left out)" if self._required < len(self._names) else ""
            raise refuse(f"must be [{usage}]{optional}, for instance {self._example}, not {_written(value)}")
        for name, item in zip(self._names, value, strict=False):
            self._check(name, item)
        return tuple(value)

    def _check(self, name: str, item: object) -> None:
        whole = self._whole or name == "count"
        if isinstance(item, bool) or not isinstance(item, int if whole else int | float):
            raise refuse(f"{name.strip('[]')} must be a {'whole ' if whole else ''}number, not {shown(item)}")
        if not math.isfinite(item):
            raise refuse(f"{name} must be finite, not {item}")
        if name == "count" and not 1 <= item <= MOST_VALUES:
            raise refuse(f"count says how many values there are: 1 to {MOST_VALUES:,}, not {item}")
        if self._above_zero and item <= 0:
            raise refuse(f"{name} must be above 0, not {item}: the scale is logarithmic")


def _written(value: object) -> str:
    return "[" + ", ".join(map(shown, value)) + "]" if isinstance(value, list | tuple) else shown(value)


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise refuse(f"the first number must be below the second, not [{value[0]}, {value[1]}]")
    return value


def _spread(value: tuple[float, float]) -> tuple[float, float]:
    if value[1] < 0:
        raise refuse(f"the standard deviation must not be negative, not {value[1]}")
    return value


def _step(value: tuple[int | float, ...]) -> tuple[int | float, ...]:
    if len(value) == 3 and value[2] == 0:
        raise refuse("the step must not be 0")
    return value


# The validators written later in an annotation run earlier, so each shape is checked before its meaning.
_PAIR = BeforeValidator(_Shape("low high", "[0, 1]"))
_STEPS = WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3})


class Range(Settings):
    """Evenly spaced values with a given step, as Python's `range`: the end is not among them."""

    range: Annotated[
        tuple[int | float, ...],
        BeforeValidator(_step),
        BeforeValidator(_Shape("start stop [step]", "[0, 10, 2]")),
        _STEPS,
    ]
    """`[start, stop]` or `[start, stop, step]`. Whole numbers give whole numbers; decimal fractions are
    counted exactly, so that `[0, 1, 0.1]` is ten values."""


class Linspace(Settings):
    """Evenly spaced values, both ends among them."""

    linspace: Annotated[
        tuple[float, float, int], BeforeValidator(_Shape("first last count", "[0.7, 1.3, 7]"))
    ]
    """`[first, last, count]`."""


class Logspace(Settings):
    """Values evenly spaced on a logarithmic scale, both ends among them."""

    logspace: Annotated[
        tuple[float, float, int],
        BeforeValidator(_Shape("first last count", "[0.001, 1000, 7]", above_zero=True)),
    ]
    """`[first, last, count]`; first and last are values themselves (not exponents), above 0."""


class Uniform(Settings):
    """Random numbers, evenly distributed."""

    uniform: Annotated[tuple[float, float], BeforeValidator(_rising), _PAIR]
    """`[low, high]`."""
    n: Count
    """How many."""


class Normal(Settings):
    """Random numbers, normally distributed."""

    normal: Annotated[
        tuple[float, float], BeforeValidator(_spread), BeforeValidator(_Shape("mean deviation", "[0, 1]"))
    ]
    """`[mean, standard deviation]`."""
    n: Count
    """How many."""


class LogUniform(Settings):
    """Random numbers whose logarithm is evenly distributed."""

    loguniform: Annotated[
        tuple[float, float],
        BeforeValidator(_rising),
        BeforeValidator(_Shape("low high", "[0.001, 1]", above_zero=True)),
    ]
    """`[low, high]`, above 0."""
    n: Count
    """How many."""


class Integers(Settings):
    """Random whole numbers."""

    integers: Annotated[
        tuple[int, int], BeforeValidator(_rising), BeforeValidator(_Shape("low high", "[0, 10]", whole=True))
    ]
    """`[low, high]`; `high` itself is never drawn."""
    n: Count
    """How many."""


class Choice(Settings):
    """Values drawn at random from a list, with replacement."""

    choice: Annotated[list[Plain], Field(min_length=1)]
    """What to draw from."""
    n: Count
    """How many."""


class LatinHypercube(Settings):
    """One coordinate of a Latin hypercube that all `lhs` parameters of the sweep form together."""

    lhs: Annotated[tuple[float, float], BeforeValidator(_rising), _PAIR]
    """`[low, high]`. The number of points is the sweep's `samples`."""


class Sobol(Settings):
    """One coordinate of a scrambled Sobol sequence that all `sobol` parameters of the sweep form together."""

    sobol: Annotated[tuple[float, float], BeforeValidator(_rising), _PAIR]
    """`[low, high]`. The number of points is the sweep's `samples`, best a power of two."""


Generator = (
    Range | Linspace | Logspace | Uniform | Normal | LogUniform | Integers | Choice | LatinHypercube | Sobol
)
GENERATORS: dict[str, type[Settings]] = {
    next(iter(kind.model_fields)): kind
    for kind in (
        Range, Linspace, Logspace, Uniform, Normal, LogUniform, Integers, Choice, LatinHypercube, Sobol
    )
}  # fmt: skip


def _tag(value: Any) -> str | None:
    """Say which form a parameter has, so that errors speak of that form only."""
    match value:
        case Settings():
            return f"<{type(value).__name__}>"
        case list() | tuple():
            return "<values>"
        case dict():
            return next((f"<{kind.__name__}>" for name, kind in GENERATORS.items() if name in value), None)
        case _:
            return "<value>"


Parameter = Annotated[
    Annotated[list[Plain], Field(min_length=1), Tag("<values>")]
    | Annotated[Range, Tag("<Range>")]
    | Annotated[Linspace, Tag("<Linspace>")]
    | Annotated[Logspace, Tag("<Logspace>")]
    | Annotated[Uniform, Tag("<Uniform>")]
    | Annotated[Normal, Tag("<Normal>")]
    | Annotated[LogUniform, Tag("<LogUniform>")]
    | Annotated[Integers, Tag("<Integers>")]
    | Annotated[Choice, Tag("<Choice>")]
    | Annotated[LatinHypercube, Tag("<LatinHypercube>")]
    | Annotated[Sobol, Tag("<Sobol>")]
    | Annotated[
        Any,
        BeforeValidator(plain),
        WithJsonSchema({"type": ["null", "boolean", "number", "string"]}),
        Tag("<value>"),
    ],
    Discriminator(_tag),
]
"""A list of values, one value, or a mapping with a generator."""
