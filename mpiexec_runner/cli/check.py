"""Commands that check: ``validate``, ``schema``, ``doctor``. They run no task."""

# ruff: noqa: PLC0415 - what a command needs is imported when it is called; see main.py

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpiexec_runner.app.wording import counted
from mpiexec_runner.errors import ExitCode

if TYPE_CHECKING:
    from mpiexec_runner.app.checks.finding import Finding

MARKS = {"ok": "[green]ok     [/]", "warning": "[yellow]warning[/]", "error": "[red]error  [/]"}


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("validate", short_help="Check a configuration; say all that is wrong.")(validate)
    app.command("schema", short_help="Print the JSON Schema of the configuration.")(schema)
    app.command("doctor", short_help="Look at what this machine offers to runs.")(doctor)


def validate(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration, a YAML file.")],
    changes: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value: key.path=value. May be repeated."),
    ] = [],  # noqa: B006 - typer reads it
) -> None:
    """Check a configuration, down to its tasks and callables; say all that is wrong."""
    from mpiexec_runner.app.rank import Request
    from mpiexec_runner.app.run import load_new
    from mpiexec_runner.config.expansion import expand

    workload = expand(load_new(Request(config=str(config), overrides=tuple(changes))))
    left_out = f", {counted(workload.duplicates, 'duplicate')} left out" if workload.duplicates else ""
    print(f"{config}: good; {counted(len(workload.tasks), 'task')}{left_out}")


def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from mpiexec_runner.config.schema import json_schema

    print(json.dumps(json_schema(), indent=2))


def doctor(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where runs will be kept.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at what this machine offers: MPI, launcher, cores, file system. Each line with a remedy."""
    import msgspec

    from mpiexec_runner.app.checks.finding import Status
    from mpiexec_runner.app.doctor import diagnose

    findings = diagnose(directory)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(findings), indent=2).decode())
    else:
        _print(findings)
    if any(finding.status is Status.ERROR for finding in findings):
        raise typer.Exit(int(ExitCode.SOME_FAILED))


def _print(findings: "list[Finding]") -> None:
    from mpiexec_runner.cli.console import make_console

    console = make_console()
    for finding in findings:
        console.print(f"{MARKS[finding.status.value]} {finding.name}: ", end="")
        console.print(finding.text, markup=False)
        if finding.remedy:
            console.print(f"        -> {finding.remedy}", markup=False)
