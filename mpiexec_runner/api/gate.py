"""How many tasks may be under way: who comes when it is full waits, or is refused.

It knows tasks by number only.
"""

import threading
from typing import Literal

from mpiexec_runner.api.options import QueueFull
from mpiexec_runner.errors import UserError


class Gate:
    """Lets so many tasks in.

    Parameters
    ----------
    size
        How many may be inside.
    on_full
        What happens to who comes when they are: ``"block"`` or ``"refuse"``.
    """

    def __init__(self, size: int, on_full: Literal["block", "refuse"]) -> None:
        self.size, self._on_full = size, on_full
        self._room = threading.Condition()
        self._taken = 0
        self._inside: set[int] = set()
        self._open = True
        self._keeper = -1
        """The thread that lets tasks out: it must never wait to let one in."""

    def enter(self, count: int = 1, *, wait: bool | None = None) -> None:
        """Take room for some tasks, all at once; more than there will ever be room for enter alone.

        Raises
        ------
        QueueFull
            When there is none and nobody is to wait.
        UserError
            When the one thread would wait that makes room.
        """
        waits = self._on_full == "block" if wait is None else wait
        with self._room:
            if not self._fits(count):
                if not waits:
                    raise QueueFull(
                        f"{self._taken} tasks are under way and max_queue_size is {self.size}: submit again "
                        'when some have ended, or let submissions wait with on_full="block"'
                    )
                if threading.get_ident() == self._keeper:
                    raise UserError(
                        "a callback of a future submits, the queue is full, and room is made by the thread "
                        "that the callback keeps busy: submit elsewhere, or raise max_queue_size"
                    )
                self._room.wait_for(lambda: self._fits(count))
            self._taken += count

    def _fits(self, count: int) -> bool:
        return not self._open or self._taken + count <= max(self.size, count)

    def note(self, task: int) -> None:
        """A task for which room was taken has this number."""
        with self._room:
            self._inside.add(task)

    def give_back(self, count: int = 1) -> None:
        """Give back room that no task came to use."""
        with self._room:
            self._taken -= count
            self._room.notify_all()

    def leave(self, tasks: list[int]) -> None:
        """Tasks are at their end."""
        with self._room:
            self._keeper = threading.get_ident()
            before = len(self._inside)
            self._inside.difference_update(tasks)
            self._taken -= before - len(self._inside)
            self._room.notify_all()

    def close(self) -> None:
        """Nothing is held up any more: the run is over."""
        with self._room:
            self._open = False
            self._room.notify_all()
