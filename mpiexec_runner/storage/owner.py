"""Who owns a run directory, and whether that process is still alive.

Nothing here takes or gives ownership: that is ``lease.py``.
"""

import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mpiexec_runner.errors import StorageError
from mpiexec_runner.storage.atomic import remove_quietly, storage_error, temporary_name

STALE_S = 60.0
"""Seconds without a renewal after which an owner on another host counts as gone."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who has the run directory.

    ``pid_start`` is when the process began, in clock ticks since boot (proc(5), field 22), so that another
    process with the same pid is recognised. ``machine`` tells apart hosts, boots and containers that share
    a host name: within one machine a pid means one process. ``taken`` is UTC. ``rank`` is that of the process
    in its MPI job, and ``life`` the epoch of the first owner in this job: the epochs from there on are hubs
    that followed one another.
    """

    host: str
    pid: int
    pid_start: int
    machine: str
    job_id: str
    epoch: int
    taken: str
    released: bool = False
    rank: int = 0
    life: int = 0

    def __str__(self) -> str:
        job = f" (job {self.job_id})" if self.job_id else ""
        return f"pid {self.pid} on {self.host}{job}, since {self.taken}"


def find_owner(directory: Path) -> Owner | None:
    """The newest owner of a run directory, also one that has released it or is dead; ``None`` if never owned.

    Raises
    ------
    StorageError
        The record of the owner cannot be read.
    """
    found = [_read(path) for _, path in claims(directory)]
    # Last, so that of equal epochs it wins: it is the one that says "released".
    found.append(_read(directory / "owner"))
    owners = [owner for owner in found if owner is not None]
    newest = max((owner.epoch for owner in owners), default=0)
    return next((owner for owner in reversed(owners) if owner.epoch == newest), None)


def is_alive(directory: Path, owner: Owner) -> bool:
    """Whether ``owner``, read from ``directory``, still works.

    Told by its process where that can be seen from here, else by its last sign of life.

    Raises
    ------
    StorageError
        The disk refused.
    """
    if owner.released:
        return False
    if is_here(owner):
        return _start_of(owner.pid) == owner.pid_start
    return _seconds_since_renewal(directory, owner) < STALE_S


def is_here(owner: Owner) -> bool:
    """Whether the process of ``owner`` can be seen from here."""
    return owner.machine == _machine() != ""


def this_process(epoch: int, rank: int = 0, life: int = 0) -> Owner:
    """This process as the owner of ``epoch``; without ``life``, as the first one of its job."""
    pid = os.getpid()
    return Owner(
        host=socket.gethostname(),
        pid=pid,
        pid_start=_start_of(pid) or 0,
        machine=_machine(),
        job_id=os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID") or "",
        epoch=epoch,
        taken=datetime.now(UTC).isoformat(timespec="microseconds"),
        rank=rank,
        life=life or epoch,
    )


def claims(directory: Path) -> Iterator[tuple[int, Path]]:
    """The epochs that were claimed, with their files."""
    try:
        for path in sorted(directory.glob("owner.*")):
            if path.suffix[1:].isdecimal():
                yield int(path.suffix[1:]), path
    except OSError as error:
        raise storage_error("read", directory, error) from error


def _read(path: Path) -> Owner | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Owner)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error("read", path, error) from error
    except msgspec.MsgspecError as error:
        raise StorageError(
            f"{path} does not say who owns the run ({error}): if nobody does, remove that file and try again"
        ) from error


def _machine() -> str:
    """Host, boot and pid namespace: where they are equal, equal pids mean the same process.

    Empty without a ``/proc`` like Linux's; then only signs of life count.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start_of(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; ``None`` if there is none, or only its corpse."""
    try:
        # The name in the second field may hold anything; the last ")" ends it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise storage_error("read", Path(f"/proc/{pid}/stat"), error) from error
    return None if fields[0] in "ZX" else int(fields[19])


def _seconds_since_renewal(directory: Path, owner: Owner) -> float:
    probe = temporary_name(directory / "owner")
    try:
        probe.write_bytes(b"?")
        now = probe.stat().st_mtime
        signs = [directory / "owner", directory / f"owner.{owner.epoch}"]
        return now - max(path.stat().st_mtime for path in signs if path.exists())
    except OSError as error:
        raise storage_error("write", directory, error) from error
    finally:
        remove_quietly(probe)
