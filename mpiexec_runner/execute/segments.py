"""Shared memory that an MPI library leaves behind when a rank ends without MPI's Finalize.

It knows files and processes, and no MPI. Open MPI and MPICH give each rank, or each host, a file in /dev/shm,
16 MiB and more, which lives until the host is booted if nobody removes it. Whose a file is its name does not
tell; but a rank has those of its own job mapped, and no others (``proc_pid_maps(5)``).
"""

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path

_MAPPED = re.compile(r" (/dev/shm/(?:sm_segment\.|vader_segment\.|mpich_shm_)\S+)$", re.MULTILINE)


def find_segments(pid: int | None = None) -> set[str]:
    """The segments of the job to which a process belongs; of this one when left out."""
    try:
        maps = Path(f"/proc/{pid or 'self'}/maps").read_text(errors="replace")
    except OSError:  # it is gone, or another user's
        return set()
    return set(_MAPPED.findall(maps))


def remove_segments(segments: Iterable[str]) -> None:
    """Remove segments of a job that is over; whoever still has them mapped does not notice."""
    for segment in segments:
        with contextlib.suppress(OSError):  # most were removed by their owners
            Path(segment).unlink()
