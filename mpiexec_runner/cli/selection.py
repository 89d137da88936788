"""Which columns and rows of a run's table are shown, in which order. Prints nothing.

A column of results, ``result.NAME``, may be asked for as ``NAME`` where no other column is called that.
"""

import math
from collections.abc import Sequence
from typing import Any

from mpiexec_runner.errors import UserError
from mpiexec_runner.storage.rundir import default_name

Columns = dict[str, list[Any]]

RESULT = "result."
HIDDEN = frozenset({"submitted", "started", "ended", "host", "rank", "cpu_s", "peak_memory_bytes"})
"""Columns that a terminal has no room for unless they are asked for; csv and json have them."""


def chosen(found: Columns, names: str) -> Columns:
    """Pick the columns of a list with commas, in its order.

    Raises
    ------
    UserError
        When one is unknown; all that there are, are listed.
    """
    asked = [name.strip() for name in names.split(",") if name.strip()]
    if not asked:
        raise UserError(f"--columns names no column. There are {', '.join(found)}")
    full = [_full_name(found, name, "--columns") for name in asked]
    return {name: found[name] for name in full}


def in_order(found: Columns, by: str) -> Columns:
    """Sort the rows by a column, downwards with ``-`` before its name; what is missing comes last.

    Raises
    ------
    UserError
        When there is no such column.
    """
    downwards = by.startswith("-") and by not in found
    cells = found[_full_name(found, by[downwards:], "--sort")]
    filled = [row for row, cell in enumerate(cells) if not blank(cell)]
    filled.sort(key=lambda row: _key(cells[row]), reverse=downwards)
    rows = filled + [row for row, cell in enumerate(cells) if blank(cell)]
    return {name: [column[row] for row in rows] for name, column in found.items()}


def telling(found: Columns) -> Columns:
    """Leave out what tells a reader nothing: the usual, the blank, and what only programs want."""
    return {name: cells for name, cells in found.items() if name not in HIDDEN and not _usual(found, name)}


def headers(shown: Columns, found: Columns) -> list[str]:
    """Names for the columns shown, without ``result.`` where that cannot be mistaken."""
    return [_short(name, found) for name in shown]


def blank(value: Any) -> bool:
    """Whether a cell has nothing in it."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _usual(found: Columns, name: str) -> bool:
    cells = found[name]
    match name:
        case "name":
            usual = all(cell == default_name(id_) for id_, cell in zip(found["id"], cells, strict=True))
        case "attempts":
            usual = all(cell == 1 for cell in cells)
        case "exit_code":
            usual = all(blank(cell) or cell == 0 for cell in cells)
        case _:
            usual = name not in ("id", "state") and all(blank(cell) for cell in cells)
    return usual


def _full_name(found: Columns, name: str, option: str) -> str:
    for full in (name, RESULT + name):
        if full in found:
            return full
    there = ", ".join(_short(each, found) for each in found)
    raise UserError(f"{option}: there is no column {name}. There are {there}")


def _short(name: str, found: Columns) -> str:
    short = name.removeprefix(RESULT)
    return short if short not in found else name


def _key(cell: Any) -> tuple[int, Any]:
    """Numbers before words, and anything else by how it is written."""
    if isinstance(cell, (bool, int, float)):
        return 0, cell
    if isinstance(cell, Sequence) and not isinstance(cell, str):
        return 2, str(cell)
    return 1, str(cell)
