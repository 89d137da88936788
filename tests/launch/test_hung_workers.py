"""Workers that hang and come back, calls that keep Python's lock, checks that find something: on real ranks.

Which of them is dead nobody can know; what is promised is that all tasks are done, once each, and who waits
for whom.
"""

import os
import signal
import subprocess
import sys
from collections import Counter

import psutil
import pytest

from mpiexec_runner.app.launch import launch_command
from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.app.world import launched_ranks
from mpiexec_runner.execute.machine import usable_cores
from mpiexec_runner.model.events import TasksFinished, WorkersSeenWorking
from mpiexec_runner.model.tasks import Verdict
from mpiexec_runner.storage.journal_reader import read_journal
from mpiexec_runner.storage.results import columns, read_results
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.transport.mpi_library import find_library

pytestmark = [
    pytest.mark.launches,
    pytest.mark.skipif(launched_ranks(os.environ) is not None, reason="a rank cannot launch ranks"),
]

MODULE = """
import ctypes
import os
import sys
import time
from pathlib import Path

def until_told(i):
    Path(f"begun-{i}-{os.getpid()}").touch()
    while not Path("go").exists():
        time.sleep(0.02)
    return i * i

def crunch(seconds):
    # As a call of a library that does not let go of the lock: no other thread gets it before the end.
    before, until = sys.getswitchinterval(), time.monotonic() + seconds
    sys.setswitchinterval(10_000.0)
    while time.monotonic() < until:
        pass
    sys.setswitchinterval(before)
    return seconds

def doze(i):
    # The first attempt sleeps with the lock in its hands; another one finds its trace.
    trace = Path(f"dozed-{i}")
    if i == 0 and not trace.exists():
        trace.write_text(str(os.getpid()))
        ctypes.PyDLL(None).sleep(600)
    return i * i

def flagged():
    return ("unhealthy", "somebody put up a flag") if Path("flag").exists() else "healthy"
"""

ELSEWHERE = """
if [ "${OMPI_COMM_WORLD_RANK:-$PMI_RANK}" = 0 ]; then exec "$@"; fi
exec unshare --uts sh -c 'hostname elsewhere; exec "$@"' sh "$@"
"""
"""Every rank but the first on a machine of another name."""


@pytest.fixture
def start(runner, tmp_path):
    """Starts a run of a configuration in the test's directory, where its tasks also run."""
    (tmp_path / "hung.py").write_text(MODULE)

    def start(text, ranks):
        (tmp_path / "c.yaml").write_text(text)
        return runner("run", "c.yaml", "-n", ranks, "--run-dir", "run")

    return start


@pytest.fixture
def start_elsewhere(starter, environ, tmp_path):
    """Starts a run whose workers are on another host than the hub, as far as they and it can tell."""
    if subprocess.run(["unshare", "--uts", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no leave to make a machine of another name (unshare --uts)")
    (tmp_path / "hung.py").write_text(MODULE)

    def start(text, ranks):
        (tmp_path / "c.yaml").write_text(text)
        launcher = find_launcher(find_library(), "auto", environ)
        plan = launch_command(launcher, ranks, ["run", "c.yaml", "--run-dir", "run"], environ, usable_cores())
        begin = plan.argv.index(sys.executable)
        return starter([*plan.argv[:begin], "sh", "-c", ELSEWHERE, "sh", *plan.argv[begin:]], plan.environ)

    return start


def table_of(directory):
    return columns(read_results(RunDirectory(directory / "run")))


def events_of(directory):
    return [event for record in read_journal(directory / "run" / "journal") for event in record.events]


def begun(directory):
    """Tasks that have begun, with the processes that run them."""
    return {int(i): int(pid) for _, i, pid in (p.name.split("-") for p in directory.glob("begun-*"))}


def left_over(pids):
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


def test_a_stopped_worker_comes_back_and_every_result_counts_once(start, tmp_path):
    job = start(
        """
        sweep: {call: "hung:until_told", parameters: {i: {range: [0, 12]}}}
        heartbeat: {interval_s: 0.3, timeout_s: 3}
        scheduler: {speculation: false}
        """,
        3,
    )
    assert job.until(lambda: len(set(begun(tmp_path).values())) == 2)
    (stopped, *_) = begun(tmp_path).values()
    os.kill(stopped, signal.SIGSTOP)
    assert job.until(lambda: "lost: silent for" in job.output)
    os.kill(stopped, signal.SIGCONT)
    assert job.until(lambda: "heard again after it was lost" in job.output)
    (tmp_path / "go").touch()
    assert job.wait() == 0, job.output
    table = table_of(tmp_path)
    assert table["i"] == list(range(12))
    assert table["result"] == [i * i for i in range(12)]
    assert set(table["state"]) == {"succeeded"}
    assert not any(isinstance(event, WorkersSeenWorking) for event in events_of(tmp_path))
    told = Counter(
        outcome.task
        for event in events_of(tmp_path)
        if isinstance(event, TasksFinished)
        for outcome in event.outcomes
        if outcome.verdict is Verdict.SUCCEEDED
    )
    assert set(told) == set(range(1, 13))  # told twice where both attempts ended, counted once: see the table
    assert not left_over(begun(tmp_path).values())


def test_a_call_that_keeps_the_lock_and_works_is_waited_for(start, tmp_path):
    job = start(
        """
        tasks: [{id: long, call: "hung:crunch", with: {seconds: 10}}]
        heartbeat: {interval_s: 0.5, timeout_s: 6}
        scheduler: {speculation: false}
        """,
        3,
    )
    assert job.wait() == 0, job.output
    assert "but its process works" in job.output
    assert "lost" not in job.output
    assert table_of(tmp_path)["attempts"] == [1]


def test_all_workers_may_keep_the_lock_at_once(start, tmp_path):
    job = start(
        """
        sweep: {call: "hung:crunch", parameters: {seconds: [10, 11]}}
        heartbeat: {interval_s: 0.5, timeout_s: 6}
        scheduler: {speculation: false}
        """,
        3,
    )
    assert job.wait() == 0, job.output
    assert "lost" not in job.output
    assert table_of(tmp_path)["attempts"] == [1, 1]


def test_a_watcher_speaks_for_workers_on_another_host(start_elsewhere, tmp_path):
    job = start_elsewhere(
        """
        sweep: {call: "hung:crunch", parameters: {seconds: [10, 11]}}
        heartbeat: {interval_s: 0.5, timeout_s: 6}
        scheduler: {speculation: false}
        """,
        3,
    )
    job.wait()
    assert set(table_of(tmp_path)["host"]) == {"elsewhere"}, job.output
    assert "but its process works" in job.output
    assert "lost" not in job.output
    assert table_of(tmp_path)["attempts"] == [1, 1]
    assert (tmp_path / "run" / "hosts" / "elsewhere").exists()
    path = str(tmp_path / "run" / "hosts" / "elsewhere")
    assert not [one for one in psutil.process_iter(["cmdline"]) if path in (one.info["cmdline"] or [])]


def test_a_call_that_keeps_the_lock_and_sleeps_is_lost(start, tmp_path):
    job = start(
        """
        sweep: {call: "hung:doze", parameters: {i: {range: [0, 4]}}}
        heartbeat: {interval_s: 0.3, timeout_s: 3}
        scheduler: {speculation: false}
        """,
        3,
    )
    assert job.wait() == 0, job.output
    assert "lost: silent for" in job.output
    assert "but its process works" not in job.output
    assert table_of(tmp_path)["result"] == [i * i for i in range(4)]
    assert not left_over([int((tmp_path / "dozed-0").read_text())])


def test_a_check_that_finds_something_holds_work_back_until_it_does_not(start, tmp_path):
    (tmp_path / "flag").touch()
    (tmp_path / "go").touch()
    job = start(
        """
        sweep: {call: "hung:until_told", parameters: {i: {range: [0, 8]}}, mode: process}
        heartbeat: {interval_s: 0.1, checks: [disk_space, "hung:flagged"], check_interval_s: 0.1}
        """,
        2,
    )
    assert job.until(lambda: "unhealthy: hung:flagged: somebody put up a flag" in job.output)
    (tmp_path / "flag").unlink()
    assert job.wait() == 0, job.output
    assert table_of(tmp_path)["result"] == [i * i for i in range(8)]


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("disk_spice", "Did you mean disk_space?"),
        ("hung:nothing", "has no nothing"),
        ("no.such:one", "no module"),
    ],
)
def test_a_check_that_is_not_there_is_refused_before_the_start(start, tmp_path, check, said):
    job = start(f"tasks: [{{command: 'true'}}]\nheartbeat: {{checks: ['{check}']}}", 2)
    assert job.wait() == 3, job.output
    assert "heartbeat.checks" in job.output
    assert said in job.output
