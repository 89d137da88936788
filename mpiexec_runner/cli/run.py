"""Commands that run: ``run``, ``resume``, and ``rank``, with which ranks take their places.

What they do is ``app/``'s; here is how they are called.
"""

# ruff: noqa: PLC0415 - what a command needs is imported when it is called; see main.py

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpiexec_runner.app.launcher import Preference
from mpiexec_runner.app.world import launched_ranks

if TYPE_CHECKING:
    from mpiexec_runner.app.rank import Request
    from mpiexec_runner.cli.progress import Reporter
    from mpiexec_runner.storage.rundir import RunDirectory

Ranks = Annotated[
    int, typer.Option("--ranks", "-n", min=0, metavar="N", help="Number of ranks; 0: as many as fit.")
]
Set = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value: key.path=value. May be repeated."),
]
LauncherChoice = Annotated[Preference, typer.Option("--launcher", help="What starts the ranks.")]
Salvage = Annotated[bool, typer.Option("--salvage", help="Leave out damaged records of the journal.")]
TakeOver = Annotated[bool, typer.Option("--take-over", help="Take the run directory from whoever has it.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("run", short_help="Run the work of a configuration.")(run)
    app.command("resume", short_help="Go on with a run; what is done stays done.")(resume)
    app.command("rank", hidden=True)(rank)
    app.command("newcomer", hidden=True)(newcomer)


def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration, a YAML file.")],
    ranks: Ranks = 0,
    changes: Set = [],  # noqa: B006 - typer reads it
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", metavar="DIR", help="Use exactly this new directory.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    launcher: LauncherChoice = Preference.AUTO,
) -> None:
    """Run the work of a configuration; started alone, under the launcher that fits."""
    from mpiexec_runner.app.rank import Request

    request = Request(config=str(config), run_dir=str(run_dir or ""), overrides=tuple(changes))
    if dry_run:
        from mpiexec_runner.app.start import Launch, describe

        print("\n".join(describe(request, Launch(ranks, launcher))))
        return
    _go(request, ranks, launcher)


def resume(
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="The run directory, for example runs/latest.")
    ],
    ranks: Ranks = 0,
    changes: Set = [],  # noqa: B006 - typer reads it
    launcher: LauncherChoice = Preference.AUTO,
    salvage: Salvage = False,
    take_over: TakeOver = False,
) -> None:
    """Go on with a run; what it has finished is not run again."""
    from mpiexec_runner.app.rank import Request

    request = Request(
        run_dir=str(run_dir), overrides=tuple(changes), resume=True, salvage=salvage, take_over=take_over
    )
    _go(request, ranks, launcher)


def rank(
    run_dir: Path,
    changes: Set = [],  # noqa: B006 - typer reads it
    salvage: Salvage = False,
    take_over: TakeOver = False,
    workers: Annotated[str, typer.Option("--workers", help="Settings of workers, as JSON.")] = "",
) -> None:
    """Take a rank's place in a prepared run directory."""
    from mpiexec_runner.app.rank import Request, take_place

    request = Request(
        run_dir=str(run_dir),
        overrides=tuple(changes),
        resume=True,
        salvage=salvage,
        take_over=take_over,
        workers=workers,
    )
    take_place(request, _reporter, _say)
    # Whoever started the ranks reads the record; a launcher makes much noise about other codes than 0.


def newcomer(berth: str) -> None:
    """Take the place of a rank that died."""
    from mpiexec_runner.app.newcomer import join

    join(berth, _reporter, _say)


def _go(request: "Request", ranks: int, launcher: Preference) -> None:
    if launched_ranks(os.environ) is not None or ranks == 1:
        from mpiexec_runner.app.rank import take_place

        raise typer.Exit(take_place(request, _reporter, _say))
    from mpiexec_runner.app.start import Launch, start

    raise typer.Exit(start(request, Launch(ranks, launcher), _say))


def _reporter(directory: "RunDirectory") -> "Reporter":
    """Called on rank 0 alone: the others need nothing that prints."""
    from mpiexec_runner.cli.console import make_console
    from mpiexec_runner.cli.progress import Reporter

    return Reporter(make_console(), directory.path)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
