"""Columns of plain values: parameters and results spread over names, and given the type that fits all.

Nothing here knows of files or of tasks.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from mpiexec_runner.storage.values import Array, to_json

MOST_COLUMNS = 1000
"""Mappings with more names than this are data, not columns."""
JSON_COLUMN = "json"

_SCALARS = (bool, int, float, str)
_EXACT = 2**53
_INT64 = 2**63


class Columns:
    """Named columns of one length that appear as they are first needed; ``None`` where nothing was set."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._columns: dict[str, list[object]] = {}

    def __len__(self) -> int:
        return len(self._columns)

    def set(self, name: str, row: int, value: object) -> None:
        """Set one cell."""
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = [None] * self._length
        column[row] = value

    def items(self) -> Iterable[tuple[str, list[object]]]:
        """Names and columns."""
        return self._columns.items()

    def holds(self, name: str) -> bool:
        """Whether there is a column of that name."""
        return name in self._columns


def is_scalar(value: object) -> bool:
    """Whether ``value`` fits into a cell as it is."""
    return value is None or isinstance(value, _SCALARS)


def place_result(columns: Columns, row: int, value: object) -> bool:
    """Put a task's result where it belongs; False if that is no column.

    A number or text goes into the column ``value``, a mapping of such into one column a key, other plain
    data into ``json``.
    """
    if is_scalar(value):
        if value is not None:
            columns.set("value", row, value)
    elif isinstance(value, dict) and _fits(columns, value):
        for name, cell in value.items():
            columns.set(_reserved(name), row, cell)
    elif isinstance(value, (dict, list, tuple)):
        columns.set(JSON_COLUMN, row, to_json(value))
    else:
        return False
    return True


def typed(values: list[object]) -> Array | list[str]:
    """A column in one type: bool, int64, float64 (NaN for missing), or text ("" for missing).

    Integers that float64 cannot hold exactly and mixtures become text, as JSON.
    """
    types = set(map(type, values))
    missing = type(None) in types
    types.discard(type(None))
    if types == {bool} and not missing:
        return np.array(values, np.bool_)
    if types == {int} and not missing and all(-_INT64 <= value < _INT64 for value in _numbers(values)):
        return np.array(values, np.int64)
    if types and types <= {int, float} and _fit_float(values):
        return np.array([np.nan if value is None else value for value in values], np.float64)
    if types <= {str}:
        return ["" if value is None else str(value) for value in values]
    return ["" if value is None else to_json(value) for value in values]


def _numbers(values: list[object]) -> Iterable[Any]:
    return (value for value in values if value is not None)


def _fit_float(values: list[object]) -> bool:
    return all(isinstance(value, float) or -_EXACT <= value <= _EXACT for value in _numbers(values))


def _fits(columns: Columns, value: dict[object, object]) -> bool:
    if not value or not all(isinstance(name, str) and is_scalar(cell) for name, cell in value.items()):
        return False
    fresh = sum(1 for name in value if not columns.holds(_reserved(str(name))))
    return len(columns) + fresh <= MOST_COLUMNS


def _reserved(name: str) -> str:
    return f"{name}_" if name in (JSON_COLUMN, "items") else name
