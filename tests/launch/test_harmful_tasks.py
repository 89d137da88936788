"""Tasks that harm the rank in which they run: it survives, and their record says what happened."""

import json
import os
from pathlib import Path

import psutil
import pytest

from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.app.world import launched_ranks
from mpiexec_runner.transport.mpi_library import find_library

pytestmark = [
    pytest.mark.launches,
    pytest.mark.skipif(launched_ranks(os.environ) is not None, reason="a rank cannot launch ranks"),
]

MODULE = """
import ctypes, os, signal, sys, tempfile, threading, time

def leave(code): os._exit(code)
def crash(): ctypes.string_at(0)

def grow():
    hold = []
    while len(hold) < 160:  # 10 GiB
        hold.append(bytearray(os.urandom(4096) * 16384))
        time.sleep(0.01)

def stay():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1)

def multiply():
    for _ in range(50):
        if os.fork() == 0:
            time.sleep(1000)
    time.sleep(1000)

def part():  # both go on, as far as this function can tell
    return "copy" if os.fork() == 0 else "original"

def close_streams():
    sys.stdout.close()
    sys.stderr = None
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    globals()["thief"] = open(os.devnull)  # gets the number 0

def wander():
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)

def handle_signals():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 1.0)

class Stubborn(Exception):
    def __init__(self, lock):
        self.lock = lock
    def __str__(self):
        raise ValueError("no text")
    def __reduce__(self):
        raise TypeError("no pickle")

def complain(): raise Stubborn(threading.Lock())
def give_lock(): return threading.Lock()
def give(gibibytes): return bytes(int(gibibytes * 2**30))

def shout(mebibytes):
    for _ in range(mebibytes):
        os.write(1, b"x" * (2**20 - 1) + b"\\n")

def look():
    time.sleep(1.5)  # an alarm would have come
    print("a line on stdout", flush=True)
    handlers = [str(signal.getsignal(n)) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)]
    return [os.getpid(), os.getcwd(), handlers, os.fstat(0).st_ino, os.path.exists("harm.py")]
"""

RUN = """
defaults: {retries: {max: 0}}
workers: {monitoring_interval_s: 0.1}
tasks:
  - {id: look-before, call: "harm:look", priority: 9}
  - {id: exit-command, command: "exit 7"}
  - {id: exit-call, call: "harm:leave", with: {code: 7}, mode: process}
  - {id: segfault-command, command: "kill -SEGV $$"}
  - {id: segfault-call, call: "harm:crash", mode: process}
  - {id: hungry-call, call: "harm:grow", resources: {memory: 300MiB}}
  - {id: stubborn-command, command: "trap '' TERM; while true; do sleep 1; done", timeout_s: 0.5}
  - {id: stubborn-call, call: "harm:stay", timeout_s: 2}
  - {id: forks, call: "harm:multiply", timeout_s: 2}
  - {id: forks-command, command: "for i in $(seq 50); do sleep 1000 & done; wait", timeout_s: 1}
  - {id: copies, call: "harm:part"}
  - {id: copies-in-child, call: "harm:part", mode: process}
  - {id: closes, call: "harm:close_streams"}
  - {id: wanders, call: "harm:wander"}
  - {id: signals, call: "harm:handle_signals"}
  - {id: complains, call: "harm:complain"}
  - {id: complains-in-child, call: "harm:complain", mode: process}
  - {id: lock, call: "harm:give_lock"}
  - {id: lock-from-child, call: "harm:give_lock", mode: process}
  - {id: loud-command, command: "yes | head -c 1G", max_output: 1MiB}
  - {id: loud-call, call: "harm:shout", with: {mebibytes: 20}}
  - {id: look-after, call: "harm:look", priority: 1}
"""
"""With one worker, so that each of them meets the same rank."""

FAILED = {
    "exit-command": "exit code 7",
    "exit-call": "exit code 7",
    "segfault-command": "SIGSEGV",
    "segfault-call": "SIGSEGV",
    "hungry-call": "MiB of memory",
    "stubborn-command": "time-out",
    "stubborn-call": "time-out",
    "forks": "time-out",
    "forks-command": "time-out",
    "complains": "Stubborn",
    "complains-in-child": "Stubborn",
    "lock": "cannot be sent",
    "lock-from-child": "cannot be sent",
}


def start(runner, directory, text, ranks, *options):
    (directory / "harm.py").write_text(MODULE)
    (directory / "c.yaml").write_text(text)
    return runner("run", "c.yaml", "-n", ranks, "--run-dir", "run", *options)


def table_of(runner, job):
    shown = runner("results", "run", "--format", "json")
    assert shown.wait() == 0, job.output[-5000:] + shown.output
    return {task["name"]: task for task in json.loads(shown.output)}


def has_ulfm():
    return find_launcher(find_library(), "auto", os.environ).ulfm


def is_sleep_of(process: psutil.Process, run_dir: Path) -> bool:
    try:
        told = process.environ().get("MPIEXEC_RUNNER_RUN_DIR")
        return process.name() == "sleep" and told == str(run_dir)
    except psutil.Error:  # it has ended
        return False


def test_a_rank_survives_what_its_tasks_do(runner, tmp_path):
    job = start(runner, tmp_path, RUN, 2)
    assert job.wait() == 1, job.output[-5000:]
    table = table_of(runner, job)
    for name, task in table.items():
        assert task["state"] == ("failed" if name in FAILED else "succeeded"), task
        assert FAILED.get(name, "") in (task["error"] or ""), task
        assert task["attempts"] == 1, task
    assert [table[name]["result"] for name in ("copies", "copies-in-child")] == ["original"] * 2
    assert table["look-after"]["result"] == table["look-before"]["result"]
    assert job.output.count("a line on stdout") == 2
    assert (tmp_path / "run/tasks/0000-0999/loud-command/stdout").stat().st_size < 5 * 2**20
    assert not [process for process in psutil.process_iter() if is_sleep_of(process, tmp_path / "run")]


LETHAL = """
heartbeat: {interval_s: 1, timeout_s: 15}
tasks:
  - {id: exits, call: "harm:leave", with: {code: 7}}
  - {id: crashes, call: "harm:crash", retries: {max: 1, backoff_s: 0.1}}
  - {id: look, call: "harm:look", priority: 1}
"""


def test_a_call_that_kills_its_rank_kills_only_one(runner, tmp_path):
    if not has_ulfm():
        pytest.skip("this MPI ends the job when a rank dies")
    job = start(runner, tmp_path, LETHAL, 4)
    assert job.wait() == 1, job.output
    table = table_of(runner, job)
    assert "exit code 7" in table["exits"]["error"]
    assert "SIGSEGV" in table["crashes"]["error"]
    assert table["look"]["state"] == "succeeded"


def test_a_result_of_more_than_2_gib(runner, tmp_path):
    if psutil.virtual_memory().available < 12 * 2**30:
        pytest.skip("a result of 2.2 GiB takes four times as much memory on its way")
    text = 'tasks: [{id: large, call: "harm:give", with: {gibibytes: 2.2}}]'
    job = start(runner, tmp_path, text, 2)
    assert job.wait() == 0, job.output
    blobs = [path for path in (tmp_path / "run" / "blobs").rglob("*") if path.is_file()]
    assert max(blob.stat().st_size for blob in blobs) >= 2.2 * 2**30
