"""``python -m benchmarks [NAME...] [--quick] [--json FILE]``: run, show and keep."""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console

from benchmarks import machine
from benchmarks.calls import calls
from benchmarks.commands import commands
from benchmarks.idle import idle
from benchmarks.latency import latency
from benchmarks.measure import Timing
from benchmarks.memory import long_map, memory
from benchmarks.record import record
from benchmarks.recovery import recovery
from benchmarks.report import Row, show
from benchmarks.scheduling import scheduling
from benchmarks.straggler import straggler

BENCHMARKS: dict[str, Callable[[Timing], list[Row]]] = {
    "calls": calls,
    "commands": commands,
    "latency": latency,
    "memory": memory,
    "idle": idle,
    "long_map": long_map,
    "record": record,
    "straggler": straggler,
    "scheduling": scheduling,
    "recovery": recovery,
}
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run what was asked for. Exit code 1 when a target was missed."""
    asked = _arguments()
    timing = Timing(quick=asked.quick)
    described = machine.describe()
    begun = datetime.now(UTC)
    rows: list[Row] = []
    for name in asked.names or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += BENCHMARKS[name](timing)
    console = Console() if sys.stdout.isatty() else Console(width=150)
    show(rows, console)
    # Only a full run is kept where nobody said so: it is what the numbers in the documents refer to.
    path = asked.json or (None if asked.quick or asked.names else RESULTS / f"{begun:%Y-%m-%d}-tasks.json")
    if path is not None:
        content = {
            "begun": begun.isoformat(timespec="seconds"),
            "quick": asked.quick,
            **described,
            "rows": rows,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
        console.print(f"written to {path}")
    return int(any(row.met is False for row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)}; all if left out"
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, smaller tasks: for a look, not to keep"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in BENCHMARKS]:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    return asked


if __name__ == "__main__":
    raise SystemExit(main())
