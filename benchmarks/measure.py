"""Starting contestants, one at a time and in turns, and ending whatever they leave behind.

It knows nothing of what they do; each prints one JSON line, which is handed back.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmarks.report import Missing
from mpiexec_runner.app.launch import launch_command
from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.execute.machine import usable_cores
from mpiexec_runner.transport.mpi_library import find_library

TIME_OUT_S = 180.0
GRACE_S = 5.0
RANKS = 3
ROOT = Path(__file__).resolve().parent.parent

Found = dict[str, Any]


class ContestantFailed(Exception):
    """A contestant did not end well; says how."""


class Timing:
    """How long everything takes: short for a look, longer for numbers to keep."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.rounds = 2 if quick else 5
        self.seconds = 1.0 if quick else 3.0

    def scaled(self, number: int) -> int:
        """A number of tasks; a tenth of it where it is to be quick."""
        return number // 10 if self.quick else number


def python(module: str, *arguments: object, time_out_s: float = TIME_OUT_S) -> Found:
    """Run one of our modules in a process of its own; what it printed."""
    return _told(finish([sys.executable, "-m", module, *map(str, arguments)], time_out_s=time_out_s))


def under_mpi(
    contestant: str, *arguments: object, ranks: int = RANKS, time_out_s: float = TIME_OUT_S
) -> Found:
    """Run a contestant on so many ranks, all with the same launcher and the same options; what it printed."""
    launcher = find_launcher(find_library(), "mpiexec", os.environ)
    module = f"benchmarks.contestants.{contestant}"
    plan = launch_command(
        launcher, ranks, list(map(str, arguments)), os.environ, usable_cores(), module=module
    )
    return _told(finish(list(plan.argv), environ=plan.environ, time_out_s=time_out_s))


def finish(
    argv: list[str],
    *,
    environ: Mapping[str, str] | None = None,
    stdin: Path | None = None,
    folder: Path = ROOT,
    time_out_s: float = TIME_OUT_S,
) -> str:
    """Run a program to its end, or end it with all that it started; its standard output.

    Raises
    ------
    ContestantFailed
        It took too long, or exited with another code than 0.
    """
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(stdin.open("rb")) if stdin else subprocess.DEVNULL
        process = subprocess.Popen(
            argv,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=dict(environ) if environ is not None else None,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=time_out_s)
        except subprocess.TimeoutExpired:
            raise ContestantFailed(f"not done after {time_out_s:g} s") from None
        finally:
            end(process)
    if process.returncode:
        said = err.decode(errors="replace").strip().splitlines()
        raise ContestantFailed(f"exit code {process.returncode}: {said[-1] if said else 'it said nothing'}")
    return out.decode(errors="replace")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, and what it started as far as that is still its own: asked first, then killed."""
    if process.poll() is not None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        below = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        for child in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _told(output: str) -> Found:
    """The JSON line among what a contestant printed."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            found: Found = json.loads(line)
            return found
    raise ContestantFailed("it told no result")


def in_turns(contestants: Mapping[str, Callable[[], Found]], rounds: int) -> dict[str, list[Found] | Missing]:
    """Let contestants run A B C, A B C, ...; one that fails is out, and named with the reason."""
    found: dict[str, list[Found] | Missing] = {name: [] for name in contestants}
    for number in range(1, rounds + 1):
        for name, run in contestants.items():
            so_far = found[name]
            if isinstance(so_far, Missing):
                continue
            _say(f"    round {number}/{rounds}: {name}")
            os.sync()  # nobody is to pay for what another one left to be written
            try:
                so_far.append(run())
            except ContestantFailed as error:
                found[name] = Missing(str(error))
    return found


def numbers(found: Mapping[str, list[Found] | Missing], key: str) -> dict[str, list[float] | Missing]:
    """One number of what each contestant told, round by round."""
    return {
        name: told if isinstance(told, Missing) else [float(each[key]) for each in told]
        for name, told in found.items()
    }


def needs_package(name: str) -> None:
    """Raise :class:`ContestantFailed` where a Python package is not installed."""
    if importlib.util.find_spec(name) is None:
        raise ContestantFailed(f"skipped: the package {name} is not installed")


def needs_program(name: str) -> None:
    """Raise :class:`ContestantFailed` where a program is not on PATH."""
    if shutil.which(name) is None:
        raise ContestantFailed(f"skipped: {name} is not installed")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for a moment, on the disk that temporary files are on."""
    with tempfile.TemporaryDirectory(prefix="mpiexec-runner-bench-") as folder:
        yield Path(folder)


def wall_s(argv: list[str], **options: Any) -> float:
    """Seconds from the start to the end of a program."""
    begin = time.perf_counter()
    finish(argv, **options)
    return time.perf_counter() - begin


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
