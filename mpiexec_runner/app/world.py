"""Whether this process was launched as a rank, by whom, and how many ranks there should be.

Reads environments only; starts nothing and never touches MPI. What launchers put there: Open MPI's
``mpirun(1)``, MPICH's hydra, ``srun(1)`` ("OUTPUT ENVIRONMENT VARIABLES"), HPE's PALS, PBS's ``qsub(1B)``.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mpiexec_runner.app.launcher import Preference, find_launcher, srun_types
from mpiexec_runner.errors import UserError
from mpiexec_runner.execute.machine import usable_cores
from mpiexec_runner.transport.mpi_library import MpiLibrary, Vendor, find_library

# Slurm numbers the batch script, the shell of salloc and the like as steps from here on.
_FIRST_SPECIAL_STEP = 0xFFFFFFF0

_OPEN_MPI = "Open MPI's mpiexec"
_HYDRA = "hydra (mpiexec of MPICH or Intel MPI)"


class LaunchedBy(msgspec.Struct, frozen=True):
    """What the environment says of the launch: how many ranks, who started them, which variable said so.

    Where a launcher tells only a rank's number or the ranks of one node, ``ranks`` is the least there can be.
    """

    ranks: int
    launcher: str
    variable: str


def launched_ranks(environ: Mapping[str, str]) -> LaunchedBy | None:
    """Tell from the environment whether this process was started as a rank; ``None`` if it was not.

    A batch script is no rank. Nor is the only task of a Slurm step (``srun --pty bash``), unless an
    ``mpiexec`` started it there: whoever works in it can launch ranks of their own.
    """
    if ranks := _count(environ, "OMPI_COMM_WORLD_SIZE"):
        return LaunchedBy(ranks, _OPEN_MPI, "OMPI_COMM_WORLD_SIZE")
    hydra = "MPI_LOCALNRANKS" in environ or "HYDI_CONTROL_FD" in environ
    # mpiexec starts one task of a step on each node, below which the ranks run: the step then counts nodes.
    if in_slurm_step(environ) and not hydra and "PALS_RANKID" not in environ:
        tasks = _count(environ, "SLURM_STEP_NUM_TASKS") or _count(environ, "SLURM_NTASKS") or 1
        kind = environ.get("SLURM_MPI_TYPE", "")
        launcher = f"srun --mpi={kind}" if kind else "srun"
        return LaunchedBy(tasks, launcher, "SLURM_STEP_NUM_TASKS") if tasks > 1 else None
    launcher = "PALS" if "PALS_RANKID" in environ else _HYDRA if hydra else "PMI"
    for variable in ("PMI_SIZE", "MPI_LOCALNRANKS"):
        if ranks := _count(environ, variable):
            return LaunchedBy(ranks, launcher, variable)
    for variable in ("PALS_RANKID", "PMIX_RANK"):
        if environ.get(variable, "").isdigit():
            launcher = "PALS" if variable == "PALS_RANKID" else "a PMIx launcher"
            return LaunchedBy(int(environ[variable]) + 1, launcher, variable)
    return None


def in_slurm_step(environ: Mapping[str, str]) -> bool:
    """Whether this process is a task of a step that ``srun`` started; a batch script is not."""
    step = environ.get("SLURM_STEP_ID") or environ.get("SLURM_STEPID") or ""
    return step.isdigit() and int(step) < _FIRST_SPECIAL_STEP and "SLURM_PROCID" in environ


def check_launcher_fits(environ: Mapping[str, str]) -> None:
    """Refuse a launcher of another MPI before MPI is initialised.

    Some libraries abort below a foreign launcher with a message that helps nobody (MPICH 5 below Open MPI's
    mpiexec: "unsupported PMI version"), others end in the trap that :func:`check_not_singleton` finds later.

    Raises
    ------
    UserError
        When several ranks were started by a launcher that cannot belong to the library.
    """
    launched = launched_ranks(environ)
    if launched is None or launched.ranks == 1 or launched.launcher not in (_OPEN_MPI, _HYDRA):
        return
    library = find_library()
    if (launched.launcher == _OPEN_MPI) is (library.vendor is Vendor.OPEN_MPI):
        return
    raise UserError(_mixed(launched, library, environ, f"is {library.label}"))


def check_not_singleton(environ: Mapping[str, str], world_size: int) -> None:
    """Refuse to be one of N processes that each believe to be alone.

    Parameters
    ----------
    environ
        The environment of this process.
    world_size
        The size of the world communicator, as the MPI library sees it.

    Raises
    ------
    UserError
        When the environment speaks of several ranks and the library sees one: the launcher belongs to
        another MPI, or passes nothing that this library understands.
    """
    launched = launched_ranks(environ)
    if launched is None or launched.ranks == 1 or world_size > 1:
        return
    library = find_library()
    raise UserError(_mixed(launched, library, environ, f"({library.label}) sees one rank only"))


def allocated_slots(environ: Mapping[str, str]) -> int | None:
    """Count the ranks that the batch system gave this job room for; ``None`` outside a job.

    Slurm: ``SLURM_NTASKS``, else the sum of ``SLURM_TASKS_PER_NODE``. PBS: the lines of ``PBS_NODEFILE``.

    Raises
    ------
    UserError
        When the file that ``PBS_NODEFILE`` names cannot be read.
    """
    if "SLURM_JOB_ID" in environ:
        return (
            _count(environ, "SLURM_NTASKS") or sum_per_node(environ.get("SLURM_TASKS_PER_NODE", "")) or None
        )
    if nodefile := environ.get("PBS_NODEFILE"):
        try:
            lines = Path(nodefile).read_text(encoding="utf-8").split()
        except OSError as error:
            raise UserError(
                f"PBS_NODEFILE names {nodefile}, which cannot be read ({error.strerror}): give the number "
                "of ranks with -n, or unset PBS_NODEFILE outside a job"
            ) from error
        return len(lines) or None
    return None


def default_ranks(environ: Mapping[str, str]) -> int:
    """Choose how many ranks to start when the user does not say.

    In a batch job as many as it has room for. Elsewhere one more than there are usable cores: rank 0, the
    hub, sleeps most of the time, and the others keep every core busy.
    """
    return allocated_slots(environ) or usable_cores() + 1


def sum_per_node(text: str) -> int:
    """Sum Slurm's compressed list of numbers per node, such as ``2(x3),1``."""
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?(?:,|$)", text)
    return sum(int(number) * int(times or 1) for number, times in parts)


def _count(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    return int(text) if text.isdigit() and int(text) > 0 else None


def _mixed(launched: LaunchedBy, library: MpiLibrary, environ: Mapping[str, str], what: str) -> str:
    return (
        f"{launched.launcher} started {launched.ranks} processes ({launched.variable}), but the MPI library "
        f"that mpi4py uses {what}: launcher and library do not belong together. Each of the "
        f"{launched.ranks} processes would have run everything. {_remedy(launched, library, environ)}"
    )


def _remedy(launched: LaunchedBy, library: MpiLibrary, environ: Mapping[str, str]) -> str:
    if launched.launcher.startswith("srun"):
        types = " or ".join(f"`srun --mpi={name}`" for name in srun_types(library.vendor))
        return (
            f"Use {types} (`srun --mpi=list` shows what this cluster has), or the library's own mpiexec "
            "inside sbatch or salloc."
        )
    try:
        path = str(find_launcher(library, Preference.MPIEXEC, environ).path)
    except UserError as error:
        return f"Use the launcher of that library; here, however, {error}"
    return f"Use the launcher of that library: `{path} -n {launched.ranks} ...`, or no launcher at all."
