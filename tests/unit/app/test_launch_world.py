"""Who launched this process, as environments tell it. Starts nothing."""

import os

import pytest

from mpiexec_runner.app import world
from mpiexec_runner.app.world import LaunchedBy, check_launcher_fits, check_not_singleton, launched_ranks
from mpiexec_runner.errors import UserError
from mpiexec_runner.transport.mpi_library import MpiLibrary, Vendor

BATCH_SCRIPT = {
    "SLURM_JOB_ID": "3",
    "SLURM_NTASKS": "4",
    "SLURM_TASKS_PER_NODE": "2(x2)",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}
STEP_OF_FOUR = BATCH_SCRIPT | {"SLURM_STEP_ID": "0", "SLURM_STEPID": "0", "SLURM_STEP_NUM_TASKS": "4"}
STEP_OF_ONE = STEP_OF_FOUR | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1"}
# Below Open MPI's and MPICH's mpiexec in a job of two nodes, the step is that of their daemons, one a node.
STEP_OF_DAEMONS = STEP_OF_FOUR | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2"}
HYDRA = {"PMI_SIZE": "4", "PMI_RANK": "1", "MPI_LOCALNRANKS": "2", "HYDI_CONTROL_FD": "7"}


@pytest.mark.parametrize(
    ("environ", "ranks", "launcher", "variable"),
    [
        ({"OMPI_COMM_WORLD_SIZE": "3", "PMIX_RANK": "1"}, 3, "Open MPI", "OMPI_COMM_WORLD_SIZE"),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, 1, "Open MPI", "OMPI_COMM_WORLD_SIZE"),
        (STEP_OF_DAEMONS | {"OMPI_COMM_WORLD_SIZE": "4"}, 4, "Open MPI", "OMPI_COMM_WORLD_SIZE"),
        (HYDRA, 4, "hydra", "PMI_SIZE"),
        (STEP_OF_DAEMONS | HYDRA, 4, "hydra", "PMI_SIZE"),
        ({"MPI_LOCALNRANKS": "2"}, 2, "hydra", "MPI_LOCALNRANKS"),
        (
            STEP_OF_FOUR | {"PMIX_RANK": "0", "SLURM_MPI_TYPE": "pmix"},
            4,
            "srun --mpi=pmix",
            "SLURM_STEP_NUM_TASKS",
        ),
        (
            STEP_OF_FOUR | {"PMI_SIZE": "4", "SLURM_MPI_TYPE": "pmi2"},
            4,
            "srun --mpi=pmi2",
            "SLURM_STEP_NUM_TASKS",
        ),
        (STEP_OF_FOUR, 4, "srun", "SLURM_STEP_NUM_TASKS"),
        ({"PALS_RANKID": "5", "PMI_SIZE": "8"}, 8, "PALS", "PMI_SIZE"),
        ({"PALS_RANKID": "5"}, 6, "PALS", "PALS_RANKID"),
        ({"PMIX_RANK": "2"}, 3, "PMIx", "PMIX_RANK"),
    ],
)
def test_a_rank_is_recognised(environ: dict[str, str], ranks: int, launcher: str, variable: str) -> None:
    found = launched_ranks(environ)
    assert found is not None
    assert (found.ranks, found.variable) == (ranks, variable)
    assert launcher in found.launcher


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OMPI_MCA_btl": "self", "OMPI_ALLOW_RUN_AS_ROOT": "1"},
        BATCH_SCRIPT,
        BATCH_SCRIPT | {"SLURM_STEP_ID": str(0xFFFFFFFB)},  # what newer versions call the batch script
        STEP_OF_ONE,
        STEP_OF_ONE | {"PMIX_RANK": "0", "SLURM_MPI_TYPE": "pmix"},
        {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"},  # exported by hand, without a rank
        {"PMI_SIZE": "many"},
    ],
)
def test_others_are_no_ranks(environ: dict[str, str]) -> None:
    assert launched_ranks(environ) is None


@pytest.mark.parametrize(
    ("environ", "world_size"),
    [({}, 1), ({"OMPI_COMM_WORLD_SIZE": "1"}, 1), ({"OMPI_COMM_WORLD_SIZE": "4"}, 4), (BATCH_SCRIPT, 1)],
)
def test_no_trap(environ: dict[str, str], world_size: int) -> None:
    check_not_singleton(environ, world_size)


def test_the_trap_names_both_sides_and_the_remedy() -> None:
    with pytest.raises(UserError) as caught:
        check_not_singleton(dict(os.environ) | {"PMI_SIZE": "4", "HYDI_CONTROL_FD": "7"}, 1)
    message = str(caught.value)
    assert "hydra (mpiexec of MPICH or Intel MPI) started 4 processes (PMI_SIZE)" in message
    assert world.find_library().label in message
    assert "Each of the 4 processes would have run everything" in message
    assert "Use the launcher of that library: `" in message


@pytest.mark.parametrize(
    ("vendor", "environ", "fits"),
    [
        (Vendor.OPEN_MPI, {"OMPI_COMM_WORLD_SIZE": "2"}, True),
        (Vendor.OPEN_MPI, HYDRA, False),
        (Vendor.OPEN_MPI, STEP_OF_FOUR, True),  # srun starts every MPI; what it passes on shows later
        (Vendor.OPEN_MPI, {}, True),
        (Vendor.MPICH, {"OMPI_COMM_WORLD_SIZE": "2"}, False),
        (Vendor.MPICH, {"OMPI_COMM_WORLD_SIZE": "1"}, True),
        (Vendor.MPICH, HYDRA, True),
        (Vendor.INTEL_MPI, HYDRA, True),
    ],
)
def test_a_foreign_launcher_is_refused_early(
    vendor: Vendor, environ: dict[str, str], fits: bool, monkeypatch
) -> None:
    monkeypatch.setattr(world, "find_library", lambda: MpiLibrary(vendor, (5, 0, 0), "", None, ulfm=False))
    if fits:
        check_launcher_fits(environ)
    else:
        with pytest.raises(UserError, match="launcher and library do not belong together"):
            check_launcher_fits(environ)


def test_the_trap_under_srun_names_its_types() -> None:
    with pytest.raises(UserError, match=r"srun --mpi=(pmix|pmi2)") as caught:
        check_not_singleton(STEP_OF_FOUR | {"SLURM_MPI_TYPE": "none"}, 1)
    assert "srun --mpi=list" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "total"), [("2(x3),1", 7), ("4", 4), ("", 0), ("1(x2),2(x2)", 6), ("16(x128)", 2048)]
)
def test_slurms_short_lists_are_summed(text: str, total: int) -> None:
    assert world.sum_per_node(text) == total


def test_ranks_by_default(tmp_path, monkeypatch) -> None:
    nodes = tmp_path / "nodes"
    nodes.write_text("a\na\nb\n")
    monkeypatch.setattr(world, "usable_cores", lambda: 6)
    assert world.default_ranks({}) == 7
    assert world.default_ranks(BATCH_SCRIPT) == 4
    assert world.default_ranks({"SLURM_JOB_ID": "1", "SLURM_TASKS_PER_NODE": "3(x2)"}) == 6
    assert world.default_ranks({"PBS_NODEFILE": str(nodes)}) == 3
    # Left behind in a shell outside any job: it says nothing of this process.
    assert world.default_ranks({"SLURM_NTASKS": "9"}) == 7


def test_a_missing_node_file_is_told(tmp_path) -> None:
    with pytest.raises(UserError, match=r"PBS_NODEFILE names .*gone"):
        world.allocated_slots({"PBS_NODEFILE": str(tmp_path / "gone")})


def test_records_compare_by_value() -> None:
    assert launched_ranks({"PMIX_RANK": "0"}) == LaunchedBy(1, "a PMIx launcher", "PMIX_RANK")
