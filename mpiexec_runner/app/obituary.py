"""Who died first, where the launcher ends the job for it: read from what it says, and seen.

It starts nothing and ends nothing. Without ULFM the death of one rank is the death of all, and each launcher
has its own way to tell of it:

    Open MPI  prterun noticed that process rank 2 with PID 1234 on node n1 exited on signal 9 (Killed).
    MPICH     [mpiexec@n1] Exit codes: [n1] 0,9,11,0      with -print-all-exitcodes
    Slurm     srun: error: n1: task 2: Killed

Of those that MPICH's launcher ended itself it says the same as of the one that died. So each rank on this
host keeps a file open as long as it lives (:func:`live_visibly`), and the kernel lists the files in the order
in which they were closed (``inotify(7)``). Linux closes a dead process's later descriptors before its earlier
ones: its file before the socket by which the launcher learns of its death, and ends others for it.
"""

import contextlib
import ctypes
import fcntl
import os
import re
import signal
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import psutil

from mpiexec_runner.execute.environment import WITNESS
from mpiexec_runner.execute.segments import find_segments, remove_segments

KEPT_BYTES = 2**16
"""How much of the end of what was said is searched."""
LOOKS = 60
"""How often it is looked for further ranks, once a second."""

_OPEN_MPI = re.compile(
    r"process rank (?P<rank>\d+) with PID (?P<pid>\d+) on node (?P<host>\S+) exited on\s+"
    r"signal (?P<signal>\d+)"
)
_HYDRA = re.compile(r"Exit codes: (?P<hosts>(?:\[\S+\] [\d,]+\s*)+)")
_ALL_WELL = re.compile(rb"\[mpiexec@[^]\s]+\] Exit codes:(?: \[\S+\] [0,]+)+\n")
_HYDRA_HOST = re.compile(r"\[(\S+)\] ([\d,]+)")
_SLURM = re.compile(r"srun: error: (?P<host>[^:\s]+): task (?P<rank>\d+): (?P<name>[A-Z][A-Za-z ]+)")

_IN_CLOSE_WRITE = 0x8
_INOTIFY_EVENT = struct.Struct("iIII")
"""Watch, mask, cookie, and the length of the name that follows."""

_LATER = 200
"""A descriptor above that of the launcher's socket."""

_SIGNALS = frozenset(int(number) for number in signal.Signals)
_BY_LAUNCHER = frozenset({0, int(signal.SIGKILL), int(signal.SIGTERM)})
"""How those end that did nothing wrong."""


class Death(msgspec.Struct, frozen=True):
    """A rank that was ended by a signal."""

    rank: int
    host: str
    signal: int

    def __str__(self) -> str:
        return f"rank {self.rank} on host {self.host} was ended by {signal.Signals(self.signal).name}"


class Witness:
    """Keeps the end of what a launcher says, and an eye on its ranks.

    Parameters
    ----------
    words
        Are all in the command line of each rank.
    """

    def __init__(self, *words: str) -> None:
        self._words = set(words)
        self._ranks: set[psutil.Process] = set()
        self.has_lost_one = False
        """Whether a rank that was seen on this host has ended."""
        self._said = b""
        self._closings: int | None = None
        self._segments: set[str] = set()
        self._looks = 0

    def watch(self, folder: str) -> dict[str, str]:
        """Have ranks keep a file open in a folder; the variable by which they find it."""
        libc = ctypes.CDLL(None)
        self._closings = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if libc.inotify_add_watch(self._closings, os.fsencode(folder), _IN_CLOSE_WRITE) < 0:
            return {}  # no more of them for this user: then launchers' words have to do
        return {WITNESS: folder}

    def hear(self, part: bytes) -> bytes:
        """Take in what was said; what of it is for people."""
        self._said = (self._said + part)[-KEPT_BYTES:]
        return _ALL_WELL.sub(b"", part)

    def look(self, launcher: int) -> None:
        """Find the ranks below a launcher, and what they share; to be called now and then."""
        self.has_lost_one = self.has_lost_one or not all(map(_lives, self._ranks))
        if self._looks >= LOOKS:
            return
        self._looks += 1
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(launcher).children():
                self._segments |= find_segments(child.pid)
            top = psutil.Process(launcher)
            # Its own words are also those of what it has forked, until that becomes something else.
            lines = {child: _command_line(child) for child in top.children(recursive=True)}
            own = _command_line(top)
            self._ranks |= {child for child, line in lines.items() if line != own and self._words <= {*line}}

    def find_death(self) -> Death | None:
        """The first death, if it can be told."""
        text = self._said.decode(errors="replace")
        if found := _OPEN_MPI.search(text):
            return Death(int(found["rank"]), found["host"], int(found["signal"]))
        if (found := _SLURM.search(text)) and (number := _by_description(found["name"])):
            return Death(int(found["rank"]), found["host"], number)
        if found := _HYDRA.search(text):
            return self._of_hydra(_HYDRA_HOST.findall(found["hosts"]))
        return None

    def close(self) -> None:
        """Watch no longer; remove what the ranks that are gone now have left in this host's memory."""
        remove_segments(self._segments)
        if self._closings is not None and self._closings >= 0:
            os.close(self._closings)
            self._closings = None

    def _of_hydra(self, hosts: list[tuple[str, str]]) -> Death | None:
        """From the codes of all ranks, host by host, in order of their ranks."""
        ends = [(host, int(code)) for host, codes in hosts for code in codes.strip(",").split(",")]
        odd = [rank for rank, (_, code) in enumerate(ends) if code not in _BY_LAUNCHER]
        ended = [rank for rank, (_, code) in enumerate(ends) if code]
        first = next((rank for rank in self._in_order() if rank in ended), None) if len(hosts) == 1 else None
        rank = first if first is not None else odd[0] if odd else ended[0] if len(ended) == 1 else None
        if rank is None or ends[rank][1] not in _SIGNALS:
            return None
        return Death(rank, *ends[rank])

    def _in_order(self) -> Iterator[int]:
        """The ranks that have ended, the first one first."""
        said = b""
        with contextlib.suppress(OSError):  # nothing more
            while self._closings is not None:
                said += os.read(self._closings, 65536)
        at = 0
        while at < len(said):
            *_, length = _INOTIFY_EVENT.unpack_from(said, at)
            at += _INOTIFY_EVENT.size + length
            name = said[at - length : at].rstrip(b"\0")
            if name.isdigit():
                yield int(name)


def live_visibly(environ: Mapping[str, str]) -> None:
    """Keep this rank's file open until the process ends, where the launching process looks for it."""
    folder, rank = environ.get(WITNESS), environ.get("PMI_RANK")
    if folder and rank:
        with contextlib.suppress(OSError):  # another host, or the launching process is gone
            file = os.open(Path(folder, rank), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _LATER)
            os.close(file)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _by_description(text: str) -> int:
    return next((int(one) for one in signal.Signals if signal.strsignal(one) == text.strip()), 0)
