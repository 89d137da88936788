"""Calls in a persistent child process of the rank, which can be killed without harming the rank.

The child (``child.py``) is started once and given one call after the other; it is replaced when it had to be
killed or died of a call.
"""

import math
import resource
import socket
import subprocess
import sys
import time

import msgspec

from mpiexec_runner.execute import frames
from mpiexec_runner.execute.allowance import NOTHING, Allowance
from mpiexec_runner.execute.ending import Ending, Reason, exit_failure, verdict_of, wait_killed
from mpiexec_runner.execute.memory import MemoryWatch
from mpiexec_runner.execute.port import Result
from mpiexec_runner.model.tasks import Failure, FailureClass, Outcome, TaskKind, TaskSpec, Verdict

SEND_TIMEOUT_S = 60.0
LOOK_EVERY_S = 1.0
"""How often it is looked whether a child still lives."""
_encoder = msgspec.msgpack.Encoder()
_outcome = msgspec.msgpack.Decoder(Outcome)


class Order(msgspec.Struct, frozen=True):
    """What the child is told to do: a call, in this environment, with no more than this."""

    kind: TaskKind
    spec: TaskSpec
    attempt: int
    environment: dict[str, str]
    allowance: Allowance = NOTHING


class Beginning(msgspec.Struct, frozen=True):
    """What the child is told first: where the rank looks for modules, and a pickled call to make."""

    path: list[str]
    setup: bytes


class Child:
    """One child process, idle or with one call.

    Parameters
    ----------
    environment
        Without the launcher's variables.
    setup
        A pickled call to make first; empty for none.
    """

    def __init__(self, environment: dict[str, str], setup: bytes) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mpiexec_runner.execute.child", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=environment,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        ours.settimeout(SEND_TIMEOUT_S)
        self.sock = ours
        frames.send(ours, [_encoder.encode(Beginning(sys.path, setup))])
        self._reader = frames.Reader(ours)
        self.pid = self._process.pid

    def order(self, order: Order, buffers: list[memoryview]) -> None:
        """Hand over a call.

        Raises
        ------
        OSError
            When the child is gone or does not take it.
        """
        self.sock.settimeout(SEND_TIMEOUT_S)
        frames.send(self.sock, [_encoder.encode(order), *buffers])
        self.sock.setblocking(False)

    def answer(self) -> list[memoryview] | None:
        """The frame that ends a call, when it is here; ``EOFError`` when the child died instead."""
        return self._reader.read()

    def has_exited(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def reap(self) -> int:
        """Wait for the end of a child that is gone or being killed; its exit code, negative for a signal."""
        self.sock.close()
        return wait_killed(self._process)

    def close(self) -> None:
        """End an idle child: it leaves when its socket closes."""
        self.sock.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            wait_killed(self._process)


class Children:
    """The child processes of one rank; as many as calls run at the same time."""

    def __init__(self, environment: dict[str, str], setup: bytes = b"") -> None:
        self._environment, self._setup = environment, setup
        self._idle: list[tuple[tuple[str, ...], Child]] = []

    def start(self, order: Order, buffers: list[memoryview]) -> "ChildAttempt | Result":
        """Begin a call in an idle child, or in a new one."""
        began = time.time()
        for fresh in (False, True):
            try:
                child = self._find(order.allowance.devices) if not fresh else None
                if child is None:
                    child = Child(self._environment, self._setup)
                child.order(order, buffers)
            except OSError as error:
                problem = error  # an idle child may have died meanwhile: once more with a new one
            else:
                return ChildAttempt(child, order, self)
        failure = Failure(FailureClass.NOT_FOUND, f"no child process can be started: {problem}")
        return Outcome(order.spec.id, order.attempt, Verdict.FAILED, began, 0.0, failure=failure), []

    def release(self, child: Child, devices: tuple[str, ...]) -> None:
        """Take back a child whose call has ended."""
        self._idle.append((devices, child))

    def close(self) -> None:
        """End all idle children."""
        while self._idle:
            self._idle.pop()[1].close()

    def _find(self, devices: tuple[str, ...]) -> Child | None:
        """An idle child; one that was given devices keeps them, since programs look for them only once."""
        for at in reversed(range(len(self._idle))):
            if self._idle[at][0] == devices:
                return self._idle.pop(at)[1]
        if self._idle:
            self._idle.pop(0)[1].close()  # it makes room for one with the right devices
        return None


class ChildAttempt:
    """A call that runs in a child. See :class:`~mpiexec_runner.execute.port.Running`."""

    def __init__(self, child: Child, order: Order, home: Children) -> None:
        self._child, self._order, self._home = child, order, home
        self._started, self._clock = time.time(), time.perf_counter()
        timeout_s = order.kind.timeout_s
        now, allowance = time.monotonic(), order.allowance
        self._ending = Ending(child.pid, math.inf if timeout_s is None else now + timeout_s)
        self._watch = MemoryWatch(child.pid, allowance.memory_bytes, allowance.look_every_s, now)

    @property
    def next_act(self) -> float:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        return min(self._ending.next_act, self._watch.next_at, time.monotonic() + LOOK_EVERY_S)

    def fileno(self) -> int:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        return self._child.sock.fileno()

    def poll(self, now: float) -> Result | None:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        self._ending.act(now)
        if self._watch.is_over(now):
            self._watch.kill_family()
            self._ending.end(Reason.MEMORY, now)
        try:
            parts = self._child.answer()
            if parts is None:
                # A process that the call forked may hold the socket open: an end of file is no sure sign.
                return self._died() if self._child.has_exited() else None
            outcome = _outcome.decode(parts[0])
        except (EOFError, ConnectionError):
            return self._died()
        except (msgspec.MsgspecError, IndexError, OverflowError, MemoryError) as error:
            return self._died(f"it wrote into the socket of its process, which is not its own ({error})")
        if self._watch.peak_bytes:  # the child itself knows only the peak of all its calls
            outcome = msgspec.structs.replace(outcome, peak_memory_bytes=self._watch.peak_bytes)
        if self._ending.reason is None:
            self._home.release(self._child, self._order.allowance.devices)
        else:  # asked to end, it finished first; the signal may still be on its way: not to be used again
            self._ending.kill()
            self._child.reap()
        return outcome, list(parts[1:])

    def stop(self, reason: Reason, now: float) -> None:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        self._ending.ask(reason, now)

    def abandon(self) -> None:
        """See :class:`~mpiexec_runner.execute.port.Running`."""
        self._ending.kill()
        self._child.reap()

    def _died(self, why: str = "") -> Result:
        self._ending.kill()  # what is left of its process group
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        code = self._child.reap()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        elapsed_s = time.perf_counter() - self._clock
        reason = self._ending.reason
        verdict, failure = Verdict.FAILED, None
        if reason is None:
            failure = Failure(FailureClass.RESULT, why) if why else exit_failure(code)
        else:
            detail = self._watch.verdict if reason is Reason.MEMORY else ""
            verdict, failure = verdict_of(reason, elapsed_s, detail)
        cpu_s = usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime
        spec, number = self._order.spec, self._order.attempt
        return (
            Outcome(
                spec.id,
                number,
                verdict,
                self._started,
                elapsed_s,
                cpu_s=cpu_s,
                peak_memory_bytes=self._watch.peak_bytes,
                exit_code=code,
                failure=failure,
            ),
            [],
        )
