"""What happens next in a virtual cluster, and the messages that are under way. Nothing here waits.

Messages all take equally long and keep their order: queues are enough for them, a heap holds the rest.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

from mpiexec_runner.model.commands import AnyCommand
from mpiexec_runner.model.events import AnyEvent
from mpiexec_runner.sim.worker import Burst

BUSY_S = 0.02
"""An attempt that takes longer is told to have begun, as in ``runtime/attendant.py``."""


class Floor(Protocol):
    """Where things happen."""

    def take(self, command: AnyCommand, now: float) -> None:
        """A command arrives."""

    def tell(self, burst: Burst, now: float) -> None:
        """A burst began ``BUSY_S`` ago."""

    def end(self, burst: Burst, now: float) -> None:
        """A burst is at its end."""


class Calendar:
    """The time and all that is to come.

    Parameters
    ----------
    latency_s
        How long messages take, in seconds.
    """

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._agenda: list[tuple[float, int, Burst | Callable[[float], None]]] = []
        self._order = 0
        self._up: deque[tuple[float, AnyEvent]] = deque()
        self._down: deque[tuple[float, list[AnyCommand]]] = deque()
        self._lasting: deque[tuple[float, Burst]] = deque()

    def at(self, when: float, what: Burst | Callable[[float], None]) -> None:
        """Have something happen, or a burst end, unless its end has moved by then."""
        self._order += 1
        heapq.heappush(self._agenda, (when, self._order, what))

    def began(self, burst: Burst, now: float) -> None:
        """Have it told that a burst lasts, in ``BUSY_S``."""
        self._lasting.append((now + BUSY_S, burst))

    def send(self, commands: list[AnyCommand], now: float) -> None:
        """Put what the hub says to its workers under way."""
        self._down.append((now + self._latency_s, commands))

    def say(self, event: AnyEvent, now: float) -> None:
        """Put what a worker says to its hub under way."""
        self._up.append((now + self._latency_s, event))

    def arrived(self, now: float) -> list[AnyEvent]:
        """Take what has reached the hub."""
        up, events = self._up, []
        while up and up[0][0] <= now:
            events.append(up.popleft()[1])
        return events

    def advance(self, floor: Floor, free: float, due: float) -> float:
        """Let everything happen until the hub's next turn; when that is.

        Parameters
        ----------
        floor
            Where it happens.
        free
            The hub has no time before.
        due
            It wants a turn by then, whether or not there is anything to hear.
        """
        agenda, up, down, lasting = self._agenda, self._up, self._down, self._lasting
        turn = max(free, min(due, up[0][0] if up else math.inf))
        heard = bool(up)
        while True:
            now = agenda[0][0] if agenda else math.inf
            arrival = down[0][0] if down else math.inf
            told = lasting[0][0] if lasting else math.inf
            first = min(now, arrival, told)
            if first > turn or first == math.inf:
                return turn
            if arrival == first:
                for command in down.popleft()[1]:
                    floor.take(command, arrival)
            elif told == first:
                floor.tell(lasting.popleft()[1], told)
            else:
                what = heapq.heappop(agenda)[2]
                if type(what) is not Burst:
                    what(now)  # type: ignore[operator]
                elif what.end == now:
                    floor.end(what, now)
            if not heard and up:
                heard = True
                turn = min(turn, max(free, up[0][0]))
