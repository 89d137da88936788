"""What has come from the workers: in the order of each, and none of it before its large values are on disk.

It knows neither the core nor what follows. Values are written beside the hub, which goes on listening: over
NFS that takes seconds. What a worker sends after a packet with values waits behind it, except heartbeats.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

import msgspec

from mpiexec_runner.errors import PeerError, StorageError
from mpiexec_runner.model.messages import Finished
from mpiexec_runner.model.tasks import BlobRef, Outcome
from mpiexec_runner.runtime.standstill import is_beat, results_in
from mpiexec_runner.storage.port import BlobPort
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.port import Packet

Value = tuple[BlobRef, list[memoryview]]


class _Parcel:
    """A packet with large values, and those that are not known to be on disk."""

    def __init__(self, packet: Packet, values: list[Value]) -> None:
        self.packet, self.values = packet, values
        self.puts: list[Future[BlobRef]] = []

    def is_kept(self) -> bool:
        """Whether all is on disk; ``StorageError`` when that failed, and then it is to be begun anew."""
        if not all(put.done() for put in self.puts):
            return False
        errors = [put.exception() for put in self.puts]
        self.values = [value for value, error in zip(self.values, errors, strict=True) if error is not None]
        self.puts = []
        for error in errors:
            if error is not None:
                raise error
        return True


class Intake:
    """Packets on their way into the hub.

    Parameters
    ----------
    blobs
        Where large values go.
    woken
        Called, from any thread, when there may be more that is ready.
    """

    def __init__(self, blobs: BlobPort, woken: Callable[[], None]) -> None:
        self._blobs, self._woken = blobs, woken
        self._ready: deque[Packet] = deque()
        # By rank, and only of ranks that wait: what is first in each queue is a parcel.
        self._waiting: dict[int, deque[Packet | _Parcel]] = {}

    def add(self, packets: Sequence[Packet]) -> None:
        """These have come."""
        for packet in packets:
            values = _values_in(packet)
            queue = self._waiting.get(packet.source)
            if values:
                parcel = _Parcel(packet, values)
                self._begin(parcel)
                self._waiting.setdefault(packet.source, deque()).append(parcel)
            elif queue is None or is_beat(packet):
                self._ready.append(packet)
            else:
                queue.append(packet)

    def ready(self) -> Iterator[Packet]:
        """What can be taken in now; one that is given out is done with when the next one is asked for.

        Raises
        ------
        StorageError
            A value cannot be written. :meth:`retry` does it again; nothing is lost meanwhile.
        """
        trouble: StorageError | None = None
        for rank in list(self._waiting):
            try:
                self._release(rank)
            except StorageError as error:
                trouble = trouble or error
        while self._ready:
            yield self._ready[0]
            self._ready.popleft()
        if trouble is not None:
            raise trouble

    def holds(self, rank: int) -> bool:
        """Whether something that a rank has sent waits for a value."""
        return rank in self._waiting

    def results(self) -> int:
        """How many results have come and are not taken in."""
        queued = (one for queue in self._waiting.values() for one in queue)
        packets = (one.packet if isinstance(one, _Parcel) else one for one in queued)
        return sum(map(results_in, (*self._ready, *packets)))

    def retry(self) -> None:
        """Write a value that could not be written; if that works, all the others are begun anew.

        Raises
        ------
        StorageError
            It still cannot be.
        """
        failed = [
            parcel
            for queue in self._waiting.values()
            if isinstance(parcel := queue[0], _Parcel) and parcel.values and not parcel.puts
        ]
        if failed:
            ref, parts = failed[0].values[0]
            self._blobs.put(ref.key, parts)
        for parcel in failed:
            self._begin(parcel)

    def _begin(self, parcel: _Parcel) -> None:
        parcel.puts = [self._blobs.begin_put(ref.key, parts) for ref, parts in parcel.values]
        for put in parcel.puts:
            put.add_done_callback(lambda _: self._woken())

    def _release(self, rank: int) -> None:
        """Make ready what no value of a rank stands before any longer."""
        queue = self._waiting[rank]
        while queue:
            first = queue[0]
            if isinstance(first, _Parcel):
                if not first.is_kept():
                    return
                first = first.packet
            self._ready.append(first)
            queue.popleft()
        del self._waiting[rank]


def name_values(message: Finished, buffers: Sequence[memoryview]) -> tuple[list[Outcome], list[Value]]:
    """The outcomes of a message as they are recorded, and the large values that came beside it.

    Raises
    ------
    PeerError
        They do not belong together.
    """
    outcomes: list[Outcome] = []
    values: list[Value] = []
    at = 0
    for outcome in message.outcomes:
        if outcome.blob is None:
            outcomes.append(outcome)
            continue
        parts = list(buffers[at : at + len(outcome.blob.sizes)])
        at += len(parts)
        if [part.nbytes for part in parts] != list(outcome.blob.sizes):
            raise PeerError(f"the result of task {outcome.task} without its buffers")
        ref = BlobRef(f"result-{outcome.task}-{outcome.attempt}", outcome.blob.sizes)
        outcomes.append(msgspec.structs.replace(outcome, blob=ref))
        values.append((ref, parts))
    return outcomes, values


def _values_in(packet: Packet) -> list[Value]:
    if not packet.buffers:
        return []
    try:
        messages = [message for message in codec.decode(packet.body) if isinstance(message, Finished)]
        return [value for message in messages for value in name_values(message, packet.buffers)[1]]
    except PeerError:
        return []  # who takes it in says so
