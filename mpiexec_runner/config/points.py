"""The points of a sweep: what values its parameters stand for, and how they are combined.

Knows parameters, not tasks. The same parameters and seed give the same points, in the same order.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, assert_never

from mpiexec_runner.config import sampling
from mpiexec_runner.config.parameters import (
    Choice,
    Generator,
    Integers,
    LatinHypercube,
    Linspace,
    Logspace,
    LogUniform,
    Normal,
    Parameter,
    Range,
    Sobol,
    Uniform,
)
from mpiexec_runner.model.settings import Settings

MOST_POINTS = 10_000_000
Joint = LatinHypercube | Sobol
_Axis = tuple[tuple[str, ...], list[tuple[object, ...]]]


def lengths_of(parameters: Mapping[str, Parameter], samples: int | None) -> dict[str, int]:
    """Return how many values each parameter has, without making them."""
    return {name: _length(given, samples) for name, given in parameters.items()}


def count_points(parameters: Mapping[str, Parameter], samples: int | None, combine: str) -> int:
    """Return how many points the parameters stand for, before conditions and duplicates."""
    lengths = lengths_of(parameters, samples)
    if combine == "zip":
        return max(lengths.values(), default=0)
    separate = [length for name, length in lengths.items() if not isinstance(parameters[name], Joint)]
    designs = {type(given) for given in parameters.values() if isinstance(given, Joint)}
    return math.prod([*separate, *[samples or 1] * len(designs)])


def points(
    parameters: Mapping[str, Parameter], *, samples: int | None, combine: str, seed: int
) -> Iterator[dict[str, object]]:
    """Yield every point as a mapping from parameter to value, in the order of the parameters.

    Raises
    ------
    ConfigError
        When the parameters need SciPy and it is not installed.
    """
    axes = _axes(parameters, samples, seed)
    names = [name for axis, _ in axes for name in axis]
    if combine == "zip":
        most = max(len(values) for _, values in axes)
        rows: Iterable[tuple[tuple[object, ...], ...]] = zip(
            *[values * most if len(values) == 1 else values for _, values in axes], strict=True
        )
    else:
        rows = itertools.product(*[values for _, values in axes])
    # A joint design stands where its first parameter does; its others are moved to their own places.
    places = [names.index(name) for name in parameters]
    chain = itertools.chain.from_iterable
    for row in rows:
        values = list(chain(row))
        yield {name: values[place] for name, place in zip(parameters, places, strict=True)}


def _axes(parameters: Mapping[str, Parameter], samples: int | None, seed: int) -> list[_Axis]:
    """Return what is combined: one axis for each parameter, one for all of a joint design."""
    axes: list[_Axis] = []
    for name, given in parameters.items():
        if not isinstance(given, Joint):
            axes.append(((name,), [(value,) for value in _values(name, given, seed)]))
            continue
        # Sorted, so that the order of keys in the file does not change the numbers.
        members = sorted(other for other in parameters if type(parameters[other]) is type(given))
        if not any(members[0] in taken for taken, _ in axes):
            intervals = [_interval(parameters[member]) for member in members]
            draw = sampling.latin_hypercube if isinstance(given, LatinHypercube) else sampling.sobol
            axes.append((tuple(members), draw(intervals, samples or 1, seed)))
    return axes


def _interval(given: Any) -> tuple[float, float]:
    interval: tuple[float, float] = given.lhs if isinstance(given, LatinHypercube) else given.sobol
    return interval


def _length(given: Parameter, samples: int | None) -> int:
    match given:
        case Range():
            return len(_steps(given.range))
        case Linspace():
            return given.linspace[2]
        case Logspace():
            return given.logspace[2]
        case Uniform() | Normal() | LogUniform() | Integers() | Choice():
            return given.n
        case LatinHypercube() | Sobol():
            return samples or 1
        case list():
            return len(given)
        case _:
            return 1


def _values(name: str, given: Parameter, seed: int) -> list[object]:
    match given:
        case list():
            return given
        case Settings():
            generator: Generator = given  # type: ignore[assignment]
            return _generated(name, generator, seed)
        case _:
            return [given]


def _generated(name: str, given: Generator, seed: int) -> list[object]:
    match given:
        case Range():
            return _range(given.range)
        case Linspace():
            first, last, count = given.linspace
            return list(_linspace(first, last, count))
        case Logspace():
            return list(_logspace(*given.logspace))
        case Uniform():
            return sampling.uniform(given.uniform, given.n, seed, name)
        case Normal():
            return sampling.normal(given.normal, given.n, seed, name)
        case LogUniform():
            return sampling.loguniform(given.loguniform, given.n, seed, name)
        case Integers():
            return sampling.integers(given.integers, given.n, seed, name)
        case Choice():
            return [
                given.choice[index]
                for index in sampling.integers((0, len(given.choice)), given.n, seed, name)
            ]
        case LatinHypercube() | Sobol():
            raise TypeError("a joint design has no values of its own")
        case _:
            assert_never(given)


def _exact(number: float) -> Fraction:
    """Return the number that was written: 0.1 is a tenth, not its nearest binary fraction."""
    return Fraction(repr(number))


def _steps(given: tuple[int | float, ...]) -> range:
    """Return how often the step is taken: exact, where floats would be off by one."""
    start, stop = given[:2]
    step = given[2] if len(given) == 3 else 1
    return range(max(0, math.ceil((_exact(stop) - _exact(start)) / _exact(step))))


def _range(given: tuple[int | float, ...]) -> list[object]:
    start, step = _exact(given[0]), _exact(given[2] if len(given) == 3 else 1)
    number = int if all(isinstance(item, int) for item in given) else float
    return [number(start + index * step) for index in _steps(given)]


def _linspace(first: float, last: float, count: int) -> Iterator[float]:
    start, width = _exact(first), _exact(last) - _exact(first)
    for index in range(count):
        yield float(start + width * Fraction(index, max(1, count - 1)))


def _logspace(first: float, last: float, count: int) -> Iterator[float]:
    start, stop = math.log10(first), math.log10(last)
    for index in range(count):
        if index in (0, count - 1):
            yield float(last if index and index == count - 1 else first)
        else:
            # 15 digits hide the last bit, in which the mathematics libraries of two machines may differ.
            yield float(f"{10 ** (start + (stop - start) * index / (count - 1)):.15g}")
