"""Callbacks of a program, one after the other in a thread of their own: the hub never waits for them."""

import threading
from collections.abc import Callable
from queue import SimpleQueue

_Call = Callable[[], object]


class Callbacks:
    """Calls what it is given, in order.

    Parameters
    ----------
    idle
        Called in its thread when a call has ended.
    """

    def __init__(self, idle: _Call) -> None:
        self._idle = idle
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._due = 0
        self.error: BaseException | None = None
        """What the first call that failed raised."""

    @property
    def due(self) -> int:
        """How many calls have not ended."""
        return self._due

    @property
    def here(self) -> bool:
        """Whether the caller is a callback."""
        return threading.current_thread() is self._thread

    def call(self, function: _Call) -> None:
        """Call a function soon."""
        with self._lock:
            self._due += 1
            self._calls.put(function)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="callbacks", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (function := self._calls.get()) is not None:
            try:
                function()
            except BaseException as error:  # noqa: BLE001 - raised again where the pipeline is left
                self.error = self.error or error
            finally:
                with self._lock:
                    self._due -= 1
                self._idle()

    def close(self) -> None:
        """Call what is due, and no more."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join()
