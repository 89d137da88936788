"""Each promise in docs/reliability.md names a test, and that test is there."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
_SHOWN = re.compile(r"\[`([\w.]+)::(\w+)`\]\(([^)]+)\)")


def test_every_test_that_is_named_exists() -> None:
    shown = _SHOWN.findall(PAGE.read_text())
    assert len(shown) > 20
    for file, name, link in shown:
        path = PAGE.parent / link
        assert path.name == file
        assert f"def {name}(" in path.read_text(), f"{link} has no {name}"


def test_every_promise_names_one() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if "shown by" not in row]
    assert rows
    assert not [row for row in rows if not _SHOWN.search(row)]
