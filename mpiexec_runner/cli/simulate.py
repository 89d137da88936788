"""``simulate``: what would become of a configuration on a cluster that is not there.

How it is found is ``app/simulate.py``'s; here is how it is asked and shown.
"""

# ruff: noqa: PLC0415 - what a command needs is imported when it is called; see main.py

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpiexec_runner.app.wording import counted

if TYPE_CHECKING:
    from mpiexec_runner.sim.report import Report


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("simulate", short_help="Try a configuration on a virtual cluster.")(simulate)


def simulate(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration, a YAML file.")],
    workers: Annotated[
        int, typer.Option("--workers", "-n", min=1, metavar="N", help="Number of virtual workers.")
    ],
    slots: Annotated[
        int | None, typer.Option("--slots", min=1, metavar="S", help="Tasks that one runs at a time.")
    ] = None,
    hosts: Annotated[int, typer.Option("--hosts", min=1, metavar="H", help="Hosts that they are on.")] = 1,
    duration: Annotated[
        list[str],
        typer.Option(
            "--duration",
            metavar="LAW",
            help="How long tasks take, in seconds: constant:S, uniform:LOW,HIGH, exponential:MEAN, "
            "lognormal:MEDIAN,SIGMA or bimodal:SHORT,LONG,SHARE; KIND=LAW for one kind. May be repeated.",
        ),
    ] = [],  # noqa: B006 - typer reads it
    durations: Annotated[
        Path | None, typer.Option("--durations", metavar="RUN_DIR", help="Take those measured in a run.")
    ] = None,
    slow: Annotated[
        list[str],
        typer.Option("--slow", metavar="A/B:F", help="A of B workers take F times longer. May be repeated."),
    ] = [],  # noqa: B006 - typer reads it
    faults: Annotated[
        str, typer.Option("--faults", metavar="PLAN", help="What goes wrong, such as kill=2,fail=0.01.")
    ] = "",
    placement: Annotated[
        list[str], typer.Option("--placement", metavar="NAME", help="Placement policy. Repeat to compare.")
    ] = [],  # noqa: B006 - typer reads it
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, metavar="S", help="Everything random follows from it.")
    ] = None,
    changes: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value: key.path=value. May be repeated."),
    ] = [],  # noqa: B006 - typer reads it
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a configuration on a virtual cluster, in virtual time, with the real scheduler. No task is run."""
    from mpiexec_runner.app.simulate import Question
    from mpiexec_runner.app.simulate import simulate as answer

    question = Question(
        config=str(config),
        overrides=tuple(changes),
        workers=workers,
        slots=slots,
        hosts=hosts,
        durations=tuple(duration),
        measured=str(durations or ""),
        slow=tuple(slow),
        faults=faults,
        placements=tuple(placement),
        seed=seed,
    )
    reports = answer(question).reports
    if as_json:
        import msgspec

        found = [{**msgspec.structs.asdict(report), "ratio": report.ratio} for report in reports]
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        _print(reports)


def _print(reports: "list[Report]") -> None:
    from rich.table import Table

    from mpiexec_runner.cli.console import make_console

    first = reports[0]
    print(
        f"{counted(first.tasks, 'task')} on {counted(first.workers, 'worker')} with "
        f"{counted(first.slots, 'slot')} in all, seed {first.seed}"
    )
    print(
        f"no schedule is shorter than {seconds(first.bound_s)}; an oracle's takes {seconds(first.oracle_s)}"
    )
    table = Table()
    table.add_column("placement")
    for header in ("makespan", "to oracle", "utilisation", "attempts", "retried", "doubled", "taken back"):
        table.add_column(header, justify="right")
    for report in reports:
        spread = report.of_workers
        table.add_row(
            report.placement,
            seconds(report.makespan_s),
            f"x {report.ratio:.3f}",
            f"{report.utilisation:.1%} ({spread.low:.0%} - {spread.high:.0%})",
            *(str(n) for n in (report.attempts, report.retries, report.speculations, report.returned)),
        )
    make_console().print(table)
    for report in reports:
        for line in remarks(report):
            print(f"{report.placement}: {line}")


def remarks(report: "Report") -> list[str]:
    """What did not go as it should."""
    said = []
    if report.end != "complete":
        said.append(f"the run ended {report.end}: {report.why}")
    ends = {"failed": report.failed, "cancelled": report.cancelled, "skipped": report.skipped}
    said += [f"{counted(count, 'task')} {word}" for word, count in ends.items() if count]
    if report.lost_workers:
        said.append(f"workers were lost {counted(report.lost_workers, 'time')}")
    return said


def seconds(time_s: float) -> str:
    """A time for people."""
    if time_s < 600:
        return f"{time_s:.4g} s"
    if time_s < 48 * 3600:
        return f"{int(time_s // 3600)}:{int(time_s % 3600 // 60):02d}:{int(time_s % 60):02d} h"
    return f"{time_s / 86400:.3g} days"
