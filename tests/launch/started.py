"""A program that a test started: with time-outs, ending only what it started."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from mpiexec_runner.execute.segments import find_segments

TIMEOUT_S = 400.0
LOOK_EVERY_S = 0.005


class Started:
    """A program that a test started, with everything below it."""

    def __init__(self, arguments: list[str], directory: Path, environ: dict[str, str]) -> None:
        self.log = directory / f"output-{time.monotonic_ns()}.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                arguments,
                cwd=directory,
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def family(self) -> list[psutil.Process]:
        try:
            head = psutil.Process(self.process.pid)
            return [head, *head.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def segments(self) -> set[Path]:
        """What its ranks share in /dev/shm, as files."""
        return {Path(name) for member in self.family() for name in find_segments(member.pid)}

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"still running after {timeout_s} s; it said:\n{self.output}")

    def until(self, what: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> bool:
        """Poll a condition; False when the program ended before it came true."""
        give_up = time.monotonic() + timeout_s
        while not what():
            if self.process.poll() is not None:
                return what()
            if time.monotonic() > give_up:
                self.kill()
                pytest.fail(f"the condition did not come true in {timeout_s} s; it said:\n{self.output}")
            time.sleep(LOOK_EVERY_S)
        return True

    def kill(self) -> None:
        """SIGKILL to the program and all that is below it, ranks and tasks included."""
        family = self.family()
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGSTOP)  # so that nobody reacts to the death of another
        for member in {*family, *self.family()}:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, timeout=400)
        self.process.wait(30)
