"""What rank 0 tells of a run while it goes on, where no terminal is."""

from pathlib import Path

import pytest
from rich.console import Console

from mpiexec_runner.app import books
from mpiexec_runner.cli import console as consoles
from mpiexec_runner.cli.progress import Reporter
from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Task
from mpiexec_runner.errors import StorageError
from mpiexec_runner.model.commands import RunEnd
from mpiexec_runner.model.events import DrainRequested, StopReason
from mpiexec_runner.model.tasks import (
    CommandLine,
    Failure,
    FailureClass,
    Outcome,
    TaskKind,
    TaskSpec,
    TaskState,
    Verdict,
)

KIND = Kind(TaskKind(id=1, name="k", work=CommandLine("true")))


def run_state(*, names=(), drain=None, **counts):
    state = RunState()
    state.closed = True
    for name, number in counts.items():
        state.counts[TaskState[name.upper()]] = number
    for id_, name in enumerate(names, 1):
        state.tasks[id_] = Task(TaskSpec(id_, 1, b"", name=name), KIND)
    if drain is not None:
        state.drain = DrainRequested(drain)
    return state


@pytest.fixture
def reporter(monkeypatch, capsys):
    monkeypatch.setattr(consoles, "launched_ranks", lambda _: None)
    made = Reporter(consoles.make_console(), Path("/r"))
    capsys.readouterr()
    return made


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"ready": 72}, "72 tasks to run"),
        ({"running": 1}, "1 task to run"),
        ({}, "no tasks to run"),
        ({"succeeded": 33, "ready": 39}, "33 of 72 tasks are done; 39 to run"),
        (
            {"succeeded": 30, "failed": 3, "waiting": 1},
            "33 of 34 tasks are done (3 without success); 1 to run",
        ),
        ({"succeeded": 72}, "all 72 tasks are done; nothing to run"),
        ({"failed": 1}, "the one task is done (1 without success); nothing to run"),
    ],
)
def test_the_plan_is_told_once(reporter, capsys, counts, told):
    for _ in range(2):
        reporter.progressed(run_state(**counts))
    assert capsys.readouterr().out == told + "\n"


def test_the_plan_waits_for_tasks(reporter, capsys):
    state = run_state()
    state.closed = False
    reporter.progressed(state)
    assert capsys.readouterr().out == ""
    state.counts[TaskState.READY] = 2
    reporter.progressed(state)
    assert capsys.readouterr().out == "2 tasks to run\n"


def test_failures_are_told_by_name(reporter, capsys):
    failed = [
        Outcome(id_, 1, Verdict.FAILED, 0.0, 0.0, failure=Failure(FailureClass.EXIT_CODE, "exit code 1"))
        for id_ in (1, 2, 3)
    ]
    reporter.settled(failed[2:])
    reporter.progressed(run_state(names=["gzip [9]", ""], running=2))
    reporter.settled(failed)
    reporter.settled_without(1, TaskState.FAILED, "its worker died")
    assert capsys.readouterr().out.splitlines() == [
        "task task_0003 failed: exit code 1",
        "2 tasks to run",
        "task gzip [9] failed: exit code 1",
        "task task_0002 failed: exit code 1",
        "task task_0003 failed: exit code 1",
        "task gzip [9] failed: its worker died",
    ]


@pytest.mark.parametrize(
    ("reason", "left", "told"),
    [
        (StopReason.INTERRUPTED, 24, "stopped by Ctrl-C; 24 tasks are left"),
        (StopReason.SIGNAL, 1, "stopped by a signal; 1 task is left"),
        (StopReason.REQUEST, 2, "stopped by a request; 2 tasks are left"),
    ],
)
def test_who_stopped_a_run_is_told_in_words(reporter, capsys, reason, left, told):
    reporter.progressed(run_state(drain=reason, ready=left))
    reporter.ended(RunEnd.INTERRUPTED, f"stopped by {reason.words}; {left} tasks are left")
    assert f"interrupted: {told} (" in capsys.readouterr().out


def test_there_are_words_for_every_reason():
    assert all(reason.words for reason in StopReason)


def test_other_ends_are_told_as_they_come(reporter, capsys):
    reporter.progressed(run_state(drain=StopReason.SIGNAL, ready=1))
    reporter.ended(RunEnd.STARVED, "no worker was heard for 30 s")
    assert "starved: no worker was heard for 30 s (1 ready; " in capsys.readouterr().out


def test_lines_are_whole_where_no_terminal_is(reporter, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    reporter.worker_noted(3, "words " * 50)
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("launched", [True, False])
def test_no_color(monkeypatch, capsys, launched):
    monkeypatch.setattr(consoles, "launched_ranks", lambda _: object() if launched else None)
    monkeypatch.setattr(consoles, "Console", lambda **given: Console(**{**given, "force_terminal": True}))
    monkeypatch.setenv(consoles.TERMINAL, "80x24")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    consoles.make_console().print("[green]ok[/]")
    monkeypatch.setenv("NO_COLOR", "1")
    consoles.make_console().print("[green]ok[/]")
    assert capsys.readouterr().out == "\x1b[32mok\x1b[0m\nok\n"


def test_an_error_is_not_hidden_by_a_status_that_cannot_be_written(monkeypatch, tmp_path):
    def refuse(*_):
        raise StorageError("the disk is full")

    class Keeper:
        run_dir = str(tmp_path)

        def confirm(self):
            """It is still this process's own."""

    monkeypatch.setattr(books, "write_status", refuse)
    error = ValueError("the first")
    books.Books(Keeper(), epoch=1, ranks=1).note_broken(RunState(), error)
    assert error.__notes__ == [f"nor could {tmp_path / 'status.json'} be written: the disk is full"]
