"""Check of the batch system: which one there is, and whether this is a job of it.

Knows no job scripts and submits nothing.
"""

import os
import shutil
from pathlib import Path

from mpiexec_runner.app.checks.finding import Finding, ok, warning
from mpiexec_runner.app.launcher import Preference, find_launcher
from mpiexec_runner.app.world import allocated_slots
from mpiexec_runner.errors import UserError
from mpiexec_runner.transport.mpi_library import find_library


def check_batch_system(_: Path) -> list[Finding]:
    """Tell the batch system from the environment and from the commands on PATH."""
    environ = os.environ
    slots = allocated_slots(environ)
    room = "" if slots is None else f" with room for {slots} ranks"
    if job := environ.get("SLURM_JOB_ID"):
        return [ok("batch system", f"Slurm: inside job {job}{room}"), *_look_at_srun()]
    if job := environ.get("PBS_JOBID"):
        return [ok("batch system", f"PBS: inside job {job}{room}")]
    if shutil.which("sbatch"):
        return [ok("batch system", f"Slurm ({shutil.which('sbatch')}); not inside a job"), *_look_at_srun()]
    if shutil.which("qsub"):
        return [ok("batch system", f"PBS or a relative ({shutil.which('qsub')}); not inside a job")]
    return [ok("batch system", "none: runs start on this machine")]


def _look_at_srun() -> list[Finding]:
    try:
        launcher = find_launcher(find_library(), Preference.SRUN, os.environ)
    except UserError as failure:
        return [warning("srun", str(failure), "launch with mpiexec inside jobs (--launcher mpiexec)")]
    return [ok("srun", f"`srun --mpi={launcher.mpi_type}` fits the MPI library")]
