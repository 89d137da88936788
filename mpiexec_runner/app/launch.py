"""Starting this program under a launcher, and standing by until it ends.

Knows nothing of what the ranks will do: whoever calls gets every request to stop and passes it on. The
launcher lives in a session of its own, out of reach of the terminal's Ctrl-C, because Open MPI's ends all
ranks within milliseconds when it is interrupted, before any of them can put its work in safety.
"""

import collections
import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO

import msgspec
import psutil

from mpiexec_runner.app.launcher import Launcher, Preference
from mpiexec_runner.app.obituary import Witness
from mpiexec_runner.app.wording import counted
from mpiexec_runner.app.world import allocated_slots, in_slurm_step
from mpiexec_runner.execute.environment import OUTSIDE, TERMINAL, clean, outside_record
from mpiexec_runner.transport.mpi_library import Vendor

OnInterrupt = Callable[[int, int], None]
"""Called with a signal's number and how often that signal has come by now, from 1."""

HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that are requests to stop: the user's, and what batch systems send before the walltime ends."""

ENDS_LAUNCHER_AT = 3
"""At which SIGINT, or which SIGTERM, the launcher itself is ended."""

GRACE_S = 10.0
"""How long a launcher that was told to end may take before it is killed with all below it."""

LOOK_EVERY_S = 1.0
LAST_WORDS_S = 2.0
"""How long to wait for the end of what a launcher said; something that it left behind may hold the pipe."""

_SESSIONS_IN = "PRTE_MCA_prte_local_tmpdir_base"
"""Where Open MPI's launcher keeps the directory of its session. That is named by its process id, and a
launcher that finds the directory of an earlier one, killed and of the same number, refuses to start with
"the PMIx server's listener thread failed to start"."""

_ROOT = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")


class LaunchPlan(msgspec.Struct, frozen=True):
    """How the ranks will be started, and what the user should be warned of, one line each."""

    argv: tuple[str, ...]
    environ: dict[str, str]
    warnings: tuple[str, ...] = ()


def launch_command(
    launcher: Launcher,
    ranks: int,
    argv: Sequence[str],
    environ: Mapping[str, str],
    cores: int,
    module: str = "mpiexec_runner",
    *,
    witnessed: bool = False,
) -> LaunchPlan:
    """Write the command line that starts this Python under a launcher.

    Parameters
    ----------
    launcher
        What :func:`mpiexec_runner.app.launcher.find_launcher` found.
    ranks
        How many ranks to start.
    argv
        Arguments of the program, without its name.
    environ
        The environment as the user made it. The ranks get it with a record of what it was
        (:func:`mpiexec_runner.execute.environment.outside_record`), and with the size of the terminal where
        standard output is one, since the ranks see only a pipe.
    cores
        How many cores the ranks may use on this machine; a batch job's own number goes before.
    module
        What ``python -m`` runs in each rank.
    witnessed
        Whether a :class:`~mpiexec_runner.app.obituary.Witness` will hear what the launcher says.
    """
    env = dict(environ)
    if in_slurm_step(environ):
        # The only task of a step: its launcher must not take itself for a rank, nor wait for the cores that
        # this very step holds.
        env = {"SLURM_OVERLAP": "1"} | clean(environ)
    env[OUTSIDE] = outside_record(env)
    env.pop(TERMINAL, None)
    if size := _terminal_size():
        env[TERMINAL] = size
    program = [sys.executable, "-m", module, *argv]
    warnings: list[str] = []
    if launcher.kind is Preference.SRUN:
        options = _srun_options(launcher, environ)
    elif launcher.vendor is Vendor.OPEN_MPI:
        slots = allocated_slots(environ)
        options = _open_mpi_options(launcher, oversubscribe=slots is None or ranks > slots)
        options += [word for name in (OUTSIDE, TERMINAL) if name in env for word in ("-x", name)]
        warnings += _allow_root(env)
    elif launcher.vendor in (Vendor.MPICH, Vendor.INTEL_MPI) and witnessed:
        options = ["-print-all-exitcodes"]  # else it tells of one that it has ended itself
    else:
        options = []
    warnings += _crowding(ranks, allocated_slots(environ), cores)
    command = [str(launcher.path), *options, "-n", str(ranks), *program]
    return LaunchPlan(tuple(command), env, tuple(warnings))


def launch_prefix(launcher: Launcher) -> list[str]:
    """The words that start a program as ``{ranks}`` ranks from inside a task, below a rank of this run."""
    if launcher.kind is Preference.SRUN:
        options = [f"--mpi={launcher.mpi_type}", "--overlap"]
    elif launcher.vendor is Vendor.OPEN_MPI:
        # The run's own ranks are on the same cores, which the task's launcher knows nothing of.
        options = ["--bind-to", "none", "--stdin", "none", "--oversubscribe"]
    else:
        options = []
    return [str(launcher.path), *options, "-n", "{ranks}"]


def run_launched(
    plan: LaunchPlan,
    *,
    on_interrupt: OnInterrupt,
    over: Callable[[], bool] = lambda: False,
    grace_s: float = GRACE_S,
    witness: Witness | None = None,
) -> int:
    """Start the launcher, stand by, and return its exit code (128 + n if signal n ended it).

    The ranks write to this process's standard output and error; standard input is empty for them. Each of
    :data:`HEEDED` that arrives goes to ``on_interrupt`` instead of ending anything; the third SIGINT or
    SIGTERM ends the launcher. Where ``setpriv`` (util-linux) is at hand, the launcher also gets SIGTERM
    should this process die unexpectedly; without it, the job then runs on to its end.

    A launcher may wait for ever for a rank that hangs or is out of reach: when ``over`` says that the work is
    done, or that nobody leads it any more, it gets ``grace_s`` seconds to return, and is ended then.

    ``witness`` hears all that is said, and looks at the ranks now and then.

    Must be called in the main thread. An exception of ``on_interrupt`` ends the launcher and passes on.

    Raises
    ------
    OSError
        When the launcher cannot be started.
    """
    with (
        _signals_to_pipe() as pipe,
        tempfile.TemporaryDirectory(prefix="mpiexec-runner-", ignore_cleanup_errors=True) as sessions,
    ):
        watched = witness.watch(sessions) if witness is not None else {}
        process = subprocess.Popen(
            [*_tied_to_parent(), *plan.argv],
            env={_SESSIONS_IN: sessions} | plan.environ | watched,
            stdin=subprocess.DEVNULL,
            stdout=None if witness is None else subprocess.PIPE,
            stderr=None if witness is None else subprocess.PIPE,
            start_new_session=True,
        )
        copying = _pass_on(process, witness)
        try:
            _stand_by(process, pipe, on_interrupt, _Patience(over, grace_s), witness)
        finally:
            if process.poll() is None:
                end_launched(process, grace_s)
            for thread in copying:
                thread.join(LAST_WORDS_S)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def end_launched(process: subprocess.Popen[bytes], grace_s: float = GRACE_S) -> None:
    """End a launcher that leads its own session, and whatever is left below it after ``grace_s`` seconds."""
    try:
        below = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        below = []
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(grace_s)
    # Ranks have process groups of their own, and psutil knows them from others that got their numbers since.
    _, left = psutil.wait_procs(below, timeout=1.0)
    for rank in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            rank.kill()


def _srun_options(launcher: Launcher, environ: Mapping[str, str]) -> list[str]:
    # A rank that dies ends the step, so that the others do not wait for it until the walltime is over.
    options = [f"--mpi={launcher.mpi_type}", "--kill-on-bad-exit=1"]
    # Since Slurm 22.05 a step does not inherit this from its job.
    if cpus := environ.get("SLURM_CPUS_PER_TASK"):
        options.append(f"--cpus-per-task={cpus}")
    return options


def _open_mpi_options(launcher: Launcher, *, oversubscribe: bool) -> list[str]:
    # Bound to a core (the default for two ranks) or a NUMA domain, a rank would crowd all that its tasks
    # start, threads and commands, into that part of the machine. MPICH does not bind either. And a rank
    # that reads its standard input would wait for ever: Open MPI 5 was seen not to pass on its end.
    options = ["--bind-to", "none", "--stdin", "none"]
    if launcher.ulfm:
        # Without Open MPI's own failure detector (mpi_ft_detector): it takes a rank for dead whose task holds
        # the interpreter, and with a thread of its own (mpi_ft_detector_thread) programs under 5.0.11 were
        # seen not to end on busy cores. Our own heartbeats find what nobody tells of.
        options += ["--with-ft", "ulfm"]
    # Outside a job Open MPI counts physical cores, and would refuse hardware threads and the hub's rank.
    if oversubscribe:
        options.append("--oversubscribe")
    return options


def _allow_root(env: dict[str, str]) -> list[str]:
    if os.geteuid() != 0 or all(env.get(name) == "1" for name in _ROOT):
        return []
    env.update(dict.fromkeys(_ROOT, "1"))
    return [f"running as root: Open MPI advises against it, and is told to allow it ({_ROOT[0]}=1)"]


def _crowding(ranks: int, slots: int | None, cores: int) -> list[str]:
    room = slots if slots is not None else cores
    shared = f"{counted(room, 'slot')} in this job" if slots is not None else counted(room, "usable core")
    # The hub sleeps most of the time and needs no core of its own.
    working = ranks - 1
    return [f"{working} working ranks share {shared}"] if working > room else []


def _terminal_size() -> str:
    """Tell the size of the terminal that standard output is, as ``80x24``; empty if it is none."""
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        return ""
    return f"{size.columns}x{size.lines}"


def _tied_to_parent() -> list[str]:
    """Words to put before a command that shall get SIGTERM when this process dies (``prctl(2)``)."""
    tool = shutil.which("setpriv")
    if tool is None:
        return []
    # Busybox's has no such option.
    answer = subprocess.run([tool, "--help"], capture_output=True, text=True, timeout=10, check=False)
    return [tool, "--pdeathsig", "TERM"] if "--pdeathsig" in answer.stdout + answer.stderr else []


@contextlib.contextmanager
def _signals_to_pipe() -> Iterator[int]:
    """Turn heeded signals, and the end of a child, into bytes on a pipe: each byte is a signal's number."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    # Ignored from the start means: survive that one (nohup).
    heeded = [number for number in HEEDED if signal.getsignal(number) is not signal.SIG_IGN]
    # Python writes the byte before it calls the handler, which has nothing left to do.
    handlers = {number: signal.signal(number, lambda *_: None) for number in (*heeded, signal.SIGCHLD)}
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _pass_on(process: subprocess.Popen[bytes], witness: Witness | None) -> list[threading.Thread]:
    """Copy what a launcher says to where this process says it, and to the witness; MPICH's uses both ways."""

    def copy(source: IO[bytes], target: int, witness: Witness) -> None:
        while part := os.read(source.fileno(), 65536):
            with contextlib.suppress(OSError):  # nobody reads it any more
                os.write(target, witness.hear(part))

    threads = []
    for number, source in ((1, process.stdout), (2, process.stderr)):
        if source is not None and witness is not None:
            threads.append(threading.Thread(target=copy, args=(source, number, witness), daemon=True))
            threads[-1].start()
    return threads


class _Patience:
    """How long a launcher may stay when the work is done."""

    def __init__(self, over: Callable[[], bool], grace_s: float) -> None:
        self._over, self.grace_s = over, grace_s
        self._until: float | None = None

    def is_at_its_end(self) -> bool:
        if not self._over():
            self._until = None
        elif self._until is None:
            self._until = time.monotonic() + self.grace_s
        return self._until is not None and time.monotonic() >= self._until


def _stand_by(
    process: subprocess.Popen[bytes],
    pipe: int,
    on_interrupt: OnInterrupt,
    patience: _Patience,
    witness: Witness | None = None,
) -> None:
    seen: collections.Counter[int] = collections.Counter()
    began = time.monotonic()
    while process.poll() is None:
        if patience.is_at_its_end():
            end_launched(process, patience.grace_s)
            break
        if witness is not None:
            witness.look(process.pid)
        # A lost SIGCHLD costs a second, nothing more. Ranks are to be seen before they can die.
        pause_s = min(LOOK_EVERY_S, 0.05 + (time.monotonic() - began) / 4)
        ready, _, _ = select.select([pipe], [], [], pause_s)
        for number in os.read(pipe, 256) if ready else b"":
            if number == signal.SIGCHLD:
                continue
            seen[number] += 1
            if number in (signal.SIGINT, signal.SIGTERM) and seen[number] >= ENDS_LAUNCHER_AT:
                end_launched(process, patience.grace_s)
                break
            on_interrupt(number, seen[number])
