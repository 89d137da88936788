"""The ``mpiexec-runner`` command: where its groups come together, and how errors are said.

Every error is one message with its place and a remedy, and an exit code of DESIGN's table. What a command
needs is imported when it is called: every rank goes through here, and starts the sooner.
"""

import difflib
import sys
from typing import Any

import typer
import typer.core

from mpiexec_runner.cli import check, control, explain, results, run, simulate
from mpiexec_runner.errors import ExitCode, RunnerError, UserError
from mpiexec_runner.version import __version__

PROGRAM = "mpiexec-runner"

# Newer versions of typer have a click of their own, so click's name for this class may be another's.
UsageProblem: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)


class _Commands(typer.core.TyperGroup):
    """The commands, with what typer and click do differently from version to version done in one way."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command; hidden ones are not suggested for a name that there is not."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            shown = [name for name, command in self.commands.items() if not command.hidden]
            close = difflib.get_close_matches(args[0], shown, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(shown)}."
            raise UserError(f"there is no command {args[0]}. {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; Ctrl-C has an exit code of ours."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(int(ExitCode.INTERRUPTED)) from None


app = typer.Typer(
    name=PROGRAM,
    cls=_Commands,
    help="One MPI job as a fault-tolerant task engine.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _start(
    ctx: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        typer.echo(f"{PROGRAM} {__version__}")
    elif ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise typer.Exit(int(ExitCode.USAGE))


run.register(app)
results.register(app)
control.register(app)
explain.register(app)
check.register(app)
simulate.register(app)


def main() -> None:
    """Run the command; the console script's entry."""
    try:
        code = app(prog_name=PROGRAM, standalone_mode=False)
    except UsageProblem as error:
        print(f"error: {_told(error)}", file=sys.stderr)
        code = ExitCode.USAGE
    except (typer.Abort, KeyboardInterrupt):
        code = ExitCode.INTERRUPTED
    except RunnerError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:
        # Whoever read our output (head, less) has enough; Python must not complain when it flushes.
        sys.stdout = None
        code = ExitCode.DONE
    sys.exit(int(code or 0))


def _told(error: Any) -> str:
    """What is wrong with the words of a command line, and where to read about them."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else PROGRAM
    return f"{error.format_message().rstrip()}\nSee {command} --help"
