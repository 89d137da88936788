"""Ranks that a new hub knows from the record and has no way to: they come to it, or are dead.

It knows processes on this machine, and no MPI.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping

import psutil

from mpiexec_runner.execute.machine import host_name
from mpiexec_runner.model.workers import WorkerInfo
from mpiexec_runner.transport.port import DIED

COME_WITHIN_S = 15.0
"""After that, who is on another host, or was never heard of, counts as dead."""
LOOK_EVERY_S = 0.2


class Absent:
    """Ranks of whom it has to be seen whether they come.

    Parameters
    ----------
    infos
        What they once said of themselves; ``None`` for one that was started and never said anything.
    monotonic
        A clock, in seconds.
    """

    def __init__(
        self, infos: Mapping[int, WorkerInfo | None], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._infos, self._monotonic = dict(infos), monotonic
        self._until = monotonic() + COME_WITHIN_S
        self._look_at = 0.0

    def gone(self, leads_to: Callable[[int], bool]) -> list[tuple[int, str]]:
        """Those found dead since the last call, and why they are given up."""
        now = self._monotonic()
        if not self._infos or now < self._look_at:
            return []
        self._look_at = now + LOOK_EVERY_S
        for rank in [rank for rank in self._infos if leads_to(rank)]:
            del self._infos[rank]
        found = [rank for rank, info in self._infos.items() if now >= self._until or _is_dead(info)]
        for rank in found:
            del self._infos[rank]
        return [(rank, DIED) for rank in found]


def family_words() -> set[str]:
    """The last words of the command lines below this process's own launcher, on this machine."""
    found = set()
    for process in psutil.Process(os.getppid()).children():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                found |= set(process.cmdline()[-1:])
    return found


def _is_dead(info: WorkerInfo | None) -> bool:
    """Whether a process was on this machine, and is no more."""
    if info is None or info.host != host_name():
        return False
    try:
        return psutil.Process(info.pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
