"""What this process may really use of its machine: cores, memory, and the machine's name.

Knows no ranks and no configuration. ``os.cpu_count()`` tells what the machine has; a container, a batch job
or ``taskset`` may leave a process much less of it, through its CPU affinity and through control groups.

Sources: ``sched_setaffinity(2)``, ``cgroups(7)``; the Linux kernel's "Control Group v2" (``cpu.max``,
``memory.max``) and v1 documents (``cpu.cfs_quota_us``, ``memory.limit_in_bytes``).
"""

import math
import os
import socket
from collections.abc import Iterator
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")

# Version 1 writes "no limit" as the largest multiple of a page; no machine has an exbibyte.
_NO_LIMIT_BYTES = 2**60


def host_name() -> str:
    """Name this machine as its kernel does, without the domain."""
    return socket.gethostname().partition(".")[0]


def affinity_cores() -> int:
    """Count the cores that this process may be scheduled on."""
    return len(os.sched_getaffinity(0))


def usable_cores() -> int:
    """Count the cores that this process can keep busy: affinity, cut by a control group's quota.

    A quota of a fraction counts as the next whole core; the result is never below 1.
    """
    quota = find_cpu_quota()
    return affinity_cores() if quota is None else max(1, min(affinity_cores(), math.ceil(quota)))


def machine_memory_bytes() -> int:
    """Tell the memory of the machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def usable_memory_bytes() -> int:
    """Tell how much memory this process and its kin may use at most, in bytes."""
    limit = find_memory_limit_bytes()
    return machine_memory_bytes() if limit is None else min(machine_memory_bytes(), limit)


def find_cpu_quota(own: Path = _OWN_CGROUPS, root: Path = CGROUP_ROOT) -> float | None:
    """Find the tightest CPU quota above this process, in cores; ``None`` when there is none."""
    quotas = [
        quota / period
        for folder in _folders("cpu", own, root)
        for quota, period in (_cpu_limit(folder),)
        if quota > 0 and period > 0
    ]
    return min(quotas, default=None)


def find_memory_limit_bytes(own: Path = _OWN_CGROUPS, root: Path = CGROUP_ROOT) -> int | None:
    """Find the tightest memory limit above this process, in bytes; ``None`` when there is none."""
    limits = [
        limit
        for folder in _folders("memory", own, root)
        for name in ("memory.max", "memory.limit_in_bytes")
        for limit in _numbers(folder / name)[:1]
        if 0 < limit < _NO_LIMIT_BYTES
    ]
    return min(limits, default=None)


def _folders(controller: str, own: Path, root: Path) -> Iterator[Path]:
    """Yield the folders of the process's control group and of all above it, as far as they can be seen.

    In a container the path is often one of the host's that is not mounted here; what then counts is the
    mounted top, which is the container's own group.
    """
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # Version 2 has one tree and names no controllers; version 1 has a tree for each set of them.
        mounts = [root / controllers, root / controller] if controllers else [root, root / "unified"]
        for mount in dict.fromkeys(mounts):
            folder = Path(os.path.normpath(f"{mount}/{path}"))
            folder = folder if folder.is_relative_to(mount) else mount
            while folder.is_relative_to(mount):
                yield folder
                folder = folder.parent


def _cpu_limit(folder: Path) -> tuple[int, int]:
    """Quota and period in microseconds; a quota that is not positive means none."""
    both = _numbers(folder / "cpu.max")
    if len(both) == 2:  # "max 100000" has one number
        return both[0], both[1]
    quota, period = _numbers(folder / "cpu.cfs_quota_us"), _numbers(folder / "cpu.cfs_period_us")
    return (quota[0], period[0]) if quota and period else (0, 0)


def _numbers(path: Path) -> list[int]:
    return [int(word) for word in _read(path).split() if word.lstrip("-").isdigit()]


def _read(path: Path) -> str:
    """Read a file of the kernel, or nothing where this kernel or container does not show it."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
