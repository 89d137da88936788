"""What a task changes in the process that it shares is as before when it has ended."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mpiexec_runner.execute import guard

PROGRAM = """
import os, signal, sys, tempfile, time
from mpiexec_runner.execute.guard import Guard

def hear(number, frame): print("heard")

signal.signal(signal.SIGTERM, hear)
guard = Guard()
guard.begin()
home = os.getcwd()
HARM
guard.mend()
assert os.getcwd() == home, os.getcwd()
assert signal.getsignal(signal.SIGTERM) is hear
assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
os.kill(os.getpid(), signal.SIGTERM)
print("said", flush=True)
os.write(1, b"written\\n")
print("complained", file=sys.stderr, flush=True)
assert sys.stdin.read() == "asked"
guard.close()
"""

HARMS = {
    "nothing": "",
    "goes away": "os.chdir('/')",
    "goes where soon nothing is": "place = tempfile.mkdtemp(); os.chdir(place); os.rmdir(place)",
    "closes the streams": "sys.stdin.close(); sys.stdout.close(); sys.stderr.close()",
    "takes them away": "sys.stdin = sys.stdout = sys.stderr = None",
    "closes their files": "[os.close(n) for n in range(3)]",
    "puts others there": "[os.close(n) for n in range(3)]; files = [open(os.devnull) for _ in range(3)]",
    "handles signals": "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGCHLD)]",
    "wants to be woken": "signal.setitimer(signal.ITIMER_REAL, 1000.0)",
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
def test_it_is_as_before(harm: str, tmp_path: Path) -> None:
    program = [sys.executable, "-c", PROGRAM.replace("HARM", harm)]
    done = subprocess.run(program, cwd=tmp_path, input="asked", capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "heard\nsaid\nwritten\n"), done.stderr
    assert done.stderr == "complained\n"


def test_the_copy_that_a_fork_makes_of_a_process_leaves() -> None:
    before = guard.forks()
    guard.leave_if_forked(before)
    pid = os.fork()
    if pid == 0:
        try:
            guard.leave_if_forked(before)
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    guard.leave_if_forked(before)
