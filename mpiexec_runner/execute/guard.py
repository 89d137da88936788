"""What the tasks of a rank share with it, and must find as it was: where it is, its streams, its signals.

It knows no tasks. It is for a process that does nothing but work: in any other, such a change may be meant.

A task that runs in the rank itself may close the standard output, go to another directory, ask for alarms or
handle signals. What comes after it, the rank included, would write into the wrong file, look in the wrong
place, or not be woken.
"""

import contextlib
import fcntl
import io
import os
import signal
import sys
import threading
from typing import IO, Any

_SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGCHLD,
    signal.SIGPIPE,
    signal.SIGURG,
)
_STREAMS = ("stdin", "stdout", "stderr")
_HIGH = 10
"""Copies of the standard streams are kept from this descriptor on."""


class Guard:
    """Remembers how it was when it began, and makes it so again."""

    def __init__(self) -> None:
        self._main: threading.Thread | None = None

    def begin(self) -> None:
        """Remember. In the main thread, which alone may handle signals; in another one nothing is guarded."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._main = threading.main_thread()
        self._home = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._here = os.getcwd()  # noqa: PTH109 - a Path would have to be made for each look
        self._handlers = [(number, signal.getsignal(number)) for number in _SIGNALS]
        self._streams: list[tuple[str, IO[Any] | None]] = [(name, getattr(sys, name)) for name in _STREAMS]
        self._copies: list[tuple[int, int, tuple[int, int]]] = []
        for descriptor in range(3):
            with contextlib.suppress(OSError):  # it was closed before there was any task
                copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH)
                self._copies.append((descriptor, copy, _file_of(descriptor)))

    def mend(self) -> None:
        """Undo what tasks have changed. Does nothing in any other thread."""
        if self._main is None or threading.current_thread() is not self._main:
            return
        self._mend_place()
        for descriptor, copy, file in self._copies:
            if _file_of(descriptor) != file:
                os.dup2(copy, descriptor, inheritable=True)
        for name, stream in self._streams:
            self._mend_stream(name, stream)
        for number, handler in self._handlers:
            if signal.getsignal(number) is not handler and handler is not None:
                signal.signal(number, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _mend_place(self) -> None:
        try:
            moved = os.getcwd() != self._here  # noqa: PTH109
        except FileNotFoundError:  # it went to a directory that is no more
            moved = True
        if moved:
            # That fails where the directory was closed to us meanwhile: then there is no way back.
            with contextlib.suppress(OSError):
                os.fchdir(self._home)

    def _mend_stream(self, name: str, stream: IO[Any] | None) -> None:
        if stream is not None and stream.closed:
            descriptor = _STREAMS.index(name)
            mode = "r" if name == "stdin" else "w"
            stream = io.open(descriptor, mode, buffering=1, closefd=False)  # noqa: SIM115, UP020 - it stays open
            self._streams[_STREAMS.index(name)] = (name, stream)
        if getattr(sys, name) is not stream:
            setattr(sys, name, stream)

    def close(self) -> None:
        """Give back what was kept."""
        if self._main is not None:
            self._main = None
            for descriptor in (self._home, *(copy for _, copy, _ in self._copies)):
                with contextlib.suppress(OSError):  # a task may have closed all that it found
                    os.close(descriptor)


def _file_of(descriptor: int) -> tuple[int, int]:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


_forks = [0]


def _note_fork() -> None:
    _forks[0] += 1


os.register_at_fork(after_in_child=_note_fork)


def forks() -> int:
    """How many forks lie between the program's beginning and this process."""
    return _forks[0]


def leave_if_forked(before: int) -> None:
    """End this process if it is a copy that a task has made of it: the original goes on with the task.

    Parameters
    ----------
    before
        What :func:`forks` said when the task began.
    """
    if _forks[0] != before:
        os._exit(1)
