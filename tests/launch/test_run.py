"""Runs as users start them: exit codes, records, interruptions, bad input."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import pexpect
import psutil
import pytest

from mpiexec_runner.app.launch import launch_command
from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.storage.status import find_status
from mpiexec_runner.transport.mpi_library import Vendor, find_library

pytestmark = pytest.mark.launches

MIXED = """
tasks:
  - {id: hello, command: "echo {who}; echo $MPIEXEC_RUNNER_TASK_ID", with: {who: "it's me"}}
  - {id: root, call: "math:sqrt", args: [16]}
  - {id: list, command: ["printf", "%s", "a b"]}
  - {id: isolated, call: "os:getcwd", mode: process}
"""
SLOW = """
sweep:
  command: "sleep 0.2; echo {i}"
  parameters: {i: {range: [0, 40]}}
"""


def write(directory: Path, text: str, name: str = "c.yaml") -> str:
    (directory / name).write_text(text)
    return name


def table_of(run_dir: Path) -> dict[str, dict[str, str]]:
    """What ``results --format csv`` prints, by task name."""
    argv = [sys.executable, "-m", "mpiexec_runner", "results", str(run_dir), "--format", "csv"]
    printed = subprocess.run(argv, capture_output=True, text=True, timeout=400, check=True).stdout
    return {row["name"]: row for row in csv.DictReader(io.StringIO(printed))}


def done(run_dir: Path) -> int:
    """How many tasks have begun, as far as their directories tell."""
    return sum(1 for _ in run_dir.glob("tasks/*/*"))


def ranks_of(job) -> list[psutil.Process]:
    """The rank processes of a running job, in the order in which they were started."""
    return [member for member in job.family() if is_rank(member)]


def is_rank(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return words[1:4] == ["-m", "mpiexec_runner", "rank"]


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_a_mixed_list_runs_at_any_number_of_ranks(runner, tmp_path, ranks):
    job = runner("run", write(tmp_path, MIXED), "-n", ranks, "--run-dir", "run")
    assert job.wait() == 0, job.output
    table = table_of(tmp_path / "run")
    assert {row["state"] for row in table.values()} == {"succeeded"}
    assert float(table["root"]["result"]) == 4.0
    assert table["isolated"]["result"] == str(tmp_path)
    tasks = tmp_path / "run" / "tasks" / "0000-0999"
    assert (tasks / "hello" / "stdout").read_text() == "it's me\nhello\n"
    assert (tasks / "list" / "stdout").read_text() == "a b"
    status = find_status(tmp_path / "run" / "status.json")
    assert (status.state, status.exit_code, status.ranks) == ("complete", 0, ranks)
    with h5py.File(tmp_path / "run" / "results.h5") as file:
        assert list(file["tasks/name"].asstr()) == ["hello", "root", "list", "isolated"]
        assert set(file["tasks/exit_code"][[0, 2]]) == {0}


def test_under_mpiexec_it_takes_its_place_as_a_rank(tmp_path, environ):
    config = write(tmp_path, MIXED)
    launcher = find_launcher(find_library(), "auto", environ)
    plan = launch_command(launcher, 3, ["run", config, "--run-dir", "run"], environ, cores=64)
    ended = subprocess.run(plan.argv, env=plan.environ, cwd=tmp_path, timeout=400, check=False)
    assert ended.returncode == 0
    assert find_status(tmp_path / "run" / "status.json").ranks == 3


def test_failures_are_told_and_give_exit_code_1(runner, tmp_path):
    config = """
    defaults: {retries: {max: 1, backoff_s: 0.01}}
    tasks:
      - {id: code, command: "echo bad >&2; exit 3"}
      - {id: signal, command: "kill -SEGV $$"}
      - {id: slow, command: "sleep 60", timeout_s: 0.2}
      - {id: stubborn, call: "time:sleep", args: [60], timeout_s: 0.2, retries: {max: 0}}
      - {id: raises, call: "math:sqrt", args: [-1]}
      - {id: nothing, command: ["no-such-program"]}
      - {id: good, command: "true"}
      - {id: aborts, call: "os:abort", mode: process, retries: {max: 0}}
      - {id: flaky, command: "test $MPIEXEC_RUNNER_ATTEMPT = 2"}
    """
    job = runner("run", write(tmp_path, config), "-n", 3, "--run-dir", "run")
    assert job.wait() == 1, job.output
    table = table_of(tmp_path / "run")
    assert {name for name, row in table.items() if row["state"] == "succeeded"} == {"good", "flaky"}
    assert table["code"]["error"] == "exit code 3: bad"
    assert table["code"]["attempts"] == table["flaky"]["attempts"] == "2"
    assert "SIGSEGV" in table["signal"]["error"]
    assert "time-out" in table["slow"]["error"]
    assert "time-out" in table["stubborn"]["error"]
    assert "math domain error" in table["raises"]["error"] or "nonnegative" in table["raises"]["error"]
    assert "no-such-program cannot be started" in table["nothing"]["error"]
    assert table["nothing"]["attempts"] == "1"
    assert "SIGABRT" in table["aborts"]["error"]
    assert (tmp_path / "run/tasks/0000-0999/code/stderr.1").read_text() == "bad\n"


def test_a_task_that_cannot_be_begun_harms_nothing_else(runner, tmp_path):
    config = """
    tasks:
      - {id: nul, command: ["echo", "{x}"], with: {x: "a\\0b"}}
      - {id: call, call: "textwrap:dedent", with: {text: "a\\0b"}}
      - {id: good, command: "true"}
      - {id: orphan, command: "(trap '' TERM; exec sleep 314.15) & sleep 314.15", timeout_s: 0.3}
    """
    job = runner("run", write(tmp_path, config), "-n", 2, "--run-dir", "run")
    assert job.wait() == 1, job.output
    states = {name: row["state"] for name, row in table_of(tmp_path / "run").items()}
    assert states == {"nul": "failed", "call": "failed", "good": "succeeded", "orphan": "failed"}
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "314.15"]]


def test_slots_run_commands_side_by_side_and_output_is_limited(runner, tmp_path):
    # Each task waits for the other: they can only end when both run at once.
    config = """
    defaults: {max_output: 4KiB, timeout_s: 60}
    tasks:
      - command: "touch ../a; while ! test -e ../b; do sleep 0.01; done; head -c 100000 /dev/zero"
      - command: "touch ../b; while ! test -e ../a; do sleep 0.01; done"
    workers: {slots: 2}
    """
    job = runner("run", write(tmp_path, config), "-n", 2, "--run-dir", "run")
    assert job.wait() == 0, job.output
    kept = (tmp_path / "run/tasks/0000-0999/task_0001/stdout").read_bytes()
    assert b"95904 bytes were left out here" in kept
    assert len(kept) < 5000


def test_without_task_directories_the_record_keeps_the_output(runner, tmp_path):
    config = """
    tasks: [{command: "pwd; echo oops >&2"}]
    run: {task_dirs: false}
    """
    job = runner("run", write(tmp_path, config), "-n", 2, "--run-dir", "run")
    assert job.wait() == 0, job.output
    row = table_of(tmp_path / "run")["task_0001"]
    assert (row["result.stdout"], row["result.stderr"]) == (f"{tmp_path}\n", "oops\n")
    assert done(tmp_path / "run") == 0


@pytest.mark.parametrize("ranks", [1, 3])
def test_ctrl_c_once_drains_and_resume_runs_the_rest(runner, tmp_path, ranks):
    job = runner("run", write(tmp_path, SLOW), "-n", ranks, "--run-dir", "run")
    assert job.until(lambda: done(tmp_path / "run") >= 2)
    os.kill(job.process.pid, signal.SIGINT)
    assert job.wait() == 4, job.output
    states = [row["state"] for row in table_of(tmp_path / "run").values()]
    assert set(states) == {"succeeded", "ready"}, "what ran was to be finished, and nothing more begun"
    assert "mpiexec-runner resume" in job.output
    again = runner("resume", "run", "-n", 2)
    assert again.wait() == 0, again.output
    table = table_of(tmp_path / "run")
    assert {row["state"] for row in table.values()} == {"succeeded"}
    assert {row["attempts"] for row in table.values()} == {"1"}


def test_ctrl_c_twice_ends_what_runs_and_leaves_a_resumable_run(runner, tmp_path):
    config = """
    tasks:
      - {command: "test -e ../../../go || exec sleep 600"}
      - {command: "test -e ../../../go || exec sleep 600"}
    """
    job = runner("run", write(tmp_path, config), "-n", 3, "--run-dir", "run")
    assert job.until(lambda: done(tmp_path / "run") == 2)
    os.kill(job.process.pid, signal.SIGINT)
    assert job.until(lambda: "finishing what runs" in job.output)
    os.kill(job.process.pid, signal.SIGINT)
    assert job.wait() == 4, job.output
    (tmp_path / "run" / "go").touch()
    again = runner("resume", "run", "-n", 2)
    assert again.wait() == 0, again.output
    assert {row["state"] for row in table_of(tmp_path / "run").values()} == {"succeeded"}


def test_ctrl_c_twice_leaves_a_task_that_cannot_be_ended(runner, tmp_path):
    config = write(tmp_path, "tasks: [{call: 'time:sleep', args: [600]}]")
    job = runner("run", config, "-n", 1, "--run-dir", "run")
    assert job.until(lambda: done(tmp_path / "run") == 1)
    os.kill(job.process.pid, signal.SIGINT)
    assert job.until(lambda: "finishing what runs" in job.output)
    os.kill(job.process.pid, signal.SIGINT)
    assert job.wait(90) == 4, job.output
    assert find_status(tmp_path / "run" / "status.json").state == "interrupted"


def test_sigterm_drains_and_gives_75(runner, tmp_path):
    job = runner("run", write(tmp_path, SLOW), "-n", 2, "--run-dir", "run")
    assert job.until(lambda: done(tmp_path / "run") >= 2)
    os.kill(job.process.pid, signal.SIGTERM)
    assert job.wait() == 75, job.output
    assert find_status(tmp_path / "run" / "status.json").state == "stopped"


def test_a_silent_worker_is_given_up_and_its_tasks_run_elsewhere(runner, tmp_path):
    config = """
    sweep:
      command: "sleep 0.3; echo {i}"
      parameters: {i: {range: [0, 12]}}
    heartbeat: {interval_s: 0.3, timeout_s: 3}
    """
    job = runner("run", write(tmp_path, config), "-n", 3, "--run-dir", "run")
    assert job.until(lambda: done(tmp_path / "run") >= 3)
    # The newest rank is a worker; its child goes on, but nobody hears of it any more.
    worker = max(ranks_of(job), key=lambda process: process.pid)
    worker.send_signal(signal.SIGSTOP)
    assert job.wait() == 0, job.output
    assert "lost: silent for" in job.output
    table = table_of(tmp_path / "run")
    assert {row["state"] for row in table.values()} == {"succeeded"}
    assert max(int(row["attempts"]) for row in table.values()) == 2


def test_a_run_directory_in_use_is_refused(runner, tmp_path):
    job = runner("run", write(tmp_path, SLOW), "-n", 2, "--run-dir", "run")
    assert job.until(lambda: done(tmp_path / "run") >= 1)
    for second in (runner("resume", "run", "-n", 1), runner("run", "c.yaml", "-n", 1, "--run-dir", "run")):
        assert second.wait() == 2, second.output
        assert "run" in second.output
    assert job.process.poll() is None, "the refused ones must not disturb the first"


BAD = {
    "unknown key": ("sweep: {comand: x, parameters: {a: [1]}}", 3, "command"),
    "wrong type": ("tasks: [{command: 'true', priority: high}]", 3, "priority"),
    "missing callable": ("tasks: [{call: 'no.such:thing'}]", 3, "there is no module no"),
    "missing file": ("tasks: {file: nowhere.txt}", 3, "nowhere.txt"),
    "empty sweep": ("sweep: {command: 'true', parameters: {a: [1]}, exclude: ['a == 1']}", 3, "exclude"),
    "unfilled field": ("sweep: {command: 'echo {seeed}', parameters: {seed: [1]}}", 3, "seeed"),
    "unknown policy": ("tasks: [{command: 'true'}]\nscheduler: {placement: best}", 3, "placement"),
    "not yaml": ("tasks: [", 3, "c.yaml"),
    "two kinds": ("tasks: [{command: 'true'}]\nsweep: {command: 'true', parameters: {a: [1]}}", 3, "sweep"),
}


@pytest.mark.parametrize(("text", "code", "said"), BAD.values(), ids=BAD.keys())
def test_bad_input_gives_one_clear_message_and_leaves_nothing(runner, tmp_path, text, code, said):
    job = runner("run", write(tmp_path, text), "-n", 2)
    assert job.wait() == code, job.output
    assert said in job.output
    assert "Traceback" not in job.output
    assert not (tmp_path / "runs").exists()


def test_no_such_configuration_or_run_directory(runner, tmp_path):
    job = runner("run", "nowhere.yaml", "-n", 2)
    assert job.wait() == 3
    assert "nowhere.yaml" in job.output
    job = runner("resume", "nowhere", "-n", 2)
    assert job.wait() == 2
    assert "does not exist" in job.output


def test_the_singleton_trap_is_refused_with_the_remedy(runner, tmp_path):
    foreign = {"PMI_SIZE": "4", "PMI_RANK": "0", "PMI_FD": ""}
    if find_library().vendor is Vendor.MPICH:
        foreign = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0"}
    job = runner("run", write(tmp_path, MIXED), **foreign)
    assert job.wait() == 2, job.output
    assert "mpiexec" in job.output
    assert not (tmp_path / "runs").exists()


def test_an_edited_task_list_runs_what_changed_and_nothing_else(runner, tmp_path):
    (tmp_path / "list.txt").write_text("echo one\necho two\necho three\n")
    config = write(tmp_path, "tasks: {file: list.txt}")
    assert runner("run", config, "-n", 2, "--run-dir", "run").wait() == 0
    (tmp_path / "list.txt").write_text("echo one\necho changed\necho three\necho four\n")
    assert runner("resume", "run", "-n", 2).wait() == 0
    outputs = {path.parent.name: path.read_text() for path in (tmp_path / "run").glob("tasks/*/*/stdout")}
    assert sorted(outputs.values()) == ["changed\n", "four\n", "one\n", "three\n", "two\n"]
    assert {row["attempts"] for row in table_of(tmp_path / "run").values()} == {"1"}


def test_a_failed_task_that_was_mended_no_longer_counts(runner, tmp_path):
    (tmp_path / "list.txt").write_text("true\nfalse\n")
    config = write(tmp_path, "tasks: {file: list.txt}")
    assert runner("run", config, "-n", 2, "--run-dir", "run").wait() == 1
    (tmp_path / "list.txt").write_text("true\ntest -n mended\n")
    job = runner("resume", "run", "-n", 2)
    assert job.wait() == 0, job.output


def test_a_resume_with_other_settings_keeps_them(runner, tmp_path):
    job = runner("run", write(tmp_path, SLOW), "-n", 2, "--run-dir", "run")
    assert job.until(lambda: done(tmp_path / "run") >= 2)
    os.kill(job.process.pid, signal.SIGINT)
    assert job.wait() == 4, job.output
    again = runner(
        "resume", "run", "-n", 2, "--set", "scheduler.placement=round_robin", "--set", "workers.slots=8"
    )
    assert again.wait() == 0, again.output
    assert "round_robin" in (tmp_path / "run" / "run.yaml").read_text()
    assert {row["attempts"] for row in table_of(tmp_path / "run").values()} == {"1"}


def test_a_damaged_journal_is_refused_with_its_place_and_can_be_salvaged(runner, tmp_path):
    config = write(tmp_path, SLOW.replace("0.2", "0").replace("40", "10"))
    assert runner("run", config, "-n", 2, "--run-dir", "run").wait() == 0
    (segment,) = (tmp_path / "run" / "journal").glob("*.journal")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.write_bytes(data)
    for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():
        checkpoint.unlink()
    job = runner("resume", "run", "-n", 1)
    assert job.wait() == 5, job.output
    assert str(segment) in job.output
    assert "--salvage" in job.output
    job = runner("resume", "run", "-n", 1, "--salvage")
    assert job.wait() == 0, job.output
    assert {row["state"] for row in table_of(tmp_path / "run").values()} == {"succeeded"}


def test_on_a_terminal_there_is_a_bar(tmp_path, environ):
    config = write(tmp_path, SLOW.replace("40", "12"))
    command = f"{sys.executable} -m mpiexec_runner run {config} -n 3"
    terminal = pexpect.spawn(
        command, cwd=str(tmp_path), env=environ | {"TERM": "xterm"}, dimensions=(24, 100)
    )
    terminal.expect(r"\d+/12", timeout=400)
    terminal.expect("complete", timeout=400)
    terminal.expect(pexpect.EOF, timeout=400)
    terminal.close()
    assert terminal.exitstatus == 0


def test_a_dry_run_and_validate_start_nothing(runner, tmp_path):
    config = write(tmp_path, SLOW)
    job = runner("run", config, "--dry-run", "--set", "sweep.parameters.i=[7]")
    assert job.wait() == 0
    assert "1 task of 1 kind" in job.output
    assert "echo 7" in job.output
    job = runner("validate", config)
    assert job.wait() == 0
    assert "40 tasks" in job.output
    assert not (tmp_path / "runs").exists()


def test_the_schema_and_the_results_as_json_are_json(runner, tmp_path):
    job = runner("schema")
    assert job.wait() == 0
    assert "sweep" in json.loads(job.output)["properties"]
    assert runner("run", write(tmp_path, MIXED), "-n", 2).wait() == 0
    job = runner("results", "--format", "json")
    assert job.wait() == 0
    rows = json.loads(job.output)
    assert [row["name"] for row in rows] == ["hello", "root", "list", "isolated"]
