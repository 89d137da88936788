"""Checks of the file system that runs are kept on.

Knows nothing of what a run writes there, only the operations that its safety stands on: a new file is either
whole or absent (write aside, fsync, rename), and of two processes one gets the lease (hard link).
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mpiexec_runner.app.checks.finding import Finding, error, in_size, ok, warning

_SLOW_SYNC_MS = 50
_SYNCS = 5
_LITTLE_ROOM_BYTES = 2**30
_IN_MEMORY = ("tmpfs", "ramfs")
_ELSEWHERE = "choose a folder on another file system with --run-dir"


def nearest_folder(path: Path) -> Path:
    """Find the folder itself or, where it is yet to be made, the one above it that exists."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path


def check_file_system(directory: Path) -> list[Finding]:
    """Try in the folder what a run needs of its file system; leaves nothing behind."""
    folder = nearest_folder(directory)
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as place:
            return [_describe(folder), _try_names(Path(place)), _time_sync(Path(place)), _room(folder)]
    except OSError as failure:
        remedy = f"make it writable, or {_ELSEWHERE}"
        return [error("run directory", f"cannot write in {folder}: {failure.strerror}", remedy)]


def find_mount(path: Path, mounts: str) -> tuple[str, str]:
    """Find mount point and type of the file system of a resolved path, in the format of ``proc_mounts(5)``.

    Both are empty when the table does not tell.
    """
    best = ("", "")
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split()
        point = point.replace(r"\040", " ")
        # Of several on one point the last was mounted over the others.
        if path.is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, kind)
    return best


def _describe(folder: Path) -> Finding:
    point, kind = find_mount(folder.resolve(), Path("/proc/mounts").read_text(encoding="utf-8"))
    text = f"{folder}, on {kind or 'an unknown file system'} ({point or '?'})"
    if kind in _IN_MEMORY:
        remedy = f"good for a test; for a run that must survive this machine, {_ELSEWHERE}"
        return warning("run directory", f"{text}: in memory, gone when this machine stops", remedy)
    return ok("run directory", text)


def _try_names(place: Path) -> Finding:
    source, target, link = place / "source", place / "target", place / "link"
    target.write_bytes(b"old")
    source.write_bytes(b"new")
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("rename over a file", lambda: source.replace(target)),
        ("sync of a folder", lambda: _sync_folder(place)),
        ("hard link", lambda: os.link(target, link)),
    )
    for what, step in steps:
        try:
            step()
        except OSError as failure:
            text = f"{what} does not work here: {failure.strerror}"
            return error("file operations", text, f"a run cannot be kept safe here: {_ELSEWHERE}")
    if link.read_bytes() != b"new":
        text = "a renamed file has its old content"
        return error("file operations", text, f"a run cannot be kept safe here: {_ELSEWHERE}")
    return ok("file operations", "create, fsync, rename and hard link work")


def _sync_folder(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _time_sync(place: Path) -> Finding:
    times_s = []
    with Path(place, "sync").open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(file.fileno())
            times_s.append(time.perf_counter() - began)
    typical_ms, worst_ms = statistics.median(times_s) * 1e3, max(times_s) * 1e3
    text = f"fsync takes {typical_ms:.1f} ms (worst of {_SYNCS}: {worst_ms:.1f} ms)"
    if typical_ms > _SLOW_SYNC_MS:
        remedy = f"results become durable more slowly; raise checkpoint intervals, or {_ELSEWHERE}"
        return warning("fsync", text, remedy)
    return ok("fsync", text)


def _room(folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    text = f"{in_size(usage.free)} free of {in_size(usage.total)}"
    if usage.free < _LITTLE_ROOM_BYTES:
        return warning("free space", text, f"make room, or {_ELSEWHERE}")
    return ok("free space", text)
