"""What a worker tells of itself with each heartbeat: how busy its host is, its memory, its tasks, its health.

It knows no hub; what follows from the load is decided there.
"""

import contextlib
import os
import time

import psutil

from mpiexec_runner.execute import calls
from mpiexec_runner.execute.health import HealthWatch
from mpiexec_runner.execute.machine import host_name
from mpiexec_runner.execute.memory import family_of, resident_bytes
from mpiexec_runner.execute.progress import Watcher
from mpiexec_runner.execute.share import decode_view
from mpiexec_runner.model.messages import Welcome
from mpiexec_runner.model.workers import CheckPlan, Load
from mpiexec_runner.runtime.onlooker import watcher_path
from mpiexec_runner.transport.port import Transport

LOOK_EVERY_S = 1.0
"""How often the processes below this one are looked for, at most: the kernel has to be asked about all."""


class LoadMeter:
    """Measures; and keeps running what is looked at between heartbeats."""

    def __init__(self) -> None:
        psutil.cpu_percent(None)  # it tells what has been used since the call before
        self._looked_at = 0.0
        self._below: list[int] = []
        self._health = HealthWatch(CheckPlan())
        self._plan = (CheckPlan(), "")
        self._watcher: Watcher | None = None

    def welcome(self, message: Welcome, transport: Transport, hub: int) -> None:
        """A run begins, or goes on: with these checks, and this rank as hub."""
        plan = (message.checks, message.run_dir)
        if plan == self._plan:
            return
        self.close()
        self._plan, self._health = plan, HealthWatch(*plan)
        hub_host, here = message.checks.hub_host, host_name()
        cards = transport.neighbours.items()
        ranks = {rank: decode_view(card).pid for rank, card in cards if card and rank != hub}
        # One for all ranks of a host; the hub itself looks at its own.
        if message.run_dir and hub_host not in ("", here) and transport.rank == min(ranks, default=-1):
            path = watcher_path(message.run_dir, here)
            with contextlib.suppress(OSError):  # nobody speaks for ranks that cannot, and else all goes on
                self._watcher = Watcher(path, ranks, max(1.0, message.heartbeat_interval_s))

    def close(self) -> None:
        """End what was begun."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None

    def measure(self, held: int, running: int, *, alone: bool) -> Load:
        """The load now.

        Parameters
        ----------
        held, running
            How many tasks the worker holds, and how many of them have begun.
        alone
            Whether it has started no process for a task.
        """
        now = time.monotonic()
        if alone:
            self._below = []
        elif now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at, self._below = now, family_of(os.getpid())[1:]
        used_bytes = resident_bytes([os.getpid(), *self._below])
        health, note = self._health.look(now)
        return Load(
            os.getloadavg()[0],
            calls.peak_memory_bytes(),
            held,
            psutil.cpu_percent(None),
            used_bytes,
            running,
            health,
            note,
        )
