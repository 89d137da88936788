"""What a disk that takes its time is left to: a thread that syncs at a steady pace, and one for single jobs.

Neither knows what it does.
"""

import threading
from collections.abc import Callable


class BackgroundSync:
    """Calls ``sync`` at most every ``every_s`` seconds, and within that time of a :meth:`wake`.

    ``sync`` must not raise: what fails there is told by whoever asks next.
    """

    def __init__(self, sync: Callable[[], None], every_s: float) -> None:
        self._sync = sync
        self._every_s = every_s
        self._dirty = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to sync."""
        if not self._dirty.is_set():
            self._dirty.set()

    def stop(self) -> None:
        """End; when this returns, no call is under way and none will come."""
        self._stopped.set()
        self._dirty.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._dirty.wait()
            if self._stopped.wait(self._every_s):
                return
            self._dirty.clear()
            self._sync()


class OneAtATime:
    """Does jobs in a thread, one at a time; what one raised is told to whoever asks.

    Attributes
    ----------
    done : bool
        Whether the last job that ended did so without an error.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self.done = False

    @property
    def busy(self) -> bool:
        """Whether a job is being done, or its error has not been taken."""
        return self._error is not None or (self._thread is not None and self._thread.is_alive())

    def begin(self, job: Callable[[], None]) -> None:
        """Do ``job``; only when not :attr:`busy`."""
        self._thread = threading.Thread(target=self._do, args=(job,), name=self._name, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when no job is being done."""
        if self._thread is not None:
            self._thread.join()

    def take_error(self) -> BaseException | None:
        """What the last job raised, once."""
        error, self._error = self._error, None
        return error

    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - told to whoever asks
            self.done, self._error = False, error
        else:
            self.done = True
