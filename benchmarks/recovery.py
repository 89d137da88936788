"""How long a run is held up by a death: from the kill to the first task that goes on because of it.

A worker is killed: until the task that it ran begins elsewhere. Rank 0 is killed: until a task begins that
only the next hub can have sent.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import ContestantFailed, Found, Timing, end, in_turns, scratch
from benchmarks.report import Missing, Row, single
from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.transport.mpi_library import find_library

RANKS = 4
WORKER_AT_MOST_S, HUB_AT_MOST_S = 1.0, 5.0
WITHIN_S = 120.0
LOOK_EVERY_S = 0.001

CONFIG = """
name: recovery
scheduler: {speculation: false}
workflow:
  first: {call: "recovery_task:hold", with: {i: 0}}
  others: {call: "recovery_task:hold", for_each: {i: [1, 2]}}
  after: {call: "recovery_task:hold", with: {i: 3}, depends_on: first}
"""
"""Three tasks for three workers, and one that nobody has been sent before the first is done."""
TASK = """
import os, time
from pathlib import Path

def hold(i):
    # One line an attempt: when it began, on the clock that all processes of this host share.
    with open(f"began-{i}", "a") as file:
        file.write(f"{time.clock_gettime(time.CLOCK_MONOTONIC)} {os.getpid()}\\n")
    while not (Path("go").exists() or Path(f"go-{i}").exists()):
        time.sleep(0.001)
"""


def recovery(timing: Timing) -> list[Row]:
    """Seconds without the one who died."""
    found = in_turns({"worker": _worker_killed, "rank 0": _hub_killed}, timing.rounds)
    return [
        _row("worker killed: its task begins elsewhere", found["worker"], WORKER_AT_MOST_S),
        _row("rank 0 killed: the next task begins", found["rank 0"], HUB_AT_MOST_S),
    ]


def _row(what: str, samples: list[Found] | Missing, at_most: float) -> Row:
    if isinstance(samples, Missing):
        return Row(benchmark=what, contestant="ours", unit="s", target=f"<= {at_most:g}", note=samples.why)
    return single(what, "ours", "s", [each["s"] for each in samples], at_most=at_most)


def _worker_killed() -> Found:
    def hurt(folder: Path) -> float:
        _, worker = _began(folder, 0)[0]
        (folder / "go-1").touch()  # a worker is free: what is measured is not how long others are busy
        killed = _kill(worker)
        _until(lambda: len(_began(folder, 0)) == 2)
        return _began(folder, 0)[1][0] - killed

    return _measure(hurt)


def _hub_killed() -> Found:
    def hurt(folder: Path) -> float:
        killed = _kill(json.loads((folder / "run" / "owner").read_text())["pid"])
        (folder / "go-0").touch()
        _until(lambda: bool(_began(folder, 3)))
        return _began(folder, 3)[0][0] - killed

    return _measure(hurt)


def _measure(hurt: Callable[[Path], float]) -> Found:
    """Start a run whose workers all hold a task, hurt it, and see that it ends well."""
    if not find_launcher(find_library(), "auto", os.environ).ulfm:
        raise ContestantFailed("skipped: this MPI ends the job when a rank dies")
    with scratch() as folder:
        (folder / "recovery_task.py").write_text(TASK)
        (folder / "c.yaml").write_text(CONFIG)
        argv = [sys.executable, "-m", "mpiexec_runner", "run", "c.yaml", "-n", str(RANKS), "--run-dir", "run"]
        process = subprocess.Popen(
            argv, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            _until(lambda: all(_began(folder, i) for i in range(RANKS - 1)))
            seconds = hurt(folder)
            (folder / "go").touch()
            if code := process.wait(WITHIN_S):
                raise ContestantFailed(f"exit code {code}")
        except subprocess.TimeoutExpired:
            raise ContestantFailed(f"not done {WITHIN_S:g} s after the kill") from None
        finally:
            end(process)
    return {"s": seconds}


def _began(folder: Path, i: int) -> list[tuple[float, int]]:
    """When each attempt of a task began, and in which process."""
    with contextlib.suppress(FileNotFoundError):
        lines = [line.split() for line in (folder / f"began-{i}").read_text().splitlines()]
        return [(float(when), int(pid)) for when, pid in lines]
    return []


def _kill(pid: int) -> float:
    """Kill a process; when that was."""
    when = time.clock_gettime(time.CLOCK_MONOTONIC)
    os.kill(pid, signal.SIGKILL)
    return when


def _until(what: Callable[[], bool]) -> None:
    give_up = time.monotonic() + WITHIN_S
    while not what():
        if time.monotonic() > give_up:
            raise ContestantFailed(f"what should happen did not in {WITHIN_S:g} s")
        time.sleep(LOOK_EVERY_S)
