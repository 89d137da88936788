"""The environment of a task: what it must not inherit from the launcher, and what it is told of itself.

Knows neither workers nor launch commands; it only maps environments to environments.

A rank's environment says "you are rank 3 of 8" in the dialect of its launcher. A program below it that uses
MPI itself (a nested ``mpiexec``, an MPI code run alone) would believe that, and hang or abort. So a task
gets the environment as it was before the launcher touched it. Where this package started the launcher, it
wrote down what it found (:func:`outside_record`) and that is restored to the letter. Where the user did,
these rules decide:

- everything that only a launcher sets goes: ``OMPI_*``, ``PMI_*``, ``PMIX_*``, ``PRTE_*``, hydra's, PALS's,
  and the Slurm variables that describe a step or a rank; those that describe the job stay;
- what people set to steer an MPI stays: ``OMPI_ALLOW_RUN_AS_ROOT*``, ``*_MCA_*`` parameters except those that
  the launchers themselves set, ``HYDRA_*`` and ``MPIEXEC_*``, which hydra reads and never sets;
- ``LD_LIBRARY_PATH`` loses the copies of the MPI library's folder that Open MPI's launcher put in front:
  all of them where that folder belongs to this Python's environment, which nobody names on purpose, all but
  one elsewhere (it may come from a module).

Sources: the environments that Open MPI 5.0, MPICH 5.0 and Slurm 22.05 (``srun`` man page, "OUTPUT
ENVIRONMENT VARIABLES") were seen to make.
"""

import functools
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import msgspec

OUTSIDE = "MPIEXEC_RUNNER_OUTSIDE"
"""Variable in which a rank finds the record of :func:`outside_record`."""

TERMINAL = "MPIEXEC_RUNNER_TERMINAL"
"""Variable that tells rank 0 the size of the terminal behind the launcher's pipe, as ``80x24``."""

WITNESS = "MPIEXEC_RUNNER_WITNESS"
"""Variable that names the folder in which ranks keep a file open: so the launching process sees them end."""

MAX_PARAMETER_BYTES = 100_000
"""A longer parameter gets no variable: Linux refuses to start a program with one of 128 KiB or more."""

_LAUNCHER_PREFIXES = (
    "OMPI_", "OPAL_", "PMI_", "PMI2_", "PMIX_", "PRTE_", "HYDI_", "MPI_LOCAL", "PALS_",
    "SLURM_STEP", "SLURM_SRUN_COMM_", "SLURM_PMIX", "SLURM_CPU_BIND", "SLURM_MEM_BIND",
)  # fmt: skip
_LAUNCHER_NAMES = frozenset({
    "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_TASK_PID", "SLURM_GTIDS", "SLURM_TOPOLOGY_ADDR",
    "SLURM_TOPOLOGY_ADDR_PATTERN", "SLURM_LAUNCH_NODE_IPADDR", "SLURM_DISTRIBUTION", "SLURM_MPI_TYPE",
    "SLURM_EXTERNAL_LAUNCHER", "SLURM_UMASK", "SLURM_PRIO_PROCESS", "SLURM_JOB_CPUS_PER_NODE_PACK_GROUP_0",
    "SRUN_DEBUG", OUTSIDE, TERMINAL, WITNESS,
})  # fmt: skip

# Of a run that this one may be a task of.
_OWN = re.compile(r"MPIEXEC_RUNNER_(TASK_ID|ATTEMPT|TASK_DIR|RUN_DIR|RANK|WORKER|PARAM_.*)")

# What people set to steer an MPI, and below it the parameters among them that launchers set themselves.
_STEERING = re.compile(r"(OMPI|OPAL|PMIX|PRTE)_MCA_|OMPI_ALLOW_RUN_AS_ROOT")
_SET_BY_LAUNCHER = re.compile(
    r"(OMPI|OPAL|PMIX|PRTE)_MCA_(PREFIXES|cpu_type|initial_wdir|num_procs|mpi_ft_|mpi_oversubscribe"
    r"|orte_|ess|prte_|shmem_RUNTIME|pmix$)"
)

# Launchers change these in place: only a record knows what they were before.
_CHANGED_IN_PLACE = frozenset({
    "PATH", "LD_LIBRARY_PATH", "GFORTRAN_UNBUFFERED_PRECONNECTED",
    "SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE", "SLURM_TASKS_PER_NODE", "SLURM_NNODES",
})  # fmt: skip

# Never restored: a batch script has these of Slurm's too, as a rank 0 of its own.
_NEVER = re.compile(
    r"SLURM_(PROCID|LOCALID|NODEID|TASK_PID|GTIDS|STEP.*|SRUN_COMM_.*|PMIX.*)"
    rf"|{OUTSIDE}|{TERMINAL}|{WITNESS}|{_OWN.pattern}"
)


class TaskIdentity(msgspec.Struct, frozen=True, gc=False):
    """What an attempt is told of itself: names, places, and its parameters in ``fields``.

    ``task_dir`` and ``run_dir`` are empty when there is none.
    """

    task: str
    attempt: int
    task_dir: str
    run_dir: str
    rank: int
    fields: Mapping[str, object] = {}


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """Copy an environment without what a launcher, or a run around this one, put into it.

    Parameters
    ----------
    environ
        The environment of a rank, or of any process.
    """
    if OUTSIDE in environ:
        outside = dict(parse_qsl(environ[OUTSIDE], keep_blank_values=True, errors="surrogateescape"))
        kept = {name: value for name, value in environ.items() if not _belongs_to_launcher(name)}
        return kept | outside
    kept = {name: value for name, value in environ.items() if not _inherited_from_launcher(name)}
    if "HYDI_CONTROL_FD" in environ or "PMI_FD" in environ:
        kept.pop("GFORTRAN_UNBUFFERED_PRECONNECTED", None)
    if "LD_LIBRARY_PATH" in kept and "OMPI_COMM_WORLD_SIZE" in environ:
        _undo_prefixes(kept, _library_dir(environ))
    return kept


def outside_record(environ: Mapping[str, str]) -> str:
    """Write down what a launcher may touch in this environment, for :func:`clean` to restore in its ranks.

    Of variables that are not in it, the record says that they were not there. The form is a URL query, so
    that no launcher stumbles over separators or line ends.
    """
    touched = {
        name: value
        for name, value in environ.items()
        if _belongs_to_launcher(name) and not _NEVER.fullmatch(name)
    }
    return urlencode(touched, errors="surrogateescape")


def task_environment(
    base: Mapping[str, str], task: TaskIdentity, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Make the environment of one attempt.

    Parameters
    ----------
    base
        A clean environment, made once by :func:`clean`.
    task
        Who the attempt is. Its fields become ``MPIEXEC_RUNNER_PARAM_<NAME>``: the name in capitals with
        ``_`` for anything but letters and digits; lists and mappings as JSON, all else as ``str`` writes
        it. Values above :data:`MAX_PARAMETER_BYTES` get no variable.
    extra
        What the user asked for; it does not displace the names above.
    """
    made = dict(base)
    if extra:
        made.update(extra)
    made["MPIEXEC_RUNNER_TASK_ID"] = task.task
    made["MPIEXEC_RUNNER_ATTEMPT"] = str(task.attempt)
    made["MPIEXEC_RUNNER_TASK_DIR"] = task.task_dir
    made["MPIEXEC_RUNNER_RUN_DIR"] = task.run_dir
    made["MPIEXEC_RUNNER_RANK"] = str(task.rank)
    for name, value in task.fields.items():
        text = json.dumps(value, default=str) if isinstance(value, (list, tuple, dict)) else str(value)
        # A character has up to four bytes: most texts need no counting.
        if len(text) * 4 <= MAX_PARAMETER_BYTES or len(text.encode()) <= MAX_PARAMETER_BYTES:
            made[_parameter_variable(name)] = text
    return made


@functools.lru_cache(maxsize=1024)
def _parameter_variable(name: str) -> str:
    return "MPIEXEC_RUNNER_PARAM_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def _belongs_to_launcher(name: str) -> bool:
    """Whether a launcher sets or changes the variable, be it that people do so as well."""
    return (
        name.startswith(_LAUNCHER_PREFIXES)
        or name in _LAUNCHER_NAMES
        or name in _CHANGED_IN_PLACE
        or _OWN.fullmatch(name) is not None
    )


def _inherited_from_launcher(name: str) -> bool:
    """Whether the variable, as far as its name tells, came from a launcher and not from the user."""
    if _STEERING.match(name):
        return _SET_BY_LAUNCHER.match(name) is not None
    return name not in _CHANGED_IN_PLACE and _belongs_to_launcher(name)


def _library_dir(environ: Mapping[str, str]) -> str:
    prefix = environ.get("OPAL_PREFIX") or environ.get("PMIX_PREFIX") or ""
    return environ.get("OMPI_LIBDIR_LOC") or (f"{prefix}/lib" if prefix else "")


def _undo_prefixes(environ: dict[str, str], library_dir: str) -> None:
    folders = environ["LD_LIBRARY_PATH"].split(":")
    added = 0
    while library_dir and added < len(folders) and folders[added] == library_dir:
        added += 1
    ours = Path(library_dir).is_relative_to(sys.prefix)
    rest = folders[added if ours else max(0, added - 1) :]
    if rest:
        environ["LD_LIBRARY_PATH"] = ":".join(rest)
    else:
        del environ["LD_LIBRARY_PATH"]
