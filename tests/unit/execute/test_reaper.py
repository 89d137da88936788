"""What a rank leaves running when it is killed, and what when it leaves in order."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from mpiexec_runner.execute.reaper import MARK

TIMEOUT_S = 30.0
RANK = """
import os, subprocess, sys
from mpiexec_runner.execute.reaper import MARK, Reaper
reaper = Reaper()
environ = os.environ | {MARK: reaper.mark}
# One in a session of its own, one below that which is orphaned at once, and one that is not ours.
def start(command, environ):
    child = subprocess.Popen(
        ["sh", "-c", command], env=environ, start_new_session=True, stdout=subprocess.PIPE
    )
    return int(child.stdout.readline())
ours = [start("echo $$; exec sleep 300", environ), start("(sleep 300 > /dev/null & echo $!)", environ)]
other = start("echo $$; exec sleep 300", dict(os.environ))
if os.fork() == 0:
    os.execvp("sleep", ["sleep", "300"])
print(*ours, other, flush=True)
sys.stdin.readline()
reaper.let_go()
os._exit(0)
"""


@pytest.fixture
def rank():
    """A process that stands for a rank, with what it has started: two of its tasks, one of nobody's."""
    process = subprocess.Popen(
        [sys.executable, "-c", RANK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    pids = [int(word) for word in process.stdout.readline().split()]
    family = psutil.Process(process.pid).children(recursive=True)
    yield process, pids
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    for pid in {*pids, *(member.pid for member in family)}:
        if psutil.pid_exists(pid):
            psutil.Process(pid).kill()


def is_alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def until(condition):
    give_up = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_what_a_killed_rank_has_started_for_tasks_is_killed_and_nothing_else(rank):
    process, (first, orphan, other) = rank
    assert all(map(is_alive, (first, orphan, other)))
    process.kill()
    until(lambda: not is_alive(first) and not is_alive(orphan))
    assert is_alive(other)


def test_what_tasks_have_left_stays_when_the_rank_leaves_in_order(rank):
    process, pids = rank
    children = psutil.Process(process.pid).children()
    shells = [child for child in children if is_alive(child.pid) and "reaper" in child.cmdline()]
    assert shells
    process.stdin.write("leave\n")
    process.stdin.flush()
    process.wait(TIMEOUT_S)  # not for the end of its output: what it has left has that open
    psutil.wait_procs(shells, TIMEOUT_S)
    assert not any(shell.is_running() for shell in shells)
    assert all(map(is_alive, pids))


def test_the_mark_is_no_variable_of_this_process():
    assert MARK not in os.environ
