"""What the tasks of these tests do: say where they begin, wait until they may end, return what is known.

They run in the directory of the test. ``value_of`` tells what each of them returns.
"""

import os
import time
import zlib
from pathlib import Path
from typing import Any

WAITS_S = 300.0
LARGE = 4 * 2**20
LARGEST = 65 * 2**20
"""More than a worker keeps of what it has sent."""
SIZES = {2: LARGEST, 3: LARGE}
"""Of results that are large, by the number of their task."""
FUNCTIONS = 8
"""How many different ones take a large argument."""


def value_of(i: int) -> int:
    """What any task returns, but for those that give something large, and groups."""
    return i * i


def given_by(i: int) -> str:
    """What a task of the result in flight returns."""
    return f"{i} " + "y" * SIZES.get(i, 0)


def hold(i: int) -> int:
    """A task that runs until it may end."""
    _mark(i)
    _await("go")
    return value_of(i)


def brief(i: int) -> int:
    """A task that ends at once."""
    _mark(i)
    return value_of(i)


def last(i: int) -> int:
    """A task that lasts a little while."""
    _mark(i)
    time.sleep(0.1 + i % 5 / 20)
    return value_of(i)


def make(i: int) -> str:
    """What others take."""
    _mark(i)
    return "x" * LARGE


def give(i: int) -> str:
    """A task whose result is large, some of them."""
    _mark(i)
    _await("finish")
    value = given_by(i)
    Path(f"given-{i}").touch()
    return value


def together(comm: Any, i: int) -> int:
    """A task of a group, which meets before and after it waits."""
    _mark(i)
    comm.Barrier()
    _await("go")
    comm.Barrier()
    return value_of(i)


def _take(i: int, data: str) -> int:
    _mark(i)
    assert zlib.crc32(data.encode()) == zlib.crc32(b"x" * LARGE)
    return value_of(i)


for _number in range(FUNCTIONS):
    globals()[f"take_{_number}"] = _take


def _mark(i: int) -> None:
    rank = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("PMI_RANK") or "-"
    with Path("marks", str(i)).open("a") as file:
        file.write(f"{rank}\n")


def _await(name: str) -> None:
    give_up = time.monotonic() + WAITS_S
    while not Path(name).exists() and time.monotonic() < give_up:
        time.sleep(0.01)
