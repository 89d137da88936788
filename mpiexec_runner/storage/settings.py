"""Settings of what is kept on disk. Values only."""

from typing import Annotated

from pydantic import Field

from mpiexec_runner.model.settings import Settings


class RunSettings(Settings):
    """Where a run keeps its record."""

    dir: str = "runs"
    """Directory under which each run makes its own, `NAME-TIMESTAMP`; relative to where you start it."""
    task_dirs: bool = True
    """Give each task a working directory. Without, commands run where the run was started and the end of
    their output is kept in the record."""
    python_path: tuple[str, ...] = ()
    """Directories in which the modules of `call` are looked for first. The configuration file's own directory
    and the one where you start the run are searched without being named."""
    fsync_s: Annotated[float, Field(gt=0, le=60)] = 0.2
    """Longest time in seconds that a finished task waits to be safe from a power cut."""


class CheckpointSettings(Settings):
    """Snapshots that make resuming a long run quick."""

    every_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds between two checkpoints."""
    keep: Annotated[int, Field(ge=1)] = 3
    """How many of the newest checkpoints are kept."""
