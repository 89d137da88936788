"""Checks of what the machine offers: cores, memory, shared memory, threads, and who is asking.

Knows nothing of MPI and of runs.
"""

import os
import shutil
from pathlib import Path

from mpiexec_runner.app.checks.finding import Finding, in_size, ok, warning
from mpiexec_runner.execute import machine

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the place itself is looked at
_SEGMENT_BYTES = 16 * 2**20
"""What a rank of Open MPI was seen to take there."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def check_cores(_: Path) -> list[Finding]:
    """Compare the cores and the memory that this process may use with those that there are."""
    quota = machine.find_cpu_quota()
    usable, affinity, there = machine.usable_cores(), machine.affinity_cores(), os.cpu_count() or 1
    quota_text = "no quota" if quota is None else f"quota {quota:g}"
    text = f"{usable} usable of {there} (affinity {affinity}, {quota_text}) on {machine.host_name()}"
    cores = ok("cores", text)
    if quota is not None and quota < affinity:
        remedy = f"start no more than {usable + 1} ranks here, or raise the container's or job's CPU limit"
        cores = warning("cores", f"{text}: work beyond the quota is held back by the kernel", remedy)
    limit = machine.usable_memory_bytes()
    memory = f"{in_size(limit)} usable of {in_size(machine.machine_memory_bytes())}"
    return [cores, ok("memory", memory)]


def check_shared_memory(_: Path) -> list[Finding]:
    """Look whether ranks on this machine have room to exchange messages in shared memory."""
    if not _SHARED_MEMORY.is_dir():
        text = f"{_SHARED_MEMORY} is missing: ranks on one machine talk more slowly, or not at all"
        return [warning("shared memory", text, f"mount a tmpfs on {_SHARED_MEMORY}")]
    usage = shutil.disk_usage(_SHARED_MEMORY)
    text = f"{_SHARED_MEMORY}: {in_size(usage.free)} free of {in_size(usage.total)}"
    ranks = machine.usable_cores() + 1
    if usage.free < ranks * _SEGMENT_BYTES:
        remedy = (
            f"{ranks} ranks want {in_size(ranks * _SEGMENT_BYTES)}: remove what killed jobs left there, or "
            "give the container more (docker run --shm-size=1g)"
        )
        return [warning("shared memory", text, remedy)]
    return [ok("shared memory", text)]


def check_user(_: Path) -> list[Finding]:
    """Look whether this is the superuser."""
    if os.geteuid() == 0:
        text = "running as root: a mistake in a task can harm the whole machine"
        return [
            warning("user", text, "use an ordinary account; in a throw-away container it does not matter")
        ]
    return [ok("user", f"uid {os.geteuid()}")]


def check_threads(_: Path) -> list[Finding]:
    """Look whether numerical libraries are held to one thread or take every core in every rank."""
    held = [f"{name}={os.environ[name]}" for name in _THREAD_VARIABLES if name in os.environ]
    if held:
        return [ok("threads", ", ".join(held))]
    text = (
        f"{_THREAD_VARIABLES[0]} is not set: each rank's numerical libraries may start "
        f"{machine.affinity_cores()} threads; set it to 1 where tasks are many and small"
    )
    return [ok("threads", text)]
