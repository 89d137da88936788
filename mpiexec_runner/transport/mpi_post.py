"""Short words between any two ranks: directly where they share a communicator, else passed on by the hub.

It knows ranks, and nothing of what the words mean. Ranks that were started together share a communicator; one
that joined later has one with the hub alone. What cannot be sent is for a dead rank and is dropped: the hub
hears of the death otherwise.

Where the hub is followed by another one, what it had not passed on is lost. So each rank says again, through
the new one, what it said last to each other rank in this way; and a hub keeps what is for a rank that has no
way to it yet. Of each sort of word the last one counts, and a word that is said twice does no harm.
"""

import contextlib
import struct
import threading
from collections.abc import Iterator, Sequence

from mpi4py import MPI

_FORWARD, _FORWARDED = 101, 102
_ROUTE = struct.Struct("<qqq")


class Post:
    """One rank's words with the others.

    Parameters
    ----------
    rank
        What this rank is called in the run.
    comm, ids
        A communicator that is used for nothing else, and what its ranks are called.
    hub
        Whoever passes words on.
    """

    def __init__(self, rank: int, comm: MPI.Intracomm, ids: Sequence[int], hub: int = 0) -> None:
        self.rank, self.hub = rank, hub
        self._comms: list[tuple[MPI.Intracomm, Sequence[int]]] = []
        self._ways: dict[int, tuple[MPI.Intracomm, Sequence[int], int]] = {}
        self._sending: list[tuple[MPI.Request, bytes]] = []
        self._kept: list[tuple[int, int, bytes]] = []
        self._last: dict[tuple[int, int], bytes] = {}
        """What was said last through the hub, by rank and tag."""
        self._undelivered: dict[tuple[int, int, int], bytes] = {}
        self._lock = threading.RLock()
        self.add(comm, ids)

    def add(self, comm: MPI.Intracomm, ids: Sequence[int]) -> None:
        """Let further ranks be reached over a communicator that leads to them."""
        comm.Set_errhandler(MPI.ERRORS_RETURN)
        with self._lock:
            self._comms.append((comm, ids))
            for place, id_ in enumerate(ids):
                self._ways.setdefault(id_, (comm, ids, place))
            for key in [key for key in self._undelivered if key[0] in ids]:
                self._pass(self._undelivered.pop(key))

    def follow(self, hub: int) -> None:
        """Another hub passes words on from now on."""
        with self._lock:
            if hub == self.hub:
                return
            self.hub = hub
            for word in self._last.values():
                self._forward(word)

    def say(self, rank: int, tag: int, data: bytes) -> None:
        """Start to send a word; ``tag`` is below 100."""
        with self._lock:
            if rank in self._ways:
                self._send(rank, tag, data)
            else:
                word = self._last[rank, tag] = _ROUTE.pack(rank, self.rank, tag) + data
                self._forward(word)

    def hear(self, rank: int) -> Iterator[tuple[int, int, bytes]]:
        """What has come on the way that leads to a rank: tags, who said it, and the words."""
        with self._lock:
            heard, self._kept = self._kept, []
            if (way := self._ways.get(rank) or self._ways.get(self.hub)) is not None:
                comm, ids, place = way
                with contextlib.suppress(MPI.Exception):
                    for tag, source, data in _receive(comm, place, MPI.ANY_TAG):
                        self._sort(tag, ids[source], data)
            heard += self._kept
            self._kept = []
            self._sending = [(request, data) for request, data in self._sending if not _is_through(request)]
        yield from heard

    def pass_on(self) -> None:
        """Do what the hub does for others: to be called again and again, and waits for nothing."""
        with self._lock:
            for comm, ids in self._comms:
                try:
                    for tag, source, data in _receive(comm, MPI.ANY_SOURCE, _FORWARD):
                        self._sort(tag, ids[source], data)
                except MPI.Exception:
                    comm.Ack_failed(comm.size)  # whoever died says nothing more
            self._sending = [(request, data) for request, data in self._sending if not _is_through(request)]

    def _sort(self, tag: int, source: int, data: bytes) -> None:
        """Keep what is for this rank, send on what is not."""
        if tag not in (_FORWARD, _FORWARDED):
            self._kept.append((tag, source, data))
            return
        dest, source, tag = _ROUTE.unpack_from(data)
        if dest == self.rank:
            self._kept.append((tag, source, data[_ROUTE.size :]))
        else:
            self._pass(data)

    def _forward(self, word: bytes) -> None:
        """Let the hub pass a word on; or do so, where that is this rank."""
        if self.hub == self.rank:
            self._pass(word)
        elif self.hub in self._ways:  # else it is said when there is a hub
            self._send(self.hub, _FORWARD, word)

    def _pass(self, word: bytes) -> None:
        dest, source, tag = _ROUTE.unpack_from(word)
        if dest in self._ways:
            self._send(dest, _FORWARDED, word)
        else:
            self._undelivered[dest, source, tag] = word

    def _send(self, rank: int, tag: int, data: bytes) -> None:
        comm, _, place = self._ways[rank]
        with contextlib.suppress(MPI.Exception):
            self._sending.append((comm.Isend([data, MPI.BYTE], place, tag), data))


def _receive(comm: MPI.Intracomm, place: int, tag: int) -> Iterator[tuple[int, int, bytes]]:
    status = MPI.Status()
    while (message := comm.Improbe(place, tag, status)) is not None:
        tag_, source, data = status.tag, status.source, bytearray(status.Get_count(MPI.BYTE))
        message.Recv([data, MPI.BYTE])
        yield tag_, source, bytes(data)


def _is_through(request: MPI.Request) -> bool:
    try:
        return bool(request.Test())
    except MPI.Exception:  # its receiver is dead
        return True
