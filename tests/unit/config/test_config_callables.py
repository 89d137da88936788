"""Functions named in a configuration: found, or said to be missing with place and remedy."""

# ruff: noqa: E501 - messages are easier to read in one line

import sys

import pytest

from mpiexec_runner.config.callables import check_callables
from mpiexec_runner.config.loading import loads
from mpiexec_runner.errors import ConfigError


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """Return a directory with modules of a user; they are forgotten afterwards."""
    (tmp_path / "users_own.py").write_text(
        "def solve(x, y=1): ...\nclass Model:\n    def run(x): ...\nsize = 3\n"
    )
    (tmp_path / "users_broken.py").write_text("1 / 0\n")
    (tmp_path / "users_exit.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "users_needy.py").write_text("import surely_not_installed\n")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def problems(text, directory):
    with pytest.raises(ConfigError) as caught:
        check_callables(loads(text, directory=directory), directory)
    return [problem.replace(f"{directory}/", "") for problem in caught.value.problems]


@pytest.mark.parametrize(
    "text",
    [
        "tasks: [{call: 'users_own:solve', args: [1]}, {call: 'math:sqrt', args: [2]}, {command: a}]",
        "sweep: {call: 'users_own:solve', parameters: {x: 1, y: [2, 3]}}",
        "sweep: {call: 'users_own:Model.run', parameters: {x: 1}}",
        "sweep: {command: a, parameters: {x: 1}}",
        "tasks: {file: c.csv, call: 'users_own:solve'}",
        "tasks: {file: not_there.txt}",
    ],
)
def test_what_is_there_passes(text, directory):
    (directory / "c.csv").write_text("x,y\n1,2\n")
    before = list(sys.path)
    check_callables(loads(text, directory=directory), directory)
    assert sys.path == before


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (
            "users_onw:solve",
            (
                "sweep.call: there is no module users_onw. Put it beside the configuration file or into the current "
                "directory, or install it in this Python"
            ),
        ),
        (
            "json.nothing:solve",
            (
                "sweep.call: there is no module json.nothing. Put it beside the configuration file or into the "
                "current directory, or install it in this Python"
            ),
        ),
        ("users_own:sovle", "sweep.call: the module users_own has no sovle. Did you mean solve?"),
        ("users_own:xyzzy", "sweep.call: the module users_own has no xyzzy"),
        ("users_own:Model.rum", "sweep.call: Model has no rum. Did you mean run?"),
        ("users_own:size", "sweep.call: users_own:size is no function, but int"),
        ("users_broken:f", "sweep.call: importing users_broken failed: ZeroDivisionError: division by zero"),
        ("users_exit:f", "sweep.call: importing users_exit failed: SystemExit: 3"),
        (
            "users_needy:f",
            "sweep.call: importing users_needy failed: No module named 'surely_not_installed'. Install what it needs",
        ),
        (
            "users_own:Model.run",
            (
                "sweep: users_own:Model.run cannot be called so: got an unexpected keyword argument 'y'. "
                "Its signature is run(x)"
            ),
        ),
    ],
)
def test_what_is_missing_is_said(call, problem, directory):
    assert problems(f"sweep: {{call: '{call}', parameters: {{x: 1, y: 2}}}}", directory) == [problem]


def test_each_missing_function_is_said_once(directory):
    calls = ", ".join(f"{{call: 'nowhere:f', args: [{index}]}}" for index in range(5))
    assert len(problems(f"tasks: [{calls}, {{call: 'users_own:g'}}]", directory)) == 2


def test_a_task_file_is_looked_through(directory):
    (directory / "c.jsonl").write_text('{"call": "users_own:solve"}\n{"call": "users_own:g"}\n')
    assert problems("tasks: {file: c.jsonl}", directory) == [
        (
            "c.jsonl:1: users_own:solve cannot be called so: missing a required argument: 'x'. "
            "Its signature is solve(x, y=1)"
        ),
        "c.jsonl:2: call: the module users_own has no g",
    ]
