"""``explain``: why a task is not running, from the record alone."""

# ruff: noqa: PLC0415 - what a command needs is imported when it is called; see main.py

from pathlib import Path
from typing import Annotated

import typer

from mpiexec_runner.errors import UserError

LATEST = Path("runs/latest")


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("explain", short_help="Say why a task is not running, or what it does.")(explain)


def explain(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[RUN_DIR] TASK",
            help="The task's name or id; RUN_DIR is runs/latest if left out.",
        ),
    ],
) -> None:
    """Say why a task is not running, or what it does. The run, if it goes on, is not disturbed."""
    from mpiexec_runner.app.explain import explain_task

    if len(words) > 2:
        raise UserError("explain takes a run directory and one task")
    run_dir = Path(words[0]) if len(words) > 1 else LATEST
    print("\n".join(explain_task(run_dir, words[-1])))
