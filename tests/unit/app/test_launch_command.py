"""The command lines that start the ranks. Starts nothing."""

import sys
from pathlib import Path

import pytest

from mpiexec_runner.app import launch
from mpiexec_runner.app.launch import launch_command
from mpiexec_runner.app.launcher import Launcher, Preference
from mpiexec_runner.execute.environment import OUTSIDE, TERMINAL, clean
from mpiexec_runner.transport.mpi_library import Vendor

PROGRAM = (sys.executable, "-m", "mpiexec_runner", "run", "c.yaml")
ROOT = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")
HOME = {"PATH": "/bin", "HOME": "/home/u"}


def launcher(vendor: Vendor, major: int = 5, *, ulfm: bool = False) -> Launcher:
    return Launcher(Preference.MPIEXEC, Path("/mpi/mpiexec"), vendor, (major, 0), ulfm)


@pytest.fixture(autouse=True)
def _ordinary_user_without_terminal(monkeypatch) -> None:
    monkeypatch.setattr(launch.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(launch, "_terminal_size", lambda: "")


def plan_for(
    which: Launcher, ranks: int = 3, environ: dict[str, str] = HOME, cores: int = 2
) -> launch.LaunchPlan:
    return launch_command(which, ranks, ["run", "c.yaml"], environ, cores, witnessed=True)


OPEN = ("/mpi/mpiexec", "--bind-to", "none", "--stdin", "none")
TOLD = ("-x", OUTSIDE)


@pytest.mark.parametrize(
    ("which", "environ", "ranks", "expected"),
    [
        (
            launcher(Vendor.OPEN_MPI, ulfm=True), HOME, 3,
            (*OPEN, "--with-ft", "ulfm", "--oversubscribe", *TOLD, "-n", "3"),
        ),
        (launcher(Vendor.OPEN_MPI, 4), HOME, 3, (*OPEN, "--oversubscribe", *TOLD, "-n", "3")),
        (
            launcher(Vendor.OPEN_MPI, 4), HOME | {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8"}, 8,
            (*OPEN, *TOLD, "-n", "8"),
        ),
        (
            launcher(Vendor.OPEN_MPI, 4), HOME | {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8"}, 9,
            (*OPEN, "--oversubscribe", *TOLD, "-n", "9"),
        ),
        (launcher(Vendor.MPICH), HOME, 3, ("/mpi/mpiexec", "-print-all-exitcodes", "-n", "3")),
        (launcher(Vendor.INTEL_MPI), HOME, 1, ("/mpi/mpiexec", "-print-all-exitcodes", "-n", "1")),
        (
            Launcher(Preference.SRUN, Path("/bin/srun"), Vendor.OPEN_MPI, (), mpi_type="pmix"), HOME, 4,
            ("/bin/srun", "--mpi=pmix", "--kill-on-bad-exit=1", "-n", "4"),
        ),
        (
            Launcher(Preference.SRUN, Path("/bin/srun"), Vendor.MPICH, (), mpi_type="pmi2"),
            HOME | {"SLURM_CPUS_PER_TASK": "3"}, 2,
            ("/bin/srun", "--mpi=pmi2", "--kill-on-bad-exit=1", "--cpus-per-task=3", "-n", "2"),
        ),
    ],
)  # fmt: skip
def test_command_lines(
    which: Launcher, environ: dict[str, str], ranks: int, expected: tuple[str, ...]
) -> None:
    assert plan_for(which, ranks, environ, cores=8).argv == (*expected, *PROGRAM)


def test_another_module_can_be_started() -> None:
    plan = launch_command(launcher(Vendor.MPICH), 1, ["x"], HOME, 1, module="a.b")
    assert plan.argv == ("/mpi/mpiexec", "-n", "1", sys.executable, "-m", "a.b", "x")


def test_ranks_can_undo_the_launch() -> None:
    environ = HOME | {"OMPI_MCA_btl": "self,sm", "LD_LIBRARY_PATH": "/a:/b"}
    plan = plan_for(launcher(Vendor.OPEN_MPI), environ=environ)
    touched = plan.environ | {
        "OMPI_COMM_WORLD_RANK": "1",
        "LD_LIBRARY_PATH": "/mpi/lib:/a:/b",
        "PMIX_RANK": "1",
    }
    assert clean(touched) == environ


def test_root_is_allowed_with_one_warning(monkeypatch) -> None:
    monkeypatch.setattr(launch.os, "geteuid", lambda: 0)
    plan = plan_for(launcher(Vendor.OPEN_MPI))
    assert [plan.environ.get(name) for name in ROOT] == ["1", "1"]
    assert len(plan.warnings) == 1
    assert "running as root" in plan.warnings[0]
    assert clean(plan.environ) == HOME
    asked_for = HOME | dict.fromkeys(ROOT, "1")
    assert plan_for(launcher(Vendor.OPEN_MPI), environ=asked_for).warnings == ()
    mpich = plan_for(launcher(Vendor.MPICH))
    assert mpich.warnings == ()
    assert ROOT[0] not in mpich.environ


@pytest.mark.parametrize(
    ("ranks", "environ", "warned"),
    [
        (3, HOME, False),  # one more than cores: the hub's
        (4, HOME, True),
        (4, HOME | {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8"}, False),
        (10, HOME | {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8"}, True),
    ],
)
def test_crowded_cores_are_told(ranks: int, environ: dict[str, str], warned: bool) -> None:
    warnings = plan_for(launcher(Vendor.MPICH), ranks, environ).warnings
    assert bool(warnings) is warned
    if warned:
        assert f"{ranks - 1} working ranks share" in warnings[0]


def test_the_terminals_size_reaches_the_ranks(monkeypatch) -> None:
    stale = HOME | {TERMINAL: "1x1"}
    assert TERMINAL not in plan_for(launcher(Vendor.OPEN_MPI), environ=stale).environ
    monkeypatch.setattr(launch, "_terminal_size", lambda: "120x40")
    plan = plan_for(launcher(Vendor.OPEN_MPI))
    assert plan.environ[TERMINAL] == "120x40"
    assert TERMINAL in plan.argv
    assert TERMINAL not in clean(plan.environ)


def test_in_a_step_of_one_task_the_step_is_hidden_from_the_launcher() -> None:
    step = {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": "0",
        "PMIX_RANK": "0",
        "SLURM_NTASKS": "1",
    }
    environ = plan_for(launcher(Vendor.OPEN_MPI), 1, HOME | step).environ
    assert not {"SLURM_STEP_ID", "SLURM_PROCID", "PMIX_RANK"} & environ.keys()
    assert (environ["SLURM_JOB_ID"], environ["SLURM_OVERLAP"]) == ("1", "1")


def test_outside_a_step_what_steers_srun_stays() -> None:
    environ = HOME | {"SLURM_JOB_ID": "1", "SLURM_CPU_BIND": "cores", "OMPI_MCA_mpi_ft_detector": "1"}
    plan = plan_for(launcher(Vendor.OPEN_MPI), environ=environ)
    assert environ.items() <= plan.environ.items()
    assert clean(plan.environ) == environ


def test_over_several_hosts_nobody_but_the_run_s_heartbeats_judges_silence() -> None:
    environ = HOME | {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_JOB_NUM_NODES": "2"}
    plan = plan_for(launcher(Vendor.OPEN_MPI, ulfm=True), 8, environ)
    assert not any("detector" in word for word in plan.argv)
