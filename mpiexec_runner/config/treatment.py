"""The settings that say how tasks are treated: urgency, needs, limits of time, retries. Records only.

What a task does is in ``sections.py`` and ``workflow.py``.
"""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from mpiexec_runner.config.failures import FailureMatch, MemoryFactor
from mpiexec_runner.config.values import EnvironmentName, EnvironmentValue, Pause, Seconds, problem_of_label
from mpiexec_runner.model.settings import Settings, refuse
from mpiexec_runner.model.sizes import Size
from mpiexec_runner.model.tasks import Mode, RetryRule


def _label(text: str) -> str:
    if problem := problem_of_label(text):
        raise refuse(problem)
    return text


def _mode(value: object) -> object:
    return "auto" if value == "hybrid" else value


Label = Annotated[str, AfterValidator(_label)]
_Modes = Annotated[
    Mode, BeforeValidator(_mode), WithJsonSchema({"type": "string", "enum": [*map(str, Mode), "hybrid"]})
]
_Factor = Annotated[float, Field(gt=1, strict=True, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0, strict=True)]
_USUAL = RetryRule()


class ResourceSettings(Settings):
    """What a task claims of its worker while it runs."""

    cpus: _Count = 0
    """Cores; 0 claims none, so that the worker's slots alone say how many tasks run at once."""
    memory: Size = 0
    """Memory, as in `2GiB`. A task that takes more is ended and has failed; 0 is no limit."""
    gpus: _Count = 0
    """GPUs; the task sees only its own."""
    tags: list[Label] = Field([])
    """Tags that the worker must have, such as `[high-memory, ssd]`."""
    ranks: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] = 1
    """More than 1: a call runs on so many workers at once and gets an MPI communicator of its own; a
    command is started through the MPI launcher with so many ranks."""


class FailureRetrySettings(Settings):
    """What is special about one class of failure; what is left out is as for the others."""

    max: Annotated[int, Field(ge=0, le=1000, strict=True)] | None = None
    """How many more times a task that failed so is tried."""
    backoff_s: Pause | None = None
    """Seconds before the first repetition."""
    memory: MemoryFactor = 1.0
    """How many times as much memory the next attempt may take, such as `x2`."""


class RetrySettings(Settings):
    """What happens after a task failed. Losing its worker is no failure of a task and burns no retry."""

    max: Annotated[int, Field(ge=0, le=1000, strict=True)] = _USUAL.max
    """How many more times a failed task is tried."""
    backoff_s: Pause = _USUAL.backoff_s
    """Seconds before the first repetition; twice as many before each further one."""
    jitter: Annotated[float, Field(ge=0, le=1, strict=True)] = _USUAL.jitter
    """Share by which these pauses are made longer or shorter at random, so that tasks that failed together
    do not come back together."""
    elsewhere: bool = _USUAL.elsewhere
    """Try again on another worker than before, where there is one."""
    on: dict[FailureMatch, FailureRetrySettings] = Field({})
    """Rules for classes of failure: `timeout`, `memory` (or `out_of_memory`), `exit_code`, `signal`,
    `exception`, `not_found`, `result`, `setup`, `storage` (the disk is full), and `exit_code:75`,
    `signal:SIGSEGV` or `exception:ConnectionError` for one of them. The first that fits counts."""


class TaskSettings(Settings):
    """How tasks are treated."""

    priority: Annotated[int, Field(ge=1, le=10, strict=True)] = 5
    """1 to 10; tasks of priority 10 go first."""
    resources: ResourceSettings = ResourceSettings()
    """What a task claims of its worker while it runs."""
    duration_s: Seconds | None = None
    """How long such a task takes, in seconds, as far as you know; what is measured replaces it. Long chains
    of tasks are begun early, and slow workers are found out, by these times."""
    timeout_s: Seconds | None = None
    """Seconds after which a running task is ended and has failed."""
    timeout_factor: _Factor | None = None
    """A running task is ended, and has failed, when it takes this many times the median of its kind."""
    retries: RetrySettings = RetrySettings()
    """What happens after a task failed."""
    speculate: bool = True
    """Whether a second attempt may run beside a slow first one. Write `false` for tasks with effects
    outside, such as sending a mail. A second attempt has a directory of its own; the one that wins gets
    the task's name."""
    labels: list[Label] = Field([])
    """Words of your own for such tasks: `limits.per_label` counts by them, and a cancel may name one."""
    site: str | None = None
    """Tasks of the same site follow one another on the same worker, near to their data. `{field}` stands for
    a value of the task, as in `"{mesh}"`."""
    mode: _Modes = Mode.AUTO
    """How a call is executed: `inline` in the worker itself, `thread` in a thread of it, `asyncio` in its
    event loop, `process` in a child process that can be ended; `auto` (or `hybrid`) by what the task is. A
    command is always run as `command`."""
    environment: dict[EnvironmentName, EnvironmentValue] = Field({})
    """Environment variables that the task sees besides the worker's own."""
    max_output: Size = 10 * 2**20
    """How much of a command's output is kept, of stdout and stderr each: a size; `10MiB` unless
    given."""
