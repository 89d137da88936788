"""The onlooker: looks at the processes of workers that are silent, for the hub. It decides nothing.

Those on the hub's own host it looks at itself; on other hosts a watcher does (``execute/progress.py``), and
leaves what it saw in the run's directory.
"""

import math
from collections.abc import Iterable
from pathlib import Path

from mpiexec_runner.core.tasks import Worker
from mpiexec_runner.execute.machine import host_name
from mpiexec_runner.execute.progress import Progress, read_watcher
from mpiexec_runner.model.events import WorkersSeenWorking


def watcher_path(run_dir: str, host: str) -> Path:
    """Where the watcher of a host leaves what it saw."""
    return Path(run_dir) / "hosts" / host


class Onlooker:
    """Looks.

    Parameters
    ----------
    run_dir
        The run's directory; empty when it has none, and then only the hub's own host is seen.
    every_s
        Seconds between two looks.
    """

    def __init__(self, run_dir: str, every_s: float) -> None:
        self._run_dir, self._every_s = run_dir, every_s
        self._here = host_name()
        self._next_look = -math.inf
        self._progress = Progress()
        self._told: dict[str, str] = {}

    def look(self, silent: Iterable[Worker], now: float) -> WorkersSeenWorking | None:
        """Which of some silent workers have worked since the look before, if it is time to look."""
        if now < self._next_look:
            return None
        self._next_look = now + self._every_s
        here: set[int] = set()
        away: dict[str, set[int]] = {}
        working: list[int] = []
        for worker in silent:
            if worker.host != self._here:
                away.setdefault(worker.host, set()).add(worker.id)
                continue
            here.add(worker.info.pid)
            if self._progress.works(worker.info.pid, now):
                working.append(worker.id)
        self._progress.forget(here)
        if self._run_dir:
            for host, ranks in away.items():
                working += sorted(ranks & self._seen_on(host))
        return WorkersSeenWorking(tuple(working)) if working else None

    def _seen_on(self, host: str) -> frozenset[int]:
        """What the watcher of a host has seen since the look before; what it left long ago is no news."""
        number, ranks = read_watcher(watcher_path(self._run_dir, host))
        before = self._told.get(host)
        self._told[host] = number
        return ranks if number and before is not None and before != number else frozenset()
