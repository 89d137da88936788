"""Parts of bytes over a stream socket, between a rank and its child processes.

A frame is the number of parts, their sizes, then the parts. Both ends are this package's own.
"""

import socket
import struct
from collections.abc import Generator, Sequence

from typing_extensions import Buffer


def send(sock: socket.socket, parts: Sequence[Buffer]) -> None:
    """Send one frame; waits for the reader as long as the socket's time-out allows."""
    views = [memoryview(part).cast("B") for part in parts]
    sock.sendall(struct.pack(f"<I{len(views)}Q", len(views), *(view.nbytes for view in views)))
    for view in views:
        sock.sendall(view)


class Reader:
    """Puts frames together from what a socket gives, in whatever pieces it comes.

    Parameters
    ----------
    sock
        With a nonblocking socket :meth:`read` returns at once; with a blocking one it waits.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frame = self._receive()
        self._view = next(self._frame)

    def read(self) -> list[memoryview] | None:
        """One frame, or ``None`` when it is not here yet.

        Raises
        ------
        EOFError
            When the other end is gone.
        """
        while True:
            try:
                got = self._sock.recv_into(self._view)
            except BlockingIOError:
                return None
            if not got:
                raise EOFError("the other end is gone")
            try:
                self._view = self._frame.send(got)
            except StopIteration as whole:
                self._frame = self._receive()
                self._view = next(self._frame)
                return whole.value  # type: ignore[no-any-return]

    def _receive(self) -> Generator[memoryview, int, list[memoryview]]:
        """Asks for one view after the other to be filled; is told how many bytes came."""
        (count,) = struct.unpack("<I", (yield from _fill(4)))
        sizes = struct.unpack(f"<{count}Q", (yield from _fill(8 * count)))
        parts = []
        for size in sizes:
            parts.append((yield from _fill(size)))  # noqa: PERF401 - no yield in a comprehension
        return parts


def _fill(size: int) -> Generator[memoryview, int, memoryview]:
    whole = memoryview(bytearray(size))
    filled = 0
    while filled < size:
        filled += yield whole[filled:]
    return whole
