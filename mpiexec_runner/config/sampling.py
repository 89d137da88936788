"""Random numbers and sampling designs, as plain Python values.

Knows NumPy and SciPy (an extra, imported only when needed), not parameters or tasks.

A parameter's numbers depend on the seed and its own name, never on other parameters. The bit stream
(PCG64) is fixed; how NumPy makes a distribution from it may change between versions of NumPy.
"""

import hashlib
import warnings
from typing import Any

import numpy as np

from mpiexec_runner.errors import ConfigError

Interval = tuple[float, float]


def uniform(interval: Interval, count: int, seed: int, name: str) -> list[object]:
    """Draw numbers evenly distributed in [low, high)."""
    return _plain(_generator(seed, name).uniform(*interval, count))


def normal(shape: Interval, count: int, seed: int, name: str) -> list[object]:
    """Draw numbers of a normal distribution with this mean and standard deviation."""
    return _plain(_generator(seed, name).normal(*shape, count))


def loguniform(interval: Interval, count: int, seed: int, name: str) -> list[object]:
    """Draw numbers in [low, high), above 0, whose logarithm is evenly distributed."""
    low, high = np.log(interval)
    return _plain(np.exp(_generator(seed, name).uniform(low, high, count)))


def integers(interval: tuple[int, int], count: int, seed: int, name: str) -> list[Any]:
    """Draw whole numbers from low up to, but not including, high."""
    return _plain(_generator(seed, name).integers(*interval, count))


def latin_hypercube(intervals: list[Interval], count: int, seed: int) -> list[tuple[object, ...]]:
    """Draw the points of a Latin hypercube, one coordinate for each interval.

    Source: McKay, Beckman and Conover, Technometrics 21 (1979) 239-245, as in ``scipy.stats.qmc``.
    """
    return _design("LatinHypercube", intervals, count, seed)


def sobol(intervals: list[Interval], count: int, seed: int) -> list[tuple[object, ...]]:
    """Draw the first points of a scrambled Sobol sequence, one coordinate for each interval.

    Source: Owen, Journal of Complexity 14 (1998) 466-489, as in ``scipy.stats.qmc``.
    """
    return _design("Sobol", intervals, count, seed)


def _design(kind: str, intervals: list[Interval], count: int, seed: int) -> list[tuple[object, ...]]:
    try:
        from scipy.stats import qmc  # noqa: PLC0415 - not everybody has it, and it takes a second to import
    except ImportError as error:
        missing = (
            "sweep.parameters: lhs and sobol need SciPy, which is not installed here. "
            "Install it with: pip install 'mpiexec-runner[sampling]'"
        )
        raise ConfigError([missing]) from error
    generator = _generator(seed, f"<{kind}>")
    make = getattr(qmc, kind)
    try:
        sampler = make(d=len(intervals), rng=generator)
    except TypeError:  # SciPy before 1.15 calls it seed
        sampler = make(d=len(intervals), seed=generator)
    with warnings.catch_warnings():
        # Sobol points other than a power of two are less even, which the documentation says.
        warnings.simplefilter("ignore", UserWarning)
        unit = sampler.random(count)
    low, high = zip(*intervals, strict=True)
    return [tuple(row) for row in qmc.scale(unit, low, high).tolist()]


def _generator(seed: int, name: str) -> np.random.Generator:
    entropy = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(entropy, "little")))


def _plain(drawn: np.ndarray[Any, Any]) -> list[Any]:
    values: list[Any] = drawn.tolist()
    return values
