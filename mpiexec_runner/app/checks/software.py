"""Checks of Python, its packages, and HDF5.

Imports none of what it checks: a broken package must become a finding, not a traceback.
"""

import importlib.metadata
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from mpiexec_runner.app.checks.finding import Finding, error, ok
from mpiexec_runner.app.checks.places import nearest_folder

_PACKAGES = (
    "mpi4py", "numpy", "h5py", "PyYAML", "msgspec", "pydantic", "typer", "rich", "psutil", "cloudpickle",
)  # fmt: skip
_OLDEST_PYTHON = (3, 11)

_WRITE_AND_READ_BACK = """
import sys, h5py
with h5py.File(sys.argv[1], "w") as file:
    file["numbers"] = range(1000)
with h5py.File(sys.argv[1], "r") as file:
    total = int(file["numbers"][...].sum())
print(h5py.version.hdf5_version if total == 499500 else "")
"""
_HDF5_WITHIN_S = 30


def check_python(_: Path) -> list[Finding]:
    """Look at the interpreter and at the packages that this one needs."""
    where = f"Python {platform.python_version()} ({sys.executable})"
    findings = [
        ok("python", where)
        if sys.version_info[:2] >= _OLDEST_PYTHON
        else error("python", where, "use Python 3.11 or newer")
    ]
    versions = {name: _version(name) for name in _PACKAGES}
    missing = [name for name, version in versions.items() if not version]
    if missing:
        text = f"missing: {', '.join(missing)}"
        findings.append(error("packages", text, f"pip install {' '.join(missing)}"))
    else:
        findings.append(ok("packages", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return findings


def check_hdf5(directory: Path) -> list[Finding]:
    """Write an HDF5 file where runs are kept, and read it back, in a process of its own."""
    version = _version("h5py") or "missing"
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=nearest_folder(directory)) as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-c", _WRITE_AND_READ_BACK, str(Path(folder, "probe.h5"))],
                capture_output=True,
                text=True,
                timeout=_HDF5_WITHIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            text = f"h5py {version}: writing and reading a small file took more than {_HDF5_WITHIN_S} s"
            return [error("hdf5", text, "check the file system, or choose another with --run-dir")]
    if done.returncode == 0 and done.stdout.strip():
        return [ok("hdf5", f"h5py {version}, HDF5 {done.stdout.strip()}: written and read back")]
    why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    remedy = "pip install --force-reinstall h5py"
    if "lock" in why:
        remedy = "set HDF5_USE_FILE_LOCKING=FALSE, or choose another file system with --run-dir"
    return [error("hdf5", f"h5py {version}: {why}", remedy)]


def _version(package: str) -> str:
    """Tell a package's version; empty when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
