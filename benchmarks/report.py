"""What a benchmark found: rows, how they are compared, and how they are shown.

It knows nothing of how anything is measured.
"""

import statistics
from collections.abc import Mapping, Sequence

import msgspec
from rich.console import Console
from rich.table import Table


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table.

    ``value`` is the median over the rounds, ``low`` and ``high`` the least and the greatest. ``ratio`` is how
    many times better ours did, computed in each round and then its median; ``ratio_low`` and ``ratio_high``
    likewise. ``met`` is ``None`` where there is no target. ``note`` says why there is no value.
    """

    benchmark: str
    contestant: str
    unit: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    target: str = ""
    met: bool | None = None
    note: str = ""


class Missing(msgspec.Struct, frozen=True):
    """Why a contestant has no samples: it is not installed, or it failed."""

    why: str


Samples = Mapping[str, Sequence[float] | Missing]
"""Of each contestant, one number a round."""


def compare(
    benchmark: str,
    unit: str,
    samples: Samples,
    *,
    ours: str,
    targets: Mapping[str, float] | None = None,
    less_is_better: bool = False,
) -> list[Row]:
    """Rows of contestants beside each other.

    Parameters
    ----------
    benchmark, unit
        What the numbers are.
    samples
        See :data:`Samples`.
    ours
        The contestant that the others are compared with.
    targets
        How many times better than a contestant ours is to be.
    less_is_better
        Whether a smaller number is the better one.
    """
    rows = []
    reference = samples[ours]
    for contestant, found in samples.items():
        target = (targets or {}).get(contestant)
        text = "" if target is None else f">= {target:g} x"
        if isinstance(found, Missing):
            rows.append(
                Row(benchmark=benchmark, contestant=contestant, unit=unit, target=text, note=found.why)
            )
            continue
        row = single(benchmark, contestant, unit, found)
        if contestant != ours and not isinstance(reference, Missing):
            pairs = zip(reference, found, strict=False)
            ratios = [theirs / own if less_is_better else own / theirs for own, theirs in pairs]
            ratio = statistics.median(ratios)
            row = msgspec.structs.replace(
                row,
                ratio=ratio,
                ratio_low=min(ratios),
                ratio_high=max(ratios),
                target=text,
                met=None if target is None else ratio >= target,
            )
        rows.append(row)
    return rows


def single(
    benchmark: str, contestant: str, unit: str, samples: Sequence[float], *, at_most: float | None = None
) -> Row:
    """One row on its own, held to an absolute limit if there is one."""
    value = statistics.median(samples)
    return Row(
        benchmark=benchmark,
        contestant=contestant,
        unit=unit,
        value=value,
        low=min(samples),
        high=max(samples),
        rounds=len(samples),
        target="" if at_most is None else f"<= {at_most:g}",
        met=None if at_most is None else value <= at_most,
    )


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the table."""
    table = Table(title="medians, with least .. greatest of all rounds")
    for heading in ("benchmark", "contestant"):
        table.add_column(heading, overflow="fold")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("ours is better by", justify="right")
    table.add_column("target", justify="right")
    table.add_column("met")
    before = ""
    for row in rows:
        if row.benchmark != before and before:
            table.add_section()
        table.add_row(
            "" if row.benchmark == before else row.benchmark,
            row.contestant,
            row.note or _range(row.value, row.low, row.high),
            "" if row.note else row.unit,
            "" if row.ratio is None else f"x {_range(row.ratio, row.ratio_low, row.ratio_high)}",
            row.target,
            {True: "yes", False: "NO", None: ""}[row.met],
            style="red" if row.met is False else None,
        )
        before = row.benchmark
    console.print(table)


def _range(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return ""
    if low == high:
        return _short(value)
    return f"{_short(value)} ({_short(low)} .. {_short(high)})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
