"""Commands by a bare loop of subprocess.Popen, two in flight: processes from Python without anything else."""

import os
import subprocess
import sys

from benchmarks.contestants.work import tell, timed

SLOTS = 2


def run_commands(count: int) -> None:
    """Run ``/bin/true`` ``count`` times."""
    running: dict[int, subprocess.Popen[bytes]] = {}
    left = count
    while left or running:
        while left and len(running) < SLOTS:
            process = subprocess.Popen(
                ["/bin/true"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            running[process.pid] = process
            left -= 1
        pid, status = os.waitpid(-1, 0)
        running.pop(pid).returncode = os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    run_commands(50)
    commands = int(sys.argv[1])
    tell(rate=commands / timed(run_commands, commands))
