"""How mistakes on the command line are told, and what starting the command costs."""

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import typer

from mpiexec_runner.app import rank as app_rank
from mpiexec_runner.app.start import RANK_COMMAND
from mpiexec_runner.cli.main import app
from mpiexec_runner.errors import ExitCode
from mpiexec_runner.storage.framing import VERSION, SegmentHeader, frame_header, segment_path
from mpiexec_runner.storage.rundir import RunDirectory

MISTAKES = {
    "unknown command": (["rn"], "there is no command rn. Did you mean run?"),
    "nothing like it": (
        ["xyzzy"],
        "There are run, resume, results, control, explain, validate, schema, doctor, simulate.",
    ),
    "unknown option": (["run", "--bogus", "c.yaml"], "--bogus"),
    "option without a command": (["--bogus"], "--bogus"),
    "missing argument": (["run"], "CONFIG"),
    "negative ranks": (["run", "c.yaml", "-n", "-1"], "--ranks"),
    "no number": (["run", "c.yaml", "-n", "many"], "--ranks"),
    "unknown launcher": (["run", "c.yaml", "--launcher", "foo"], "'auto', 'mpiexec', 'srun'"),
    "unknown format": (["results", "--format", "xml"], "'table', 'csv', 'json'"),
    "no action": (["control", "runs/latest", "hold"], "hold is no action. There are pause, continue,"),
    "an option of another action": (["control", "pause", "--to", "0"], "pause has no use for --to"),
    "tasks for an action without": (["control", "drain", "mesh"], "drain has no use for mesh"),
    "cancel nothing": (["control", "cancel"], "cancel needs tasks, or --label L, or --all"),
    "retry some and all": (["control", "retry", "a", "--all-failed"], "retry needs tasks, or --all-failed"),
    "no priority": (["control", "reprioritise", "a"], "--priority P"),
    "priority out of range": (["control", "reprioritise", "a", "--priority", "11"], "--priority"),
    "nowhere to move": (["control", "move", "a"], "move needs one task and --to RANK"),
    "no rank": (["control", "disable", "node7"], "disable needs the rank of one worker"),
    "control nothing": (["control", "nowhere", "pause"], "nowhere does not exist"),
    "explain too much": (["explain", "a", "b", "c"], "a run directory and one task"),
    "no run directory": (["results", "nowhere"], "nowhere does not exist"),
}


@pytest.mark.parametrize(("words", "told"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_message_and_exit_code_2(command, words, told):
    said = command(*words)
    assert (said.code, said.out) == (ExitCode.USAGE, "")
    assert said.err.startswith("error: ")
    assert said.err.count("error: ") == 1
    assert told in said.err


@pytest.mark.parametrize("words", [["resume", "run", "-n", "2"], ["results", "run"]])
def test_a_run_of_a_newer_version_is_refused_before_anything_starts(command, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    directory = RunDirectory.create(tmp_path, "n", exact=Path("run"), config="tasks: [{command: 'true'}]")
    header = msgspec.msgpack.encode(SegmentHeader(run_id="r", segment=1, epoch=1, version=VERSION + 1))
    segment_path(directory.journal, 1).write_bytes(frame_header(header) + header)
    said = command(*words)
    assert (said.code, said.out) == (ExitCode.USAGE, "")
    assert "use the newer version of mpiexec-runner that wrote it" in said.err


@pytest.mark.parametrize("words", [["ranks"], ["rnk"], ["rn"]])
def test_the_hidden_command_is_not_suggested(command, words):
    assert "rank" not in command(*words).err.replace(words[0], "")


def test_help_shows_every_command_on_a_line_of_its_own_and_no_hidden_one(command):
    said = command("--help")
    assert said.code == ExitCode.DONE
    lines = said.out.partition("Commands:")[2].strip().splitlines()
    assert {line.split()[0] for line in lines} == {
        "run", "resume", "results", "control", "explain", "validate", "schema", "doctor", "simulate",
    }  # fmt: skip
    assert all(len(line) <= 80 and "..." not in line for line in lines)


def test_without_a_word_there_is_help(command):
    said = command()
    assert (said.code, said.out) == (ExitCode.USAGE, "")
    assert "Commands:" in said.err


def test_ranks_are_started_by_a_command_that_there_is():
    assert RANK_COMMAND in {registered.name for registered in app.registered_commands if registered.hidden}


@pytest.mark.parametrize("code", [0, 1, 4, 5, 75, 130])
def test_exit_codes_are_kept(command, monkeypatch, code):
    monkeypatch.setattr(app_rank, "take_place", lambda *_: code)
    assert command("run", "c.yaml", "-n", "1").code == code


@pytest.mark.parametrize("error", [KeyboardInterrupt, typer.Abort])
def test_interrupted(command, monkeypatch, error):
    def interrupted(*_):
        raise error

    monkeypatch.setattr(app_rank, "take_place", interrupted)
    assert command("run", "c.yaml", "-n", "1").code == ExitCode.INTERRUPTED


def test_a_signal_interrupts_like_the_terminal(command, monkeypatch):
    monkeypatch.setattr(app_rank, "take_place", lambda *_: signal.raise_signal(signal.SIGINT))
    assert command("run", "c.yaml", "-n", "1").code == ExitCode.INTERRUPTED


@pytest.mark.parametrize(
    ("first", "unwanted"),
    [
        ("import mpiexec_runner.cli.main", {"numpy", "h5py", "yaml", "rich", "mpi4py", "psutil"}),
        (
            "import mpiexec_runner.cli.main, mpiexec_runner.app.rank",
            {
                *("rich", "yaml", "numpy", "h5py", "mpiexec_runner.config", "mpiexec_runner.core.state"),
                *("mpiexec_runner.app.start", "mpiexec_runner.app.doctor", "mpiexec_runner.cli.table"),
            },
        ),
    ],
    ids=["the command", "a rank"],
)
def test_nothing_is_imported_in_vain(first, unwanted):
    # Some versions of typer import rich themselves.
    program = f"import sys, typer; known = set(sys.modules); {first}; print(*set(sys.modules) - known)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=400, check=True
    )
    assert not unwanted & set(done.stdout.split())
