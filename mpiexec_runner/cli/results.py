"""``results``: the task table of a run, live, finished or crashed.

It reads the run directory only, and changes nothing.
"""

# ruff: noqa: PLC0415 - what a command needs is imported when it is called; see main.py

import csv
import enum
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mpiexec_runner.cli.selection import Columns

SHOWN_ROWS = 50


class Format(enum.StrEnum):
    """How results are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("results", short_help="Print a run's tasks: parameters, states, times, results.")(results)


def results(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The run directory.")] = Path(
        "runs/latest"
    ),
    format_: Annotated[Format, typer.Option("--format", help="How to print them.")] = Format.TABLE,
    rows: Annotated[int, typer.Option("--rows", min=0, metavar="N", help="Rows of a table; 0: all.")] = (
        SHOWN_ROWS
    ),
    sort: Annotated[
        str, typer.Option("--sort", metavar="COLUMN", help="Sort by a column; -COLUMN: downwards.")
    ] = "",
    columns: Annotated[
        str, typer.Option("--columns", metavar="A,B,C", help="Show exactly these columns.")
    ] = "",
    salvage: Annotated[bool, typer.Option("--salvage", help="Leave out damaged records.")] = False,
) -> None:
    """Print a run's tasks: parameters, states, times, results."""
    from mpiexec_runner.cli import selection
    from mpiexec_runner.storage import results as stored
    from mpiexec_runner.storage.blobs import DirectoryBlobs
    from mpiexec_runner.storage.rundir import RunDirectory

    directory = RunDirectory.open(run_dir)
    table = stored.read_results(directory, salvage=salvage)
    found = stored.columns(table, DirectoryBlobs(directory.blobs))
    if sort:
        found = selection.in_order(found, sort)
    shown = selection.chosen(found, columns) if columns else found
    match format_:
        case Format.JSON:
            json.dump(_records(shown), sys.stdout, default=str, allow_nan=False)
            print()
        case Format.CSV:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(shown)
            writer.writerows(zip(*shown.values(), strict=True))
        case Format.TABLE:
            from mpiexec_runner.cli.table import print_table

            shown = shown if columns else selection.telling(found)
            print_table(selection.headers(shown, found), shown, rows or len(table))


def _records(found: "Columns") -> list[dict[str, Any]]:
    return [
        {name: _jsonable(value) for name, value in zip(found, row, strict=True)}
        for row in zip(*found.values(), strict=True)
    ]


def _jsonable(value: Any) -> Any:
    """JSON has no NaN: what is missing is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.tolist() if hasattr(value, "tolist") else value
