"""What a task does and does not see. Environments here were seen under real launchers."""

import json
import sys

import pytest

from mpiexec_runner.execute.environment import (
    MAX_PARAMETER_BYTES,
    OUTSIDE,
    TaskIdentity,
    clean,
    outside_record,
    task_environment,
)

HOME = {"PATH": "/usr/bin:/bin", "HOME": "/home/u", "OMP_NUM_THREADS": "2"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_MCA_PREFIXES": "mca,opal",
    "OMPI_MCA_cpu_type": "x86_64",
    "OMPI_MCA_initial_wdir": "/tmp/w",
    "OMPI_MCA_mpi_ft_enable": "1",
    "OMPI_MCA_num_procs": "2",
    "OMPI_LIBDIR_LOC": "/opt/mpi/lib",
    "OPAL_PREFIX": "/opt/mpi",
    "OPAL_USER_PARAMS_GIVEN": "1",
    "PMIX_RANK": "1",
    "PMIX_PREFIX": "/opt/mpi",
    "PMIX_SERVER_URI41": "prterun-vm-4257@0.0;tcp4://127.0.0.1:37859",
    "PRTE_LAUNCHED": "1",
    "LD_LIBRARY_PATH": "/opt/mpi/lib:/opt/mpi/lib:/opt/mpi/lib",
}
HYDRA = {
    "GFORTRAN_UNBUFFERED_PRECONNECTED": "y",
    "HYDI_CONTROL_FD": "7",
    "MPI_LOCALNRANKS": "2",
    "MPI_LOCALRANKID": "0",
    "PMI_FD": "11",
    "PMI_RANK": "0",
    "PMI_SIZE": "2",
}
STEP = {
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "0",
    "SLURM_GTIDS": "0,1",
    "SLURM_TASK_PID": "5282",
    "SLURM_STEP_ID": "0",
    "SLURM_STEPID": "0",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_LAUNCHER_PORT": "42661",
    "SLURM_SRUN_COMM_HOST": "127.0.0.1",
    "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1",
    "SLURM_PMIXP_ABORT_AGENT_PORT": "40327",
    "SLURM_PMIX_MAPPING_SERV": "(vector,(0,1,2))",
    "SLURM_CPU_BIND": "quiet,none",
    "SLURM_MPI_TYPE": "pmix",
    "SRUN_DEBUG": "3",
}
JOB = {
    "SLURM_JOB_ID": "3",
    "SLURM_CPUS_PER_TASK": "2",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_SUBMIT_DIR": "/w",
}
STEERING = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl_tcp_if_include": "eth0",
    "PMIX_MCA_gds": "hash",
    "HYDRA_LAUNCHER": "ssh",
    "MPIEXEC_TIMEOUT": "60",
    "MPICH_ASYNC_PROGRESS": "1",
}


@pytest.mark.parametrize("launched", [HYDRA, STEP, HYDRA | STEP], ids=["hydra", "slurm", "both"])
def test_what_the_launcher_set_is_gone_and_the_rest_stays(launched: dict[str, str]) -> None:
    assert clean(HOME | JOB | STEERING | launched) == HOME | JOB | STEERING


def test_open_mpi_leaves_one_copy_of_a_folder_that_may_be_a_modules() -> None:
    assert clean(HOME | STEERING | OPEN_MPI) == HOME | STEERING | {"LD_LIBRARY_PATH": "/opt/mpi/lib"}


def test_open_mpi_of_this_python_leaves_none() -> None:
    ours = f"{sys.prefix}/lib"
    launched = OPEN_MPI | {"OMPI_LIBDIR_LOC": ours, "LD_LIBRARY_PATH": f"{ours}:{ours}:{ours}"}
    assert clean(HOME | launched) == HOME
    launched["LD_LIBRARY_PATH"] += ":/a:/b"
    assert clean(HOME | launched) == HOME | {"LD_LIBRARY_PATH": "/a:/b"}


def test_a_library_path_that_nobody_touched_stays() -> None:
    environ = HOME | HYDRA | {"LD_LIBRARY_PATH": "/opt/mpi/lib:/opt/mpi/lib"}
    assert clean(environ)["LD_LIBRARY_PATH"] == "/opt/mpi/lib:/opt/mpi/lib"


def test_without_a_launcher_nothing_changes() -> None:
    environ = HOME | JOB | STEERING | {"GFORTRAN_UNBUFFERED_PRECONNECTED": "y", "LD_LIBRARY_PATH": "/x"}
    assert clean(environ) == environ


def test_a_record_restores_to_the_letter() -> None:
    outside = HOME | JOB | STEERING | {
        "OMPI_MCA_mpi_ft_detector": "1",  # the rules would take it for the launcher's
        "OPAL_PREFIX": "/module/mpi",
        "LD_LIBRARY_PATH": "/a b:/ü&=+%:",
        "SLURM_NTASKS": "4",
        "SLURM_CPU_BIND": "cores",
        "OMPI_MCA_note": "line one\nline two; odd \udcff byte",
        "PMIX_EMPTY": "",
    }  # fmt: skip
    inside = outside | OPEN_MPI | STEP | {"SLURM_NTASKS": "2", "PATH": "/opt/mpi/bin:/usr/bin:/bin"}
    inside[OUTSIDE] = outside_record(outside)
    assert inside[OUTSIDE].isascii()
    assert clean(inside) == outside


def test_ranks_are_never_restored() -> None:
    batch_script = HOME | JOB | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_GTIDS": "0"}
    inside = batch_script | STEP | {OUTSIDE: outside_record(batch_script)}
    assert clean(inside) == HOME | JOB


def test_a_run_inside_a_task_does_not_see_the_outer_run() -> None:
    outer = task_environment(HOME, TaskIdentity("t", 1, "/r/t", "/r", 3, {"x": 1}))
    assert clean(outer) == HOME
    assert clean(outer | {OUTSIDE: outside_record(outer)}) == HOME
    assert clean(HOME | {"MPIEXEC_RUNNER_COLOR": "no"}) == HOME | {"MPIEXEC_RUNNER_COLOR": "no"}


def test_a_task_learns_who_it_is() -> None:
    fields = {"T": 0.7, "n-steps": 10, "label": "a b", "mesh": [1, {"h": 0.1}], "on": True, "βeta": None}
    made = task_environment(HOME, TaskIdentity("task_7", 2, "/r/t", "/r", 3, fields))
    assert made == HOME | {
        "MPIEXEC_RUNNER_TASK_ID": "task_7",
        "MPIEXEC_RUNNER_ATTEMPT": "2",
        "MPIEXEC_RUNNER_TASK_DIR": "/r/t",
        "MPIEXEC_RUNNER_RUN_DIR": "/r",
        "MPIEXEC_RUNNER_RANK": "3",
        "MPIEXEC_RUNNER_PARAM_T": "0.7",
        "MPIEXEC_RUNNER_PARAM_N_STEPS": "10",
        "MPIEXEC_RUNNER_PARAM_LABEL": "a b",
        "MPIEXEC_RUNNER_PARAM_MESH": json.dumps([1, {"h": 0.1}]),
        "MPIEXEC_RUNNER_PARAM_ON": "True",
        "MPIEXEC_RUNNER_PARAM__ETA": "None",
    }


def test_the_users_environment_comes_second() -> None:
    identity = TaskIdentity("t", 1, "", "", 1)
    made = task_environment(HOME, identity, {"OMP_NUM_THREADS": "1", "MPIEXEC_RUNNER_RANK": "9"})
    assert (made["OMP_NUM_THREADS"], made["MPIEXEC_RUNNER_RANK"]) == ("1", "1")
    assert HOME["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize("letter", ["x", "ü"])
def test_what_no_program_could_be_started_with_is_left_out(letter: str) -> None:
    width = len(letter.encode())
    fields = {
        "fits": letter * (MAX_PARAMETER_BYTES // width),
        "long": letter * (MAX_PARAMETER_BYTES // width + 1),
    }
    made = task_environment({}, TaskIdentity("t", 1, "", "", 1, fields))
    assert "MPIEXEC_RUNNER_PARAM_FITS" in made
    assert "MPIEXEC_RUNNER_PARAM_LONG" not in made
