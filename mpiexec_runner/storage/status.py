"""How a run stands and how it ended: the file that decides whether it has succeeded.

A launcher's exit code proves nothing: it may be 0 when a node was lost. Nothing here decides; it is told.
"""

import enum
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mpiexec_runner.errors import StorageError
from mpiexec_runner.storage.atomic import storage_error, write_bytes

VERSION = 1


class RunPhase(enum.StrEnum):
    """Where a run is in its life."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"
    STARVED = "starved"
    BROKEN = "broken"


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one life of a run.

    ``exit_code`` is ``None`` while it runs; ``counts`` is tasks by state; ``started`` and ``ended`` are UTC
    in ISO 8601, empty if not yet; ``why`` explains any end but a complete one.
    """

    version: int = VERSION
    state: RunPhase
    epoch: int
    ranks: int
    exit_code: int | None = None
    counts: dict[str, int] = {}
    started: str = ""
    ended: str = ""
    why: str = ""


def utc_now() -> str:
    """The time now, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_status(path: Path, status: RunStatus) -> None:
    """Replace the status file, durably.

    Raises
    ------
    StorageError
        The disk refused; the old one is still there.
    """
    write_bytes(path, msgspec.json.format(msgspec.json.encode(status), indent=2) + b"\n")


def find_status(path: Path) -> RunStatus | None:
    """What the status file says; ``None`` when there is none yet.

    Raises
    ------
    StorageError
        It is damaged, of a newer version, or cannot be read.
    """
    try:
        content = path.read_bytes()
        if msgspec.json.decode(content, type=_Version).version > VERSION:
            raise StorageError(f"{path} was written by a newer version of mpiexec-runner: use that one")
        return msgspec.json.decode(content, type=RunStatus)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error("read", path, error) from error
    except msgspec.MsgspecError as error:
        raise StorageError(
            f"{path} is damaged ({error}): remove it, the journal has all that it says"
        ) from error


class _Version(msgspec.Struct):
    version: int = VERSION
