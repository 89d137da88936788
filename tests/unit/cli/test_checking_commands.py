"""``validate``, ``doctor`` and dry runs: what they print."""

import pytest

from mpiexec_runner.app import doctor
from mpiexec_runner.app.checks.finding import ok, warning
from mpiexec_runner.app.rank import Request
from mpiexec_runner.app.start import Launch, describe
from mpiexec_runner.app.wording import counted


@pytest.fixture
def config(tmp_path):
    def write(values: str) -> str:
        path = tmp_path / "c.yaml"
        path.write_text(f"sweep: {{command: 'echo {{n}}', parameters: {{n: {values}}}}}")
        return str(path)

    return write


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("[1]", "1 task"),
        ("[1, 2]", "2 tasks"),
        ("[1, 2, 2]", "2 tasks, 1 duplicate left out"),
        ("[1, 1, 1]", "1 task, 2 duplicates left out"),
    ],
)
def test_validate_counts(command, config, values, told):
    path = config(values)
    assert command("validate", path) == (0, f"{path}: good; {told}\n", "")


@pytest.mark.parametrize(
    ("values", "told"),
    [("[1, 2]", "2 tasks of 1 kind"), ("[1, 1]", "1 task of 1 kind; 1 duplicate left out")],
)
def test_a_dry_run_counts(config, values, told, monkeypatch):
    monkeypatch.setattr("mpiexec_runner.app.start.is_rank", lambda: True)
    assert describe(Request(config=config(values)), Launch())[0] == told


def test_counted():
    assert [counted(number, "kind") for number in (0, 1, 2)] == ["0 kinds", "1 kind", "2 kinds"]


def test_findings_are_not_folded_where_no_terminal_is(command, monkeypatch):
    long = "a word or [two] " * 30
    monkeypatch.setattr(doctor, "diagnose", lambda _: [ok("place", long), warning("time", long, long)])
    said = command("doctor")
    assert said.code == 0
    assert [line[:10].rstrip() for line in said.out.splitlines()] == [
        "ok      pl",
        "warning ti",
        "        ->",
    ]
    assert said.out.count(long.strip()) == 3
