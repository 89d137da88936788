"""The results of a run, read from its journal, as columns of plain values.

Nothing here writes: HDF5 is in ``results_file.py``, CSV and JSON are made by whoever shows the columns.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np

from mpiexec_runner.errors import StorageError
from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.storage.checkpoint import find_checkpoint
from mpiexec_runner.storage.columns import Columns, place_result
from mpiexec_runner.storage.journal_reader import read_journal
from mpiexec_runner.storage.port import BlobPort
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.storage.table import ResultTable, TaskRow
from mpiexec_runner.storage.values import (
    NO_VALUE,
    Elsewhere,
    Opaque,
    decode_arguments,
    decode_value,
    to_json,
)


def read_results(directory: RunDirectory, *, salvage: bool = False) -> ResultTable:
    """The table of a run, straight from its journal: of one that works, has crashed, or is done.

    Raises
    ------
    StorageError
        The journal cannot be read; see :func:`~mpiexec_runner.storage.journal_reader.read_journal`.
    """
    table = ResultTable()
    reading = read_journal(directory.journal, salvage=salvage)
    for record in reading:
        table.apply(record)
    table.take_word(_settled_without(directory))
    table.settle_dependents()
    table.notes.extend(reading.notes)
    return table


def columns(table: ResultTable, blobs: BlobPort | None = None) -> dict[str, list[Any]]:
    """The table as lists by column name; ``None`` for what is missing.

    The columns of a task come first, then the parameters, then the results as ``result`` or ``result.KEY``.
    A parameter named like another column is called ``parameter.NAME``. What is no plain data is described.
    """
    found: dict[str, list[Any]] = {name: _without_blanks(cells) for name, cells in task_columns(table)}
    for name, cells in parameters(table).items():
        found[name if name not in found else f"parameter.{name}"] = cells
    described: list[tuple[int, str]] = []
    plain = results(table, blobs, table.notes, lambda row, value: described.append((row, _describe(value))))
    for row, text in described:
        plain.set("value", row, text)
    for name, cells in plain.items():
        label = "result" if name == "value" else f"result.{name}"
        found[label if label not in found else f"{label}_"] = cells
    return found


# --- what is in the columns


def task_columns(table: ResultTable) -> Iterable[tuple[str, list[Any]]]:
    """The columns of :class:`TaskRow`, one at a time, with the blanks that a record has."""
    for name in TaskRow._fields:
        yield name, table.column(name)


def _without_blanks(cells: list[Any]) -> list[Any]:
    # NaN is the only value that differs from itself.
    return [None if cell in (-1, "") or cell != cell else cell for cell in cells]


def parameters(table: ResultTable) -> Columns:
    """The arguments that were given to all tasks, one column a name; positional ones as JSON in ``args``."""
    found = Columns(len(table))
    for row in range(len(table)):
        payload = table.payload(row)
        if not payload:
            continue
        arguments = decode_arguments(payload)
        for name, value in arguments.fields.items():
            if name not in arguments.lifted:
                found.set(name, row, value)
        if arguments.args:
            found.set("args" if "args" not in arguments.fields else "args_", row, to_json(arguments.args))
    return found


def results(
    table: ResultTable, blobs: BlobPort | None, notes: list[str], keep: Callable[[int, object], None]
) -> Columns:
    """The plain results as columns; each of the others is given to ``keep``, one at a time."""
    found = Columns(len(table))
    for row in range(len(table)):
        value, ref = table.value(row)
        try:
            decoded = decode_value(value, ref, blobs)
        except StorageError as error:
            notes.append(f"the result of {table.name(row)} cannot be read: {error}")
            continue
        if decoded is not NO_VALUE and not place_result(found, row, decoded):
            keep(row, decoded)
    return found


def _describe(value: object) -> str:
    match value:
        case np.ndarray():
            return f"array {value.dtype} {value.shape}"
        case Opaque(encoding, data):
            return f"{encoding}, {len(data)} bytes"
        case Elsewhere(encoding, ref):
            return f"{encoding}, {sum(ref.sizes)} bytes in blob {ref.key}"
        case _:
            return to_json(value)


class _Facts(msgspec.Struct):
    whys: dict[int, tuple[TaskState, str]] = {}


class _Snapshot(msgspec.Struct):
    """The part of a checkpoint that the journal does not tell."""

    facts: _Facts


def _settled_without(directory: RunDirectory) -> dict[int, tuple[TaskState, str]]:
    """Tasks that the scheduler brought to their end by itself, as the newest checkpoint says, and why."""
    loaded = find_checkpoint(directory.checkpoints, directory.journal, lambda _: None)
    return msgspec.msgpack.decode(loaded.snapshot, type=_Snapshot).facts.whys if loaded is not None else {}
