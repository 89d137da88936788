"""Who died first, where the launcher ends the job for it: read from what it says, and seen.

It starts nothing and ends nothing. Without ULFM the death of one rank is the death of all, and each launcher
has its own way to tell of it:

    Open MPI  prterun noticed that process rank 2 with PID 1234 on node n1 exited on signal 9 (Killed).
    MPICH     [mpiexec@n1] Exit codes: [n1] 0,9,11,0      with -print-all-exitcodes
    Slurm     srun: error: n1: task 2: Killed

Of those that MPICH's launcher ended itself it says the same as of the one that died. So the ranks on this
host are watched beside, to see which of them was the first (``pidfd_open(2)``, ``epoll(7)``).
"""

import contextlib
import os
import re
import select
import signal

import msgspec
import psutil

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
    """Keeps the end of what a launcher says, and an eye on its ranks."""

    def __init__(self) -> None:
        self._said = b""
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[int, int]] = {}
        self._segments: set[str] = set()
        self._looks = 0

    def hear(self, part: bytes) -> bytes:
        """Take in what was said; what of it is for people."""
        self._said = (self._said + part)[-KEPT_BYTES:]
        return _ALL_WELL.sub(b"", part)

    def look(self, launcher: int) -> None:
        """Find the ranks below a launcher, and what they share; to be called now and then."""
        if self._looks >= LOOKS:
            return
        self._looks += 1
        known = {pid for _, pid in self._watched.values()}
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(launcher).children():
                if not child.name().startswith("hydra"):
                    self._segments |= find_segments(child.pid)
                    continue
                for process in child.children():
                    self._segments |= find_segments(process.pid)
                    if process.pid not in known:
                        self._watch(process)

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
        for descriptor in self._watched:
            os.close(descriptor)
        self._watched.clear()
        self._epoll.close()

    def _watch(self, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.Error, OSError):  # it is gone already
            rank = process.environ().get("PMI_RANK", "")
            if rank.isdigit():
                descriptor = os.pidfd_open(process.pid)
                self._watched[descriptor] = int(rank), process.pid
                self._epoll.register(descriptor, select.EPOLLIN)

    def _of_hydra(self, hosts: list[tuple[str, str]]) -> Death | None:
        """From the codes of all ranks, host by host, in order of their ranks."""
        ends = [(host, int(code)) for host, codes in hosts for code in codes.strip(",").split(",")]
        odd = [rank for rank, (_, code) in enumerate(ends) if code not in _BY_LAUNCHER]
        ended = [rank for rank, (_, code) in enumerate(ends) if code]
        first = self._first() if len(hosts) == 1 else None
        rank = first if first in ended else odd[0] if odd else ended[0] if len(ended) == 1 else None
        if rank is None or ends[rank][1] not in _SIGNALS:
            return None
        return Death(rank, *ends[rank])

    def _first(self) -> int | None:
        """The rank that ended first: the kernel lists them in this order, however late it is asked."""
        events = self._epoll.poll(0, 1) if self._watched else []
        return self._watched[events[0][0]][0] if events else None


def _by_description(text: str) -> int:
    return next((int(one) for one in signal.Signals if signal.strsignal(one) == text.strip()), 0)
