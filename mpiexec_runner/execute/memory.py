"""How much memory a process and all below it use, and whether that is more than they may.

It knows no tasks. Source: ``proc(5)``, statm, stat and smaps_rollup.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import psutil

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class MemoryWatch:
    """Looks at a tree of processes from time to time.

    Parameters
    ----------
    pid
        The process at the top.
    limit_bytes
        What the tree may use together; 0 for no limit, and then nothing is looked at.
    every_s
        Seconds between two looks.
    now
        The time, on the caller's clock.
    """

    def __init__(self, pid: int, limit_bytes: int, every_s: float, now: float) -> None:
        self._pid, self._limit_bytes, self._every_s = pid, limit_bytes, every_s
        self.next_at = now + every_s if limit_bytes else float("inf")
        self.peak_bytes = 0
        self.found_bytes = 0

    def is_over(self, now: float) -> bool:
        """Look, if it is time to, whether the tree uses more than it may."""
        if now < self.next_at:
            return False
        self.next_at = now + self._every_s
        family = family_of(self._pid)
        self.found_bytes = resident_bytes(family)
        if self.found_bytes > self._limit_bytes and len(family) > 1:
            # What is shared among them was counted for each; to do better takes longer.
            self.found_bytes = sum(map(_proportional_bytes, family))
        self.peak_bytes = max(self.peak_bytes, self.found_bytes)
        return self.found_bytes > self._limit_bytes

    def kill_family(self) -> None:
        """End all below the process at the top, also what left its process group."""
        for pid in family_of(self._pid)[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()

    @property
    def verdict(self) -> str:
        """What to say when it was too much."""
        found, limit = self.found_bytes / 2**20, self._limit_bytes / 2**20
        return (
            f"ended: it used {found:,.0f} MiB of memory, and {limit:,.0f} MiB are allowed to it "
            "(resources: memory)"
        )


def family_of(pid: int) -> list[int]:
    """A process and all below it, from the top; empty when it is gone."""
    try:
        top = psutil.Process(pid)
        return [pid, *(below.pid for below in top.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def resident_bytes(pids: Iterable[int]) -> int:
    """The resident memory of some processes; what they share is counted for each of them."""
    return sum(map(_resident_bytes, pids))


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):  # it has ended
        return 0


def _proportional_bytes(pid: int) -> int:
    """A process's memory with its part of what it shares; its resident memory where that is not told."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return _resident_bytes(pid)
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
