"""``results.h5``: the table and the results in HDF5, for plain h5py.

It can be made again from the journal at any time, so it is never more than a copy. Group ``tasks`` has one
dataset a column, ``parameters`` likewise; ``results`` has the columns of plain results (``value``, or one a
key; ``json`` for nested data), and ``results/items`` one dataset for each task that returned an array, a
pickle or the like. Row i of all columns is the same task. Missing is NaN, -1 or empty text.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mpiexec_runner.errors import StorageError
from mpiexec_runner.storage.atomic import written_aside
from mpiexec_runner.storage.columns import typed
from mpiexec_runner.storage.port import BlobPort
from mpiexec_runner.storage.results import parameters, results, task_columns
from mpiexec_runner.storage.table import ResultTable
from mpiexec_runner.storage.values import Array, Elsewhere, Opaque, to_json

FORMAT = "mpiexec-runner results"
VERSION = 1

_UNITS = {
    **dict.fromkeys(("submitted", "started", "ended"), "seconds since 1970-01-01 UTC"),
    **dict.fromkeys(("elapsed_s", "cpu_s"), "seconds"),
    "peak_memory_bytes": "bytes",
}


def write_results(table: ResultTable, path: Path, blobs: BlobPort | None = None) -> list[str]:
    """Write the table to an HDF5 file; the old one stays until the new one is whole.

    Parameters
    ----------
    table
        The table.
    path
        The file, usually ``results.h5`` in the run directory.
    blobs
        Where large results are.

    Returns
    -------
    list[str]
        Notes on results that could not be read; their cells are empty.

    Raises
    ------
    StorageError
        The disk refused; ``path`` is as it was.
    """
    notes: list[str] = []
    with written_aside(path) as temporary:
        temporary.touch(mode=0o600)
        try:
            with h5py.File(temporary, "w", locking=False) as file:
                file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
                _write_columns(file.create_group("tasks"), task_columns(table))
                _write_columns(file.create_group("parameters"), parameters(table).items())
                group = file.create_group("results")
                items = group.create_group("items")
                plain = results(
                    table,
                    blobs,
                    notes,
                    lambda row, value: _write_item(items, table.name(row), table.row(row).id, value),
                )
                _write_columns(group, plain.items())
        except RuntimeError as error:  # how HDF5 speaks of a disk that fills up while it closes a file
            raise StorageError(f"cannot write {path}: {error}; is there room on that file system?") from error
    return notes


def _write_columns(group: Any, found: Iterable[tuple[str, list[Any]]]) -> None:
    for name, cells in found:
        column = typed(cells)
        free = _free_name(group, name)
        if isinstance(column, list):
            text = h5py.string_dtype()
            dataset = group.create_dataset(free, data=[_storable(cell) for cell in column], dtype=text)
        else:
            dataset = group.create_dataset(free, data=column)
        if name in _UNITS:
            dataset.attrs["units"] = _UNITS[name]


def _write_item(group: Any, name: str, task: int, value: object) -> None:
    name = _free_name(group, name)
    match value:
        case np.ndarray():
            dataset = _write_array(group, name, value)
        case Opaque(encoding, data):
            dataset = group.create_dataset(name, data=np.frombuffer(data, np.uint8))
            dataset.attrs["encoding"] = encoding
        case bytes():
            dataset = group.create_dataset(name, data=np.frombuffer(value, np.uint8))
            dataset.attrs["encoding"] = "bytes"
        case Elsewhere(encoding, ref):
            dataset = group.create_dataset(name, data=f"blob {ref.key}")
            dataset.attrs["encoding"] = f"{encoding} with parts in blobs"
        case _:
            dataset = group.create_dataset(name, data=_storable(to_json(value)))
            dataset.attrs["encoding"] = "json"
    dataset.attrs["id"] = task


def _write_array(group: Any, name: str, value: Array) -> Any:
    if value.dtype.kind in "biufcS":
        return group.create_dataset(name, data=value)
    if value.dtype.kind == "U":
        return group.create_dataset(name, data=value.astype(object), dtype=h5py.string_dtype())
    # Dates and records: HDF5 has no such type, or h5py none that all readers know.
    raw = np.frombuffer(value.tobytes(), np.uint8)
    dataset = group.create_dataset(name, data=raw)
    dataset.attrs["encoding"] = "array"
    dataset.attrs["dtype"], dataset.attrs["shape"] = value.dtype.str, value.shape
    return dataset


def _free_name(group: Any, name: str) -> str:
    """``name`` as HDF5 can have it, and different from those that are there."""
    name = _storable(name).replace("/", "_")
    name = "_" if name in ("", ".") else name
    while name in group:
        name += "_"
    return name


def _storable(text: str) -> str:
    return text.replace("\0", "\\0")  # text in HDF5 ends at a NUL
