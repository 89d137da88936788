"""What ends the commands of a rank that was killed: a small shell process beside it, which outlives it.

It knows no tasks. All that a rank starts for its tasks has a mark in its environment, and so has all below
it, whatever session or process group it went to. When the rank is no more, its end of a pipe closes; the
shell then looks for the mark on this host and sends SIGKILL. Without it a command would go on beside the
second attempt of its task on another rank, in the same directory.

Source: ``proc_pid_environ(5)``.
"""

import contextlib
import os
import subprocess
from pathlib import Path

MARK = "MPIEXEC_RUNNER_WORKER"
"""The variable that is the mark; its value names one rank's process, now and on this host."""

# grep reads all in one go; who was about to fork is found in the next round.
_SCRIPT = r"""
read -r word && exit
for round in 1 2 3 4 5; do
    found=$(grep -lzxsF "$1" /proc/[0-9]*/environ)
    [ -n "$found" ] || exit
    for one in $found; do one=${one#/proc/}; kill -KILL "${one%/environ}"; done
done 2>/dev/null
"""


class Reaper:
    """Stands by until this process ends, in whatever way."""

    def __init__(self) -> None:
        self.mark = f"{os.getpid()}-{_start_time()}"
        reader, self._writer = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT, "reaper", f"{MARK}={self.mark}"],
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath)},
                start_new_session=True,
            )
        finally:
            os.close(reader)
        # What a task forks must not keep the pipe open.
        os.register_at_fork(after_in_child=self._forget)

    def let_go(self) -> None:
        """This process leaves in order: what tasks have left running may stay."""
        with contextlib.suppress(OSError):  # somebody ended it
            os.write(self._writer, b"done\n")

    def _forget(self) -> None:
        os.close(self._writer)
        self._writer = -1


def _start_time() -> str:
    """When this process was started, in clock ticks: with its number, no other has ever been the same."""
    return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
