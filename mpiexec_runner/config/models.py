"""The configuration of a run: the settings of its components and what it is to do. Composition only.

Nothing here reads files, knows line numbers or makes tasks.
"""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, JsonValue, ValidationInfo, model_validator

from mpiexec_runner.config.handing import hand_down
from mpiexec_runner.config.sections import SweepSettings, Tasks, ToolSettings
from mpiexec_runner.config.treatment import Label, TaskSettings
from mpiexec_runner.config.values import RunName, refuse_parts
from mpiexec_runner.config.workflow import Workflow
from mpiexec_runner.core.settings import HeartbeatSettings, LimitSettings, SchedulerSettings
from mpiexec_runner.model.settings import Settings, refuse
from mpiexec_runner.runtime.settings import WorkerSettings
from mpiexec_runner.storage.settings import CheckpointSettings, RunSettings

KINDS_OF_WORK = ("tasks", "sweep", "workflow")
_ONE_KIND: dict[str, JsonValue] = {"oneOf": [{"required": [kind]} for kind in KINDS_OF_WORK]}


class RunConfig(Settings):
    """One run: what to do, and how.

    Exactly one of `tasks`, `sweep` and `workflow` says what to do; all other keys may be left out.
    """

    model_config = ConfigDict(json_schema_extra=_ONE_KIND)

    name: RunName = "run"
    """Name of the run and first part of its directory; the configuration file's name when left out."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1, strict=True)] = 0
    """What all random numbers of the run begin from."""
    defaults: TaskSettings = TaskSettings()
    """Settings of every task that does not set them itself."""
    tools: dict[Label, ToolSettings] = Field({})
    """Programs by name, which tasks name by `tool` instead of giving a command."""
    tasks: Tasks | None = None
    """A list of tasks, or `{file: NAME}` with the settings below."""
    sweep: SweepSettings | None = None
    """One task for each combination of parameters."""
    workflow: Workflow | None = None
    """Jobs by name, which depend on one another, and `stages`."""
    scheduler: SchedulerSettings = SchedulerSettings()
    """How tasks find workers."""
    workers: WorkerSettings = WorkerSettings()
    """How ranks work."""
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    """When a silent worker is given up."""
    checkpoint: CheckpointSettings = CheckpointSettings()
    """Snapshots that make resuming a long run quick."""
    limits: LimitSettings = LimitSettings()
    """What tasks may take of the machines, all together."""
    run: RunSettings = RunSettings()
    """Where a run keeps its record."""

    @model_validator(mode="before")
    @classmethod
    def _hand_down(cls, data: Any, info: ValidationInfo) -> Any:
        """Write defaults and tools into every task, so that each says all about itself."""
        if not isinstance(data, dict):
            return data
        return hand_down(data, ToolSettings, (info.context or {}).get("directory", ""))

    @model_validator(mode="after")
    def _has_one_kind_of_work(self) -> Self:
        given = [kind for kind in KINDS_OF_WORK if getattr(self, kind) is not None]
        if not given:
            raise refuse(f"says nothing to do. Give one of {', '.join(KINDS_OF_WORK)}")
        if len(given) > 1:
            raise refuse_parts([((given[1],), f"give only one of {' and '.join(given)}")])
        return self
