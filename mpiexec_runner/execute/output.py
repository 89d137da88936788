"""Limits on what is kept of a program's output: its beginning and its end.

The files are open for appending by the program at the same time, so they are changed in place.
"""

import os
from typing import IO

TAIL_BYTES = 64 * 1024


def tail(stream: IO[bytes], limit_bytes: int = TAIL_BYTES) -> str:
    """The last ``limit_bytes`` of a file, as text; bytes that are no UTF-8 are replaced."""
    size = os.fstat(stream.fileno()).st_size
    data = os.pread(stream.fileno(), limit_bytes, max(0, size - limit_bytes))
    return data.decode(errors="replace")


def trim(stream: IO[bytes], limit_bytes: int) -> None:
    """Keep half of ``limit_bytes`` from the beginning of a file and half from its end, with a notice between.

    What the program writes in this very moment may fall into the gap as well. It goes on behind the end.
    """
    descriptor = stream.fileno()
    size, half = os.fstat(descriptor).st_size, limit_bytes // 2
    end = os.pread(descriptor, half, size - half)
    notice = (
        f"\n[... {size - 2 * half} bytes were left out here: the limit of max_output is {limit_bytes} ...]\n"
    )
    os.ftruncate(descriptor, half)
    os.write(descriptor, notice.encode() + end)
