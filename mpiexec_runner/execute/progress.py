"""Whether silent processes work, as the operating system sees it. It knows no ranks.

A process works when it is not stopped or dead and has used its processors since it was last looked at: more
than a thread that waits for Python's lock does, which wakes two hundred times a second. Source: ``proc(5)``.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
LEAST_SHARE = 0.02
"""A process that uses less of one core than this does not work. Waiting for the lock takes about 0.003."""
LEAST_TICKS = 2
"""What the kernel counts too coarsely to tell from nothing."""
_AT_REST = frozenset("TtZXx")


class Reading(NamedTuple):
    """What a process has used at one moment; ``born`` tells it from a later one with the same number."""

    born: int
    ticks: int
    at: float


class Progress:
    """Looks at processes again and again, and compares."""

    def __init__(self) -> None:
        self._before: dict[int, Reading] = {}

    def works(self, pid: int, now: float) -> bool:
        """Whether a process has worked since the look before; False at the first one.

        Parameters
        ----------
        pid
            Its number.
        now
            The time, in seconds, on a clock that never goes back.
        """
        state, reading = _read(pid, now)
        before = self._before.get(pid)
        if reading is None:
            self._before.pop(pid, None)
            return False
        self._before[pid] = reading
        if before is None or before.born != reading.born or state in _AT_REST:
            return False
        least = max(LEAST_TICKS, LEAST_SHARE * (now - before.at) * _TICKS)
        return reading.ticks - before.ticks >= least

    def forget(self, pids: set[int]) -> None:
        """Keep only what is known of these processes."""
        for pid in self._before.keys() - pids:
            del self._before[pid]


def _read(pid: int, now: float) -> tuple[str, Reading | None]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it has ended
        return "", None
    # The name, in brackets, may hold anything. Behind it: state, the times as fields 14, 15 and 22 of all.
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], Reading(int(fields[19]), int(fields[11]) + int(fields[12]), now)


# --- for the ranks of a host on which no hub is: a process of its own, which no rank's Python can hold up

END = "."
"""The last word of what a watcher writes: without it, the rest is still on its way."""


class Watcher:
    """A small process that looks at the ranks of this host and writes into a file which of them work.

    Parameters
    ----------
    path
        The file, on a file system that the hub sees.
    ranks
        The process of each rank.
    every_s
        Seconds between two looks.
    """

    def __init__(self, path: Path, ranks: Mapping[int, int], every_s: float) -> None:
        words = [f"{rank}:{pid}" for rank, pid in sorted(ranks.items())]
        # This file alone, without the package and what is installed: so it is small and begins at once.
        program = [sys.executable, "-I", "-S", __file__, str(path), str(os.getpid()), str(every_s), *words]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(program, stdin=quiet, stdout=quiet, stderr=quiet)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def read_watcher(path: Path) -> tuple[str, frozenset[int]]:
    """What a watcher wrote last: a number that changes each time, and the ranks that work.

    The number is empty when nothing (whole) is there.
    """
    try:
        words = path.read_text().split()
    except OSError:
        return "", frozenset()
    if len(words) < 2 or words[-1] != END:
        return "", frozenset()
    return words[0], frozenset(int(word) for word in words[1:-1] if word.isdecimal())


def watch(path: Path, parent: int, every_s: float, ranks: Mapping[int, int]) -> None:
    """What the process of a watcher does, until its parent is gone."""
    progress = Progress()
    path.parent.mkdir(mode=0o700, exist_ok=True)
    rounds, next_look = 0, 0.0
    while os.getppid() == parent:
        now = time.monotonic()
        if now >= next_look:
            next_look = now + every_s
            rounds += 1
            working = [str(rank) for rank, pid in ranks.items() if progress.works(pid, now)]
            # Written in place: an NFS client sees that sooner than a new file of the same name.
            path.write_text(" ".join([f"{parent}/{rounds}", *working, END]))
        time.sleep(min(1.0, every_s))


def _main(words: list[str]) -> None:
    path, parent, every_s, *others = words
    ranks = {int(rank): int(pid) for rank, _, pid in (word.partition(":") for word in others)}
    try:
        watch(Path(path), int(parent), float(every_s), ranks)
    except OSError:  # the disk is full or gone: then nobody speaks for the ranks of this host, as without it
        sys.exit(1)


if __name__ == "__main__":
    _main(sys.argv[1:])
