"""A run's table, for people to read."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from mpiexec_runner.cli.console import make_console
from mpiexec_runner.cli.selection import Columns, blank


def print_table(headers: list[str], columns: Columns, limit: int) -> None:
    """Print the first ``limit`` rows, and how many there are more."""
    table = Table()
    for header in headers:
        table.add_column(header, overflow="fold")
    total = len(next(iter(columns.values()), []))
    for at in range(min(limit, total)):
        table.add_row(*(_cell(cells[at]) for cells in columns.values()))
    make_console().print(table)
    if total > limit:
        print(f"{total - limit} more; --rows 0 shows all")


def _cell(value: Any) -> str:
    if blank(value):
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else _shorten(value)
    return text.splitlines()[0][:200] if text else ""


def _shorten(value: Any) -> str:
    if isinstance(value, Sequence) and len(value) > 8:
        return f"{len(value)} values"
    return str(value)
