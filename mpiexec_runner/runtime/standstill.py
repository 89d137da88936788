"""What the hub does while the disk is full: it listens, keeps what it hears, and tries again.

It knows neither the core nor the journal: what is to be done again is handed in. The core sees nothing of
what comes meanwhile. So nothing new begins and no time-out falls due, and what is kept in memory is bounded:
the results of the tasks that ran when it began, and one heartbeat a worker.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence

from mpiexec_runner.errors import PeerError, StorageError, StorageFull
from mpiexec_runner.model.messages import Beat, Finished
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.port import Packet

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0


class Standstill:
    """The time from when the disk had no room to when it has some again; off at first.

    Parameters
    ----------
    note
        Told when it begins and when it is over.

    Attributes
    ----------
    due : float
        When it is tried again, in seconds; infinite while it is off.
    over_at : float
        When the last one was over.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._error: StorageFull | None = None
        self._owed: deque[Callable[[], None]] = deque()
        self._packets: list[Packet] = []
        self._beats: dict[int, Packet] = {}
        self._results = 0
        self._since, self._pause_s = 0.0, FIRST_PAUSE_S
        self.due, self.over_at = math.inf, -math.inf

    @property
    def is_on(self) -> bool:
        """Whether the disk is full, as far as is known."""
        return self._error is not None

    def begin(self, error: StorageFull, now: float, again: Callable[[], None], results: int = 0) -> None:
        """The disk is full; when it was so already, there is one more thing to do when it is not any more.

        Parameters
        ----------
        error
            What it said.
        now
            The time, in seconds.
        again
            What was refused, to be done again as a whole. May raise ``StorageFull`` as often as it likes.
        results
            How many results that is.
        """
        self._owed.append(again)
        self._results += results
        if self._error is None:
            self._note(f"{error}. Until there is room nothing new begins, and results wait in memory")
            self._since, self._pause_s = now, FIRST_PAUSE_S
            self.due = now + FIRST_PAUSE_S
        self._error = error

    def hear(self, packets: Sequence[Packet]) -> None:
        """Keep what has come, for :meth:`take`; of heartbeats only the last of each rank."""
        for packet in packets:
            if is_beat(packet):
                self._beats[packet.source] = packet
            else:
                self._packets.append(packet)

    def take(self) -> list[Packet]:
        """What was kept, in the order in which it came from each rank."""
        packets = [*self._packets, *self._beats.values()]
        self._packets.clear()
        self._beats.clear()
        return packets

    def try_again(self, now: float, *, at_once: bool = False) -> bool:
        """Do what was refused, if that is due; whether all of it is done and the standstill over.

        Raises
        ------
        StorageError
            The disk has a trouble that waiting does not cure.
        """
        if now < self.due and not at_once:
            return False
        try:
            while self._owed:
                self._owed[0]()
                self._owed.popleft()
        except StorageFull as error:
            self._error = error
            self.due = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            return False
        self._error, self._results, self.due, self.over_at = None, 0, math.inf, now
        self._note(f"there is room again after {now - self._since:.1f} s: the run goes on")
        return True

    def given_up(self) -> StorageError:
        """The error for when the run cannot wait for room any longer."""
        results = self._results + sum(map(results_in, self._packets))
        lost = f"{results} results that came meanwhile are lost, and their tasks will be run again"
        return StorageError(
            f"told to stop while the disk is full: {self._error}. "
            f"{lost if results else 'No result is lost'}; all that finished before is on record"
        )


def is_beat(packet: Packet) -> bool:
    """Whether a packet is nothing but a heartbeat."""
    return not packet.buffers and all(isinstance(message, Beat) for message in _messages(packet) or [None])


def results_in(packet: Packet) -> int:
    """How many results there are in a packet."""
    return sum(len(message.outcomes) for message in _messages(packet) if isinstance(message, Finished))


def _messages(packet: Packet) -> list[object]:
    try:
        return list(codec.decode(packet.body))
    except PeerError:
        return []  # who takes it up says so
