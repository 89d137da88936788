"""The transport port: how packets travel between ranks. Adapters: ``mpi.py``, ``loopback.py``.

It knows bytes only; what they mean is ``codec.py``'s.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from typing_extensions import Buffer

DIED = "its process died"
"""Why a rank is given up whose process is no more: it, and no other, can be replaced."""


class Packet(NamedTuple):
    """What arrived: the sender's rank, a body, and large buffers that came beside it, in order."""

    source: int
    body: Buffer
    buffers: list[memoryview]


class Groups(Protocol):
    """Communicators of some ranks each, for tasks that several ranks run together."""

    def follow(self, hub: int) -> None:
        """Say what other ranks cannot hear directly through this hub from now on. From any thread."""

    def meet(
        self, ranks: tuple[int, ...], key: tuple[int, int], stopped: Callable[[], bool]
    ) -> object | None:
        """A communicator of exactly these ranks in this order, once all of them are here.

        To be called by each of them in its main thread, with the same ``key`` (task and attempt). ``None``
        when ``stopped`` came true before all were here.
        """

    def revoke(self) -> bool:
        """From any thread: end what the group does that has met here; whether this MPI can do so.

        All of its members leave what they wait for in its communicator with an error.
        """

    def lost(self) -> list[int]:
        """Ranks of the group that has met here which are dead, as far as this MPI tells."""

    def part(self, *, clean: bool) -> None:
        """The group is done. What was not ``clean`` leaves nothing that a later group could meet with."""


class Transport(Protocol):
    """A rank's post box. Packets from one source arrive whole and in the order in which they were sent.

    All methods may be called from several threads.
    """

    rank: int
    size: int
    threaded: bool
    """Whether threads other than the main one may use it (for heartbeats)."""
    neighbours: dict[int, bytes]
    """The ranks on this host, this one among them, and what each said of itself when they met."""
    groups: "Groups | None"
    """How several ranks run one task; ``None`` where that is not possible."""

    def leads_to(self, rank: int) -> bool:
        """Whether what is sent to a rank goes anywhere. Ranks that joined later know their hubs alone."""

    def send(self, dest: int, body: Buffer, buffers: Sequence[Buffer] = ()) -> None:
        """Start to send; never waits for the receiver. The buffers must not change until it is through.
        What is sent to a dead rank is dropped."""

    def receive(self) -> list[Packet]:
        """All that has arrived, without waiting; also keeps outgoing packets moving."""

    def unsent(self) -> int:
        """How many packets are still on their way out."""

    def gone(self) -> list[tuple[int, str]]:
        """Ranks found dead, or talking nonsense, since the last call, and why each is given up."""

    def close(self, *, orderly: bool) -> None:
        """End; ``orderly`` says that every other rank will do so too, in which case it may wait for them."""
