"""Finding the launcher that belongs to the MPI library of this Python.

Knows no run and no configuration, and starts nothing but ``--version`` questions. A launcher of another MPI
starts N processes that each believe to be alone; so what merely comes first on PATH is never trusted.
"""

import enum
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mpiexec_runner.errors import UserError
from mpiexec_runner.execute.environment import clean
from mpiexec_runner.transport.mpi_library import MpiLibrary, Vendor

ANSWER_WITHIN_S = 20.0
"""How long a launcher may take to tell its version; a cold network file system takes seconds."""


class Preference(enum.StrEnum):
    """What the user wants to be launched by."""

    AUTO = "auto"
    MPIEXEC = "mpiexec"
    SRUN = "srun"


class Launcher(msgspec.Struct, frozen=True):
    """A launcher that is known to fit the MPI library.

    ``kind`` is never ``AUTO``. ``ulfm`` tells whether it can keep a job alive when a rank dies;
    ``mpi_type`` is what ``srun --mpi=`` is to be given, empty for ``mpiexec``.
    """

    kind: Preference
    path: Path
    vendor: Vendor
    version: tuple[int, ...]
    ulfm: bool = False
    mpi_type: str = ""


_NAMES = {
    Vendor.OPEN_MPI: ("mpiexec", "mpirun", "mpiexec.openmpi"),
    Vendor.MPICH: ("mpiexec", "mpiexec.hydra", "mpiexec.mpich"),
    Vendor.INTEL_MPI: ("mpiexec", "mpiexec.hydra"),
    Vendor.OTHER: ("mpiexec",),
}

_VERSIONS = (
    (Vendor.OPEN_MPI, re.compile(r"\((?:Open MPI|OpenRTE)\) (\d+(?:\.\d+)*)")),
    (Vendor.MPICH, re.compile(r"HYDRA build details:\s+Version:\s+(\d+(?:\.\d+)*)")),
    (Vendor.INTEL_MPI, re.compile(r"Intel\(R\) MPI Library.*?Version (\d+(?:\.\d+)*)", re.DOTALL)),
)

# In order of preference. Seen: Open MPI 5 under pmi2 starts N singletons, MPICH 5 under pmix aborts.
_SRUN_TYPES = {
    Vendor.OPEN_MPI: ("pmix",),
    Vendor.MPICH: ("pmi2",),
    Vendor.INTEL_MPI: ("pmi2",),
    Vendor.OTHER: ("cray_shasta", "pmi2", "pmix"),
}

FIRST_WITH_ULFM = 5
"""The first major version of Open MPI whose launcher knows ``--with-ft ulfm``."""


def find_launcher(library: MpiLibrary, prefer: Preference | str, environ: Mapping[str, str]) -> Launcher:
    """Find the launcher for a library.

    Parameters
    ----------
    library
        What :func:`mpiexec_runner.transport.mpi_library.find_library` found.
    prefer
        ``mpiexec``, ``srun``, or ``auto``: ``mpiexec``, and ``srun`` inside a Slurm allocation where no
        ``mpiexec`` fits.
    environ
        Its ``PATH`` is searched, after the folders beside the library and beside this Python.

    Raises
    ------
    UserError
        When nothing fits; it lists what was found and why each was rejected.
    """
    prefer = Preference(prefer)
    if prefer is Preference.SRUN:
        return _find_srun(library, environ)
    rejected: list[str] = []
    for path in _candidates(library, environ):
        answer = _ask([str(path), "--version"], environ)
        vendor, version = read_version(answer)
        why = _mismatch(library, vendor, version, answer)
        if not why:
            ulfm = library.ulfm and version >= (FIRST_WITH_ULFM,)
            return Launcher(Preference.MPIEXEC, path, vendor, version, ulfm=ulfm)
        rejected.append(f"{path}: {why}")
    if prefer is Preference.AUTO and "SLURM_JOB_ID" in environ:
        try:
            return _find_srun(library, environ)
        except UserError as error:
            rejected.append(str(error))
    raise UserError(_nothing_fits(library, environ, rejected))


def read_version(answer: str) -> tuple[Vendor, tuple[int, ...]]:
    """Tell a launcher's family and version from what it prints for ``--version``."""
    for vendor, pattern in _VERSIONS:
        if found := pattern.search(answer):
            return vendor, tuple(int(part) for part in found[1].split("."))
    return Vendor.OTHER, ()


def choose_srun_type(vendor: Vendor, listed: str) -> str | None:
    """Choose what to give ``srun --mpi=`` from what ``srun --mpi=list`` prints; ``None`` if nothing fits."""
    offered = set(re.findall(r"\b(?:pmix(?:_v\d+)?|pmi2|cray_shasta)\b", listed))
    for wanted in _SRUN_TYPES[vendor]:
        # Some sites build only versioned ones: the newest of them.
        versions = sorted(name for name in offered if name.startswith(f"{wanted}_v"))
        if wanted in offered or versions:
            return wanted if wanted in offered else versions[-1]
    return None


def srun_types(vendor: Vendor) -> tuple[str, ...]:
    """Tell which ``srun --mpi=`` types a family of libraries can be started by, the best first."""
    return _SRUN_TYPES[vendor]


def _candidates(library: MpiLibrary, environ: Mapping[str, str]) -> list[Path]:
    found = [
        folder / name
        for folder in _searched(library, environ)
        for name in _NAMES[library.vendor]
        if shutil.which(folder / name) is not None
    ]
    return list(dict.fromkeys(found))


def _searched(library: MpiLibrary, environ: Mapping[str, str]) -> list[Path]:
    on_path = [Path(folder) for folder in environ.get("PATH", "").split(":") if folder]
    return [*library.bin_dirs, Path(sys.executable).parent, *on_path]


def _ask(argv: list[str], environ: Mapping[str, str]) -> str:
    """Run a question; an answer that cannot be had becomes a text that says why."""
    try:
        done = subprocess.run(
            argv,
            env=clean(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {ANSWER_WITHIN_S:g} s"
    except OSError as error:
        return f"cannot be started: {error.strerror}"
    return (done.stdout + b"\n" + done.stderr).decode(errors="replace").strip()


def _mismatch(library: MpiLibrary, vendor: Vendor, version: tuple[int, ...], answer: str) -> str:
    """Say why a launcher does not fit; empty when it does."""
    if vendor is Vendor.OTHER:
        first = (answer.splitlines() or ["it printed nothing"])[0]
        return f"not a launcher of an MPI that is known here ({first[:120]})"
    name = f"{vendor} {'.'.join(map(str, version))}"
    if vendor is not library.vendor:
        return f"belongs to {name}"
    # Hydra's wire protocol has been the same for decades; Open MPI changed its launcher from 4 to 5.
    if vendor is Vendor.OPEN_MPI and version[0] != library.version[0]:
        return f"belongs to {name}, another major version"
    return ""


def _find_srun(library: MpiLibrary, environ: Mapping[str, str]) -> Launcher:
    path = shutil.which("srun", path=environ.get("PATH", ""))
    if path is None:
        raise UserError("srun: not found on PATH. Is this a login or compute node of a Slurm cluster?")
    listed = _ask([path, "--mpi=list"], environ)
    mpi_type = choose_srun_type(library.vendor, listed)
    if mpi_type is None:
        wanted = " or ".join(_SRUN_TYPES[library.vendor])
        raise UserError(
            f"{path}: `srun --mpi=list` offers none of {wanted}, which {library.label} needs; it says: "
            f"{' '.join(listed.split())[:200]}. Use the library's own mpiexec inside sbatch or salloc."
        )
    return Launcher(Preference.SRUN, Path(path), library.vendor, (), mpi_type=mpi_type)


def _nothing_fits(library: MpiLibrary, environ: Mapping[str, str], rejected: list[str]) -> str:
    searched = ", ".join(str(folder) for folder in dict.fromkeys(_searched(library, environ)))
    found = "\n".join(f"  {line}" for line in rejected) or "  nothing"
    return (
        f"no launcher fits the MPI library that mpi4py uses, {library.label}. Found:\n{found}\n"
        f"Searched: {searched}.\n"
        "Put the library's own mpiexec on PATH (load the module that it comes from, or install "
        "`mpiexec-runner[openmpi]` or `mpiexec-runner[mpich]`), or start the ranks yourself: "
        "`LAUNCHER -n RANKS mpiexec-runner run ...`."
    )
