"""One attempt of a command: its directory, its process, its output, its end.

It knows nothing of queues and transports; where the directory lies is told by the worker.
"""

import errno
import json
import math
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO

import msgspec

from mpiexec_runner.execute import disk, left_files, output, payload
from mpiexec_runner.execute.allowance import NOTHING, Allowance, on_cores
from mpiexec_runner.execute.ending import Ending, Reason, exit_failure, verdict_of, wait_killed
from mpiexec_runner.execute.environment import TaskIdentity, task_environment
from mpiexec_runner.execute.memory import MemoryWatch
from mpiexec_runner.execute.port import Result
from mpiexec_runner.execute.template import render
from mpiexec_runner.model.tasks import (
    CommandLine,
    Failure,
    FailureClass,
    Outcome,
    TaskKind,
    TaskSpec,
    Verdict,
)

_NO_ROOM = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
"""How the last line of a program ends that met a full disk."""
LOOK_EVERY_S = 1.0
"""How often a running command's output and memory are looked at."""


class Place(msgspec.Struct, frozen=True):
    """Where an attempt runs and what it is told. ``directory`` is empty for "where the run was started".

    ``launcher`` are the words before a command that is to run as several MPI ranks.
    """

    name: str
    rank: int
    run_dir: str
    directory: str
    environment: dict[str, str]
    launcher: tuple[str, ...] = ()


class CommandAttempt:
    """A command that runs. See :class:`~mpiexec_runner.execute.port.Running`."""

    def __init__(
        self,
        spec: TaskSpec,
        number: int,
        process: subprocess.Popen[bytes],
        streams: "Streams",
        ending: Ending,
        directory: str,
        watch: MemoryWatch,
    ) -> None:
        self._spec, self._number, self._directory = spec, number, directory
        self._process, self._streams, self._ending = process, streams, ending
        self._watch = watch
        self._pidfd = os.pidfd_open(process.pid)
        self._started, self._clock = time.time(), time.perf_counter()
        self._look_at = time.monotonic() + LOOK_EVERY_S
        self._seen_memory_bytes = 0

    @property
    def next_act(self) -> float:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        return min(self._ending.next_act, self._look_at, self._watch.next_at)

    def fileno(self) -> int:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        return self._pidfd

    def poll(self, now: float) -> Result | None:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        if pid:
            return self._conclude(os.waitstatus_to_exitcode(status), usage)
        self._ending.act(now)
        if self._watch.is_over(now):
            self._watch.kill_family()
            self._ending.end(Reason.MEMORY, now)
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            self._seen_memory_bytes = max(self._seen_memory_bytes, _high_water_bytes(self._process.pid))
            self._streams.trim_if_huge()
        return None

    def stop(self, reason: Reason, now: float) -> None:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        self._ending.ask(reason, now)

    def abandon(self) -> None:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        self._ending.kill()
        wait_killed(self._process)
        self._close()

    def _conclude(self, code: int, usage: resource.struct_rusage) -> Result:
        self._process.returncode = code  # it has been waited for: Popen must not do so again
        elapsed_s = time.perf_counter() - self._clock
        verdict, failure = Verdict.SUCCEEDED, None
        reason = self._ending.reason
        if reason is not None:
            detail = self._watch.verdict if reason is Reason.MEMORY else ""
            verdict, failure = verdict_of(reason, elapsed_s, detail)
            self._ending.kill()  # what is left of its process group
        elif code:
            verdict = Verdict.FAILED
            failure = self._streams.blame(exit_failure(code, self._streams.last_line()))
        data, left = b"", left_files.Left()
        try:
            data = self._streams.finish()
        except OSError as error:
            if verdict is Verdict.SUCCEEDED:
                text = f"its output cannot be kept: {error.strerror}"
                verdict, failure = Verdict.FAILED, Failure(FailureClass.STORAGE, text)
        if verdict is Verdict.SUCCEEDED and self._directory:
            left = left_files.read(self._directory)
            data = left.value or data
            if left.failure is not None:
                verdict, failure = Verdict.FAILED, left.failure
        # A child starts as a copy of this process: a peak below our own is not the command's.
        peak = usage.ru_maxrss * 1024
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        outcome = Outcome(
            self._spec.id,
            self._number,
            verdict,
            self._started,
            elapsed_s,
            data,
            usage.ru_utime + usage.ru_stime,
            max(peak if peak > own else self._seen_memory_bytes, self._watch.peak_bytes),
            code,
            failure,
            more=left.more,
        )
        self._close()
        return outcome, list(left.buffers)

    def _close(self) -> None:
        os.close(self._pidfd)
        self._streams.close()


def start(
    spec: TaskSpec, number: int, kind: TaskKind, place: Place, allowance: Allowance = NOTHING
) -> CommandAttempt | Result:
    """Start an attempt of a command task.

    Returns
    -------
    CommandAttempt or Result
        The result, failed, when the command cannot be started at all.
    """
    began = time.time()
    try:
        fields = payload.decode_arguments(spec.payload, None)[1]
        work = kind.work
        template = spec.command if spec.command is not None else _template(work)
        argv = [*place.launcher, *render(template, fields)]
        streams = Streams(place.directory, number, kind.max_output_bytes)
        identity = TaskIdentity(place.name, number, place.directory, place.run_dir, place.rank, fields)
        if place.directory:
            if number > 1:
                left_files.remove(place.directory)
            if fields:
                with open(f"{place.directory}/params.json", "w") as file:  # noqa: PTH123 - for each command
                    file.write(json.dumps(fields, default=str))
    except Exception as error:  # noqa: BLE001 - a bad task must not end its worker
        return _not_started(spec, number, began, f"{type(error).__name__}: {error}", error)
    try:
        with on_cores(allowance.mask):  # a process begins with the mask of the thread that starts it
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=streams.out,
                stderr=streams.err,
                cwd=place.directory or None,
                env=task_environment(place.environment, identity, allowance.variables | kind.environment),
                start_new_session=True,
            )
    except (OSError, ValueError) as error:  # ValueError: a NUL character in an argument
        streams.close()
        why = error.strerror if isinstance(error, OSError) else error
        return _not_started(spec, number, began, f"{argv[0]} cannot be started: {why}")
    now = time.monotonic()
    ending = Ending(process.pid, math.inf if kind.timeout_s is None else now + kind.timeout_s)
    watch = MemoryWatch(process.pid, allowance.memory_bytes, allowance.look_every_s, now)
    return CommandAttempt(spec, number, process, streams, ending, place.directory, watch)


class Streams:
    """Where a command's output goes: files in its directory, or nameless ones whose ends are kept."""

    def __init__(self, directory: str, number: int, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._named = bool(directory)
        self.out: IO[bytes]
        self.err: IO[bytes]
        if not self._named:
            self.out, self.err = _nameless(), _nameless()
            return
        self.out, self.err = (_fresh(directory, name, number) for name in ("stdout", "stderr"))

    def trim_if_huge(self) -> None:
        """While the command runs, let no stream grow to many times its limit."""
        for stream in (self.out, self.err):
            if os.fstat(stream.fileno()).st_size > 4 * self._limit_bytes:
                output.trim(stream, self._limit_bytes)

    def last_line(self) -> str:
        """The last line that was written to stderr."""
        lines = output.tail(self.err, 2048).strip().splitlines()
        return lines[-1] if lines else ""

    def blame(self, failure: Failure) -> Failure:
        """``failure`` of the command, or the disk's, where that took no more of its output."""
        full = disk.has_no_room(self.out.fileno()) or failure.message.endswith(_NO_ROOM)
        if not full or failure.kind is not FailureClass.EXIT_CODE:
            return failure
        where = "" if failure.message.endswith(_NO_ROOM) else ": the disk that its output goes to is full"
        return Failure(FailureClass.STORAGE, failure.message + where)

    def finish(self) -> bytes:
        """Hold the streams to their limit; what of them belongs into the record, encoded as a result."""
        for stream in (self.out, self.err):
            if os.fstat(stream.fileno()).st_size > self._limit_bytes:
                output.trim(stream, self._limit_bytes)
        if self._named:
            return b""
        kept = {"stdout": output.tail(self.out), "stderr": output.tail(self.err)}
        return payload.encode_plain(kept)[0]

    def close(self) -> None:
        """Close the files."""
        self.out.close()
        self.err.close()


def _nameless() -> IO[bytes]:
    return tempfile.TemporaryFile("a+b", 0)


def _fresh(directory: str, name: str, number: int) -> IO[bytes]:
    """An empty file for a stream; what an earlier attempt wrote stays beside it as ``name.N``."""
    path = f"{directory}/{name}"
    if number > 1 and Path(path).exists():
        Path(path).rename(f"{path}.{number - 1}")
    return open(path, "a+b", 0)  # noqa: PTH123 - for each command; whoever asked closes it


def _template(work: object) -> str | tuple[str, ...]:
    if not isinstance(work, CommandLine) or work.template is None:
        raise ValueError("the task has no command")
    return work.template


def _not_started(
    spec: TaskSpec, number: int, began: float, why: str, error: BaseException | None = None
) -> Result:
    kind = FailureClass.NOT_FOUND if error is None else disk.class_of(error, FailureClass.NOT_FOUND)
    failure = Failure(kind, why)
    return Outcome(spec.id, number, Verdict.FAILED, began, 0.0, failure=failure), []


def _high_water_bytes(pid: int) -> int:
    """The peak resident size of a running process; 0 when it cannot be read any more."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
