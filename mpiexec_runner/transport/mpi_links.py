"""One communicator, and the packets that travel on it: errors are returned, nothing ever blocks.

It knows bytes, not messages, and is used by one thread at a time. Every send and every receive is a
nonblocking request that is tracked here: a peer that hangs in the middle of one costs nobody else anything.

Wire format: a packet without large buffers is one MPI message with tag ``PLAIN``. Otherwise a message with
tag ``HEADED`` carries the buffers' sizes before the body, and the buffers follow in slices of at most
1 GiB (tag ``SLICE``), all on the same communicator, so that MPI keeps their order.
"""

import struct
import time
from collections import deque
from collections.abc import Sequence

from mpi4py import MPI
from typing_extensions import Buffer

from mpiexec_runner.errors import PeerError
from mpiexec_runner.transport.port import DIED, Packet

PLAIN, HEADED, SLICE = 1, 2, 3
SLICE_BYTES = 2**30
LAUNCHER_FIRST_S = 2.0
"""How long a rank whose MPI has failed leaves it to the launcher to end the job."""
RESTED_S = 200e-6
_COUNT = struct.Struct("<I")


class _Incoming:
    """A packet on its way in: one receive for the body, then one for each slice.

    A slice may be matched while the header before it is still in transit; such an early one is kept aside.
    """

    __slots__ = ("body", "buffers", "early", "expected", "headed", "requests")

    def __init__(self, body: bytearray, request: MPI.Request, *, headed: bool) -> None:
        self.body: Buffer = body
        self.requests = [request]
        self.headed = headed
        self.buffers: list[memoryview] = []
        self.expected: deque[memoryview] = deque()
        self.early: list[bytearray] = []

    def room_for_slice(self, size: int) -> Buffer:
        """Where the next slice goes."""
        if self.headed:
            self.early.append(bytearray(size))
            return self.early[-1]
        return self._next_slice(size)

    def settle(self) -> bool:
        """Whether all of it is here."""
        self.requests = [request for request in self.requests if not request.Test()]
        if self.requests:
            return False
        if self.headed:
            self._open_header()
        return not self.expected

    def _open_header(self) -> None:
        view = memoryview(self.body)
        try:
            (count,) = _COUNT.unpack_from(view)
            sizes = struct.unpack_from(f"<{count}Q", view, _COUNT.size)
            self.buffers = [memoryview(bytearray(size)) for size in sizes]
        except (struct.error, MemoryError, OverflowError) as error:
            raise PeerError(f"a packet with a malformed header: {error}") from error
        for buffer in self.buffers:
            self.expected.extend(buffer[at : at + SLICE_BYTES] for at in range(0, buffer.nbytes, SLICE_BYTES))
        self.body = view[_COUNT.size + 8 * count :]
        self.headed = False
        for part in self.early:
            self._next_slice(len(part))[:] = part
        self.early.clear()

    def _next_slice(self, size: int) -> memoryview:
        if not self.expected or self.expected[0].nbytes != size:
            raise PeerError(f"a slice of {size} bytes where none of that size was announced")
        return self.expected.popleft()


class MpiLink:
    """The packets on one communicator.

    Parameters
    ----------
    comm
        Used for nothing else.
    ids
        What its ranks are called in the run, in order.
    """

    def __init__(self, comm: MPI.Intracomm, ids: Sequence[int]) -> None:
        comm.Set_errhandler(MPI.ERRORS_RETURN)
        self.comm, self.ids = comm, tuple(ids)
        self._outgoing: list[tuple[MPI.Request, Buffer]] = []
        self._incoming: dict[int, deque[_Incoming]] = {}
        self._unwanted: list[MPI.Request] = []
        self._status = MPI.Status()
        self._looked = self._tested = 0.0
        self._gone: set[int] = set()
        self._newly_gone: list[tuple[int, str]] = []

    @property
    def anyone_gone(self) -> bool:
        """Whether any rank of it was ever given up."""
        return bool(self._gone)

    def send(self, place: int, body: Buffer, buffers: Sequence[Buffer] = ()) -> None:
        """Start to send to a rank of the communicator; what is for a dead one is dropped."""
        if place in self._gone:
            return
        try:
            if not buffers:
                self.isend(body, place, PLAIN)
                return
            views = [memoryview(part).cast("B") for part in buffers]
            sizes = struct.pack(f"<I{len(views)}Q", len(views), *(view.nbytes for view in views))
            self.isend(b"".join((sizes, memoryview(body).cast("B"))), place, HEADED)
            for view in views:
                for at in range(0, view.nbytes, SLICE_BYTES):
                    self.isend(view[at : at + SLICE_BYTES], place, SLICE)
        except MPI.Exception as error:
            self._note_failure(error)

    def isend(self, data: Buffer, place: int, tag: int) -> None:
        """Start one message, and keep its data until it is through."""
        self._outgoing.append((self.comm.Isend([data, MPI.BYTE], place, tag), data))

    def receive(self) -> list[Packet]:
        """All that has arrived; also keeps outgoing packets moving."""
        now = time.monotonic()
        rested, self._looked = now - self._looked > RESTED_S, now
        arrived: list[Packet] = []
        try:
            self._collect_received(arrived)
            if rested and not arrived:
                # A look only finds what an earlier one brought in: after a rest, one is not enough.
                self._collect_received(arrived)
            if self._unwanted:
                self._drop_unwanted()
            if self._outgoing and now - self._tested > RESTED_S:
                self._tested = now
                self._collect_sent()
        except MPI.Exception as error:
            self._note_failure(error)
        return arrived

    def unsent(self) -> int:
        """How many messages are still on their way out."""
        if self._outgoing:
            self._collect_sent()
        return len(self._outgoing)

    def gone(self) -> list[tuple[int, str]]:
        """Ranks of the run given up since the last call, and why."""
        found, self._newly_gone = self._newly_gone, []
        return found

    def _collect_sent(self) -> None:
        left = []
        for request, data in self._outgoing:
            try:
                if not request.Test():
                    left.append((request, data))
            except MPI.Exception as error:  # its receiver is dead: nothing is left to send
                self._note_failure(error)
        self._outgoing = left

    def _drop_unwanted(self) -> None:
        pending, self._unwanted = self._unwanted, []
        for request in pending:
            try:
                if not request.Test():
                    self._unwanted.append(request)
            except MPI.Exception as error:
                self._note_failure(error)

    def _collect_received(self, arrived: list[Packet]) -> None:
        """Add what has arrived; what is in the list stays there, also when a dead peer is reported."""
        while (message := self.comm.Improbe(MPI.ANY_SOURCE, MPI.ANY_TAG, self._status)) is not None:
            source = self._status.source
            try:
                self._begin(message, self._status)
                self._deliver(source, self._incoming[source], arrived)
            except PeerError as error:
                self._give_up(source, f"it sent {error}")
        for source, line in list(self._incoming.items()):
            if line:
                try:
                    self._deliver(source, line, arrived)
                except PeerError as error:
                    self._give_up(source, f"it sent {error}")

    def _begin(self, message: MPI.Message, status: MPI.Status) -> None:
        """Start to receive what was probed; a slice belongs to the newest packet of its source."""
        size, line = status.Get_count(MPI.BYTE), self._incoming.setdefault(status.source, deque())
        if status.tag == SLICE:
            try:
                room = _room_for_slice(line, size)
            except PeerError:
                # What was probed has to be received, or its sender may wait for ever.
                self._unwanted.append(message.Irecv([bytearray(size), MPI.BYTE]))
                raise
            line[-1].requests.append(message.Irecv([room, MPI.BYTE]))
        else:
            body = bytearray(size)
            request = message.Irecv([body, MPI.BYTE])
            line.append(_Incoming(body, request, headed=status.tag == HEADED))

    def _deliver(self, source: int, line: deque[_Incoming], arrived: list[Packet]) -> None:
        while line and line[0].settle():
            packet = line.popleft()
            arrived.append(Packet(self.ids[source], packet.body, packet.buffers))

    def _give_up(self, place: int, why: str) -> None:
        if place not in self._gone:
            self._gone.add(place)
            self._newly_gone.append((self.ids[place], why))
            for packet in self._incoming.pop(place, ()):
                self._unwanted += packet.requests  # MPI may still write into their buffers

    def _note_failure(self, error: MPI.Exception) -> None:
        """With ULFM a dead peer is told as an error: acknowledge it and go on. Anything else is raised."""
        if error.Get_error_class() not in _PEER_IS_DEAD:
            # As a rule a peer died, where no death is survived: the launcher ends the job for it, and tells
            # of it unless the end of this rank comes first.
            time.sleep(LAUNCHER_FIRST_S)
            raise error
        self.comm.Ack_failed(self.comm.size)
        group = self.comm.Get_failed()
        places = MPI.Group.Translate_ranks(group, list(range(group.size)), self.comm.Get_group())
        for place in places:
            self._give_up(place, DIED)


class LinkToOne(MpiLink):
    """Between the hub and one rank that it shares no other communicator with, since one of them joined later.

    ``words`` is for what they pass on of others.
    """

    def __init__(self, comm: MPI.Intracomm, ids: Sequence[int]) -> None:
        super().__init__(comm, ids)
        self.words = comm.Dup()


def _room_for_slice(line: deque[_Incoming], size: int) -> Buffer:
    if not line:
        raise PeerError("a slice of a packet that was never announced")
    return line[-1].room_for_slice(size)


_PEER_IS_DEAD = frozenset(
    getattr(MPI, name) for name in ("ERR_PROC_FAILED", "ERR_PROC_FAILED_PENDING") if hasattr(MPI, name)
)
