"""Files that are whole or not there: written aside, fsynced, renamed; and errors of the disk in plain words.

Nothing here knows what is in a file.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from typing_extensions import Buffer

from mpiexec_runner.errors import StorageError, StorageFull

ROOM_BYTES = 2**16
"""A file system that takes less than this is full."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REMEDIES = {
    errno.ENOSPC: "make room on that file system",
    errno.EDQUOT: "your quota is used up: make room, or ask for more",
    errno.EROFS: "the file system is mounted read-only: choose another directory",
    errno.EACCES: "check who owns it and its permissions",
    errno.EPERM: "check who owns it and its permissions",
    errno.EIO: "the disk or the file server failed: try again later, and tell its administrator",
    errno.ESTALE: "the file server forgot the file: check that the directory is still mounted",
    errno.EFBIG: "a limit on the size of files was met: raise it (ulimit -f)",
    errno.ENOENT: "it does not exist: see whether it was moved or deleted",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n)",
}


def storage_error(what: str, path: Path, error: OSError) -> StorageError:
    """``error`` as a :class:`StorageError` that says what failed, on which path, and what to do.

    Parameters
    ----------
    what
        What was being done, as "cannot ..." goes on: ``"write"``, ``"read"``.
    path
        The file or directory concerned.
    error
        What the system said.

    Returns
    -------
    StorageError
        A :class:`StorageFull` where nothing is missing but room.
    """
    reason = os.strerror(error.errno) if error.errno else str(error)
    remedy = _REMEDIES.get(error.errno or 0)
    kind = StorageFull if error.errno in _FULL else StorageError
    return kind(f"cannot {what} {path}: {reason}" + (f"; {remedy}" if remedy else ""))


def write_all(fd: int, data: Buffer) -> None:
    """Write all of ``data``, however many calls it takes."""
    rest = memoryview(data).cast("B")
    while rest.nbytes:
        rest = rest[os.write(fd, rest) :]


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable (fsync(2): syncing a file does not sync its entry)."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some file systems cannot sync a directory, and say so; there the rename itself is the promise.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


def temporary_name(path: Path) -> Path:
    """A name beside ``path`` for what will become it; hidden, and ending in ``.tmp``."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary name; what was written there when the block ends becomes ``path``, durably.

    An old ``path`` stays whole until the new one is on disk. When the block raises, nothing remains.

    Raises
    ------
    StorageError
        The disk refused; ``path`` is as it was.
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        fd = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise storage_error("write", path, error) from error
    finally:
        remove_quietly(temporary)


def write_bytes(path: Path, *parts: Buffer, mode: int = 0o600) -> None:
    """Make ``path`` hold ``parts``, one behind the other: all of it or, on an error, what was there before.

    Raises
    ------
    StorageError
        The disk refused; ``path`` is as it was.
    """
    with written_aside(path) as temporary:
        _write_new(temporary, parts, mode)


def write_text(path: Path, text: str, *, mode: int = 0o600) -> None:
    """As :func:`write_bytes`, in UTF-8."""
    write_bytes(path, text.encode(), mode=mode)


def create_exclusively(path: Path, data: Buffer, *, mode: int = 0o600, durable: bool = True) -> bool:
    """Make ``path`` hold ``data`` unless it exists; whether it was made. Of many callers, one makes it.

    The name appears with the whole content or not at all. A hard link arbitrates, which holds on NFS too,
    where ``O_EXCL`` once did not (open(2), O_EXCL). Without ``durable`` that is so until the host dies: who
    wants more syncs the file and its directory.

    Raises
    ------
    StorageError
        The disk refused; nothing was made.
    """
    temporary = temporary_name(path)
    try:
        if durable:
            write_bytes(temporary, data, mode=mode)
        else:
            _write_new(temporary, (data,), mode)
        try:
            os.link(temporary, path)
        except FileExistsError:
            # The answer of an NFS server can get lost and the request be repeated: the count of links tells.
            return temporary.stat().st_nlink == 2
        if durable:
            sync_directory(path.parent)
    except OSError as error:
        raise storage_error("create", path, error) from error
    else:
        return True
    finally:
        remove_quietly(temporary)


def check_room(directory: Path) -> None:
    """See whether a file system takes anything; nothing is left there.

    Raises
    ------
    StorageError
        It does not: a :class:`StorageFull` where it has no room for :data:`ROOM_BYTES`.
    """
    temporary = temporary_name(directory / "room")
    try:
        _write_new(temporary, (bytes(ROOM_BYTES),), 0o600)
    except OSError as error:
        raise storage_error("write to", directory, error) from error
    finally:
        remove_quietly(temporary)


def replace_symlink(link: Path, target: str) -> None:
    """Make ``link`` a symbolic link to ``target``, in one step; there is no moment without it.

    Raises
    ------
    StorageError
        The disk refused, or something else than a link has that name; it is as it was.
    """
    temporary = temporary_name(link)
    try:
        if link.exists() and not link.is_symlink():
            raise StorageError(f"{link} is in the way: it should be a symbolic link; move it")
        temporary.symlink_to(target)
        temporary.replace(link)
    except OSError as error:
        raise storage_error("create", link, error) from error
    finally:
        remove_quietly(temporary)


def remove_quietly(path: Path) -> None:
    """Remove a file of ours that is of no use any more; that it cannot be removed matters to nobody."""
    with contextlib.suppress(OSError):
        path.unlink()


def _write_new(path: Path, parts: Iterable[Buffer], mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        for part in parts:
            write_all(fd, part)
    finally:
        os.close(fd)
