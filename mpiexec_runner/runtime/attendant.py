"""The attendant: a worker's second thread, which speaks for it while a task keeps the first one busy.

It sends heartbeats, tells of long tasks that they began, and answers the hub. It never runs a task.
"""

import threading
from typing import Protocol

from mpiexec_runner.runtime.clock import SYSTEM, Clock, Thread

BUSY_S = 0.02
"""A task that takes longer than this is a long one: the hub is told, and listened to meanwhile."""


class Attended(Protocol):
    """What the attendant looks after."""

    def attend(self, busy_s: float) -> float:
        """Do what is due; the seconds until the next visit."""


class Attendant:
    """A daemon thread around :meth:`Attended.attend`."""

    def __init__(self, worker: Attended, clock: Clock = SYSTEM) -> None:
        self._worker, self._clock = worker, clock
        self._stirred = clock.signal()
        self._ending = False
        self._resting = False
        self._thread: Thread | None = None
        self.error: Exception | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = self._clock.start(self._run, "attendant")

    def stir(self) -> None:
        """Tell that the worker began to work. Cheap: the thread is woken only from a long rest."""
        if self._resting:
            self._resting = False
            self._stirred.set()

    def stop(self) -> None:
        """End, and wait for the end."""
        self._ending = True
        self._stirred.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        pause_s = BUSY_S
        while not self._ending:
            try:
                self._resting = pause_s > BUSY_S
                if self._resting:  # work that began just before is seen now, what begins from now on stirs
                    pause_s = min(pause_s, self._worker.attend(BUSY_S))
                self._stirred.wait(min(max(pause_s, 0.001), threading.TIMEOUT_MAX))
                self._stirred.clear()
                pause_s = self._worker.attend(BUSY_S)
            except Exception as error:  # noqa: BLE001 - raised in the worker's own thread, where it is handled
                self.error = error
                return
