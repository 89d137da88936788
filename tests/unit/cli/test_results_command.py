"""``results``: which columns and rows are shown, and how."""

import csv
import io
import json
import math

import pytest

from mpiexec_runner.cli import selection
from mpiexec_runner.errors import ExitCode, UserError
from mpiexec_runner.storage import results as stored
from mpiexec_runner.storage.rundir import RunDirectory

NAN = math.nan


def columns(**changed):
    found = {
        "id": [1, 2, 3],
        "name": ["task_0001", "task_0002", "task_0003"],
        "state": ["succeeded"] * 3,
        "attempts": [1, 1, 1],
        "rank": [1, 2, 1],
        "host": ["here"] * 3,
        "elapsed_s": [0.25, 0.125, None],
        "exit_code": [0, 0, None],
        "error": [None, None, None],
        "T": [1.5, 2.5, 2.0],
        "seed": [7, 8, 9],
        "result.m": [0.5, None, 0.75],
        "result.T": [3, 1, 2],
    }
    return found | changed


@pytest.fixture
def results(command, monkeypatch, tmp_path):
    """Calls ``results`` on a run with columns that are given."""

    def call(*words, **changed):
        monkeypatch.setattr(stored, "read_results", lambda *_, **__: [None] * 3)
        monkeypatch.setattr(stored, "columns", lambda *_: columns(**changed))
        path = tmp_path / "run"
        directory = (
            RunDirectory.open(path) if path.exists() else RunDirectory.create(tmp_path, "", exact=path)
        )
        return command("results", str(directory.path), *words)

    return call


def shown(said):
    """The cells of a printed table, row by row."""
    assert said.code == 0
    rows = [line.strip("┃│").replace("┃", "│") for line in said.out.splitlines() if line[0] in "┃│"]
    return [[cell.strip() for cell in row.split("│")] for row in rows]


def test_the_usual_is_left_out(results):
    assert shown(results()) == [
        ["id", "state", "elapsed_s", "T", "seed", "m", "result.T"],
        ["1", "succeeded", "0.25", "1.5", "7", "0.5", "3"],
        ["2", "succeeded", "0.125", "2.5", "8", "", "1"],
        ["3", "succeeded", "", "2", "9", "0.75", "2"],
    ]


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("name", ["a", "task_0002", "task_0003"]),
        ("attempts", [1, 2, 1]),
        ("exit_code", [0, 1, None]),
        ("error", [None, "no", None]),
    ],
)
def test_the_unusual_is_shown(results, column, cells):
    assert column in shown(results(**{column: cells}))[0]
    assert column not in shown(results())[0]


def test_columns_are_those_asked_for_in_that_order(results):
    assert shown(results("--columns", "m, host,id,result.T"))[:2] == [
        ["m", "host", "id", "result.T"],
        ["0.5", "here", "1", "3"],
    ]


def test_columns_and_order_of_csv_and_json(results):
    words = ("--columns", "id,T,m", "--sort", "-T")
    told = results(*words, "--format", "csv")
    assert list(csv.reader(io.StringIO(told.out))) == [
        ["id", "T", "result.m"],
        ["2", "2.5", ""],
        ["3", "2.0", "0.75"],
        ["1", "1.5", "0.5"],
    ]
    assert json.loads(results(*words, "--format", "json").out)[0] == {"id": 2, "T": 2.5, "result.m": None}


def test_csv_has_all_columns(results):
    assert next(csv.reader(io.StringIO(results("--format", "csv").out))) == list(columns())


@pytest.mark.parametrize("option", ["--sort", "--columns"])
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_an_unknown_column_is_told_with_those_there_are(results, option, form):
    said = results(option, "bogus", "--format", form)
    assert (said.code, said.out) == (ExitCode.USAGE, "")
    assert f"{option}: there is no column bogus. There are id, name, state" in said.err
    assert "seed, m, result.T" in said.err


def test_no_columns_are_no_choice():
    with pytest.raises(UserError, match="names no column"):
        selection.chosen(columns(), " ,")


@pytest.mark.parametrize(
    ("by", "cells", "order"),
    [
        ("x", [2, 1, 3], [2, 1, 3]),
        ("-x", [2, 1, 3], [3, 1, 2]),
        ("x", [None, 1.0, NAN], [2, 1, 3]),
        ("-x", [None, 1.0, 2.0], [3, 2, 1]),
        ("x", ["b", "", "a"], [3, 1, 2]),
        ("x", ["b", 2, [1]], [2, 1, 3]),
        ("-x", [1, 1, 1], [1, 2, 3]),
    ],
)
def test_sorting(by, cells, order):
    assert selection.in_order({"id": [1, 2, 3], "x": cells}, by)["id"] == order


def test_a_column_may_begin_with_a_minus():
    assert selection.in_order({"id": [1, 2], "-x": [2, 1]}, "-x")["id"] == [2, 1]


def test_the_first_rows_are_those_of_the_order(results):
    said = results("--sort", "-id", "--rows", "1", "--columns", "id")
    assert shown(said) == [["id"], ["3"]]
    assert "2 more; --rows 0 shows all" in said.out


def test_a_table_that_no_terminal_shows_is_as_wide_as_it_has_to_be(results, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = results(**{f"parameter_{number}": ["w" * 30] * 3 for number in range(20)})
    assert len(shown(said)) == 4
    assert said.out.count("w" * 30) == 60
