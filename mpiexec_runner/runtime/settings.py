"""Settings of the ranks. Values only."""

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field

from mpiexec_runner.model.settings import Settings
from mpiexec_runner.model.sizes import Size


class TagSettings(Settings):
    """Which workers carry a tag; without `hosts` and `ranks`, all of them do."""

    hosts: list[str] = Field([])
    """Patterns for names of hosts, such as `node0*`."""
    ranks: list[Annotated[int, Field(ge=0, strict=True)]] = Field([])
    """Ranks."""

    def fits(self, host: str, rank: int) -> bool:
        """Whether a worker carries the tag."""
        if not self.hosts and not self.ranks:
            return True
        return rank in self.ranks or any(fnmatchcase(host, pattern) for pattern in self.hosts)


class WorkerSettings(Settings):
    """How ranks work."""

    slots: Annotated[int, Field(ge=1, le=4096)] = 1
    """Tasks that one rank runs at the same time."""
    hub_works: Literal["auto", True, False] = "auto"
    """Whether rank 0 also runs tasks; `auto`: only when it is alone."""
    cores: Annotated[int, Field(ge=1, strict=True)] | None = None
    """Cores that the tasks of one rank may claim together. Left out: the rank's share of what it finds on its
    host, as affinity and control groups leave it, divided among the ranks that see the same."""
    memory: Size | None = None
    """Memory for the tasks of one rank; left out, its share of what the host has or the job may use."""
    gpus: Annotated[int, Field(ge=0, strict=True)] | None = None
    """GPUs for the tasks of one rank. Left out: its share of those in CUDA_VISIBLE_DEVICES,
    ROCR_VISIBLE_DEVICES or HIP_VISIBLE_DEVICES, or of those that NVML shows where the Python package
    `nvidia-ml-py` is installed."""
    tags: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")], TagSettings] = Field({})
    """Tags of your own for some workers, by name: `{fast: {hosts: ["node0*"], ranks: [1]}}`. Every worker
    has `cpu`; `gpu`; `high-memory` (16 GiB or more for each of its cores), `ssd` (TMPDIR lies on one) and
    `network` (InfiniBand, or a link of 10 Gb/s) come by themselves."""
    monitoring_interval_s: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 1.0
    """How often, in seconds, the memory of a running task is compared with what it may use."""
    mpi_command: Annotated[str, Field(min_length=1)] | None = None
    """What a command with `ranks` above 1 is started by, such as `mpiexec -n {ranks}`. Left out: the launcher
    of the MPI library that the run itself uses."""

    replace: bool = False
    """Start a new rank for one whose process died, on the same host, with its share and its tags. Possible
    under Open MPI 5 and later with ULFM."""
    max_replacements: Annotated[int, Field(ge=1, le=1000, strict=True)] = 10
    """How often the same rank is replaced."""

    def tags_of(self, host: str, rank: int) -> tuple[str, ...]:
        """The user's tags of one worker, sorted."""
        return tuple(sorted(name for name, where in self.tags.items() if where.fits(host, rank)))
