"""Settings of the scheduler and of the heartbeat watch. Values only."""

import math
from typing import Annotated

from pydantic import Field, model_validator

from mpiexec_runner.model.settings import Settings
from mpiexec_runner.model.sizes import Size
from mpiexec_runner.model.workers import CheckPlan

CheckName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$|^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")]


class SchedulerSettings(Settings):
    """How tasks find workers."""

    placement: str = "least_loaded"
    """Placement policy: `least_loaded`, `round_robin`, `random`, `weighted`, `capability`, `priority`,
    `locality`, `dynamic`, or your own as `module:Class`."""
    work_stealing: bool = True
    """Take tasks that have not begun back from a busy or slow worker when another has nothing to do."""
    speculation: bool = True
    """Near the end of a run, give a task that takes far longer than predicted a second attempt on an idle
    worker; the first result counts and the other attempt is ended."""
    crash_limit: Annotated[int, Field(ge=1)] = 3
    """A task that was running on this many workers in a row when they were lost is given up."""
    prefetch_s: Annotated[float, Field(ge=0, le=60)] = 0.05
    """How many seconds of work a worker may hold in advance; 0 sends a task only to a free slot."""
    ageing_s: Annotated[float, Field(gt=0)] = 300.0
    """A task that has waited this many seconds counts as one priority higher: nothing waits for ever."""
    exclude_after: Annotated[int, Field(ge=0)] = 5
    """A host on which this many tasks in a row failed, while tasks succeed on others, gets no more; 0 for
    never. One task probes it after `probe_after_s`."""
    probe_after_s: Annotated[float, Field(gt=0)] = 300.0
    """Seconds after which an excluded host gets one task to show that it is well; twice as many after each
    probe that failed."""
    exclude_ratio: Annotated[float, Field(gt=0, le=1)] | None = 0.75
    """A worker, host or site of whose latest tasks (twice `exclude_after`, at least) this share failed, and
    of all others at most half that share, gets no more until a probe succeeds; `null` for never."""


class LimitSettings(Settings):
    """What tasks may take of the machines, all together."""

    concurrent: Annotated[int, Field(ge=1)] | None = None
    """How many tasks run at the same time, in the whole run."""
    per_host: Annotated[int, Field(ge=1)] | None = None
    """How many tasks run on one host at the same time."""
    per_label: dict[str, Annotated[int, Field(ge=1)]] = Field({})
    """How many tasks with a label (or that need a worker's tag of that name) run at the same time, such as
    `{licence: 4}`."""
    max_cpu_percent: Annotated[float, Field(gt=0, le=100)] | None = None
    """A worker whose host is busier than this gets no new tasks until it is not."""
    max_memory: Annotated[Size, Field(ge=1)] | None = None
    """A worker whose rank and tasks use more memory than this (a size such as
    `20GiB`) gets no new tasks until they do not."""


class HeartbeatSettings(Settings):
    """When a silent worker is given up, and what workers look at in themselves."""

    interval_s: Annotated[float, Field(gt=0)] = 5.0
    """Seconds between two heartbeats of a worker."""
    timeout_s: Annotated[float, Field(gt=0)] = 90.0
    """Seconds of silence after which a worker is lost and its tasks go elsewhere. After a third of
    them, at the latest, it is suspect and gets no new work."""
    busy_timeout_s: Annotated[float, Field(gt=0)] | None = 3600.0
    """Seconds of silence after which a worker is lost though the operating system shows that its process
    works, as in a call that does not let go of Python's lock; `null` for never."""
    phi_suspect: Annotated[float, Field(gt=0, le=100)] = 5.0
    """A worker whose heartbeats came evenly is suspect before a third of `timeout_s`: once the chance
    that its next heartbeat is only late has fallen to 10 to the power of minus this."""
    phi_lost: Annotated[float, Field(gt=0, le=100)] | None = 12.0
    """The same for its loss, though not before `phi_floor_s`; `null` to wait for the whole `timeout_s`."""
    phi_floor_s: Annotated[float, Field(gt=0)] | None = None
    """No worker is lost before so many seconds of silence, however even its heartbeats were; two
    thirds of `timeout_s` when left out."""
    phi_deviation_s: Annotated[float, Field(gt=0)] | None = None
    """Heartbeats are taken to vary by at least so many seconds; half of `interval_s` when left out."""
    checks: list[CheckName] = Field([])
    """What each worker looks at in itself: `disk_space`, `gpu_memory`, `network_latency`, or
    your own as `module:function`. Degraded workers get work last, unhealthy ones none until they recover."""
    check_interval_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds between two rounds of `checks`."""
    check_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """A check that takes longer than this makes its worker unhealthy."""

    @model_validator(mode="after")
    def _timeout_spans_several_beats(self) -> "HeartbeatSettings":
        if self.timeout_s < 3 * self.interval_s:
            raise ValueError(
                f"timeout_s ({self.timeout_s:g}) must be at least three times interval_s "
                f"({self.interval_s:g}), or one late heartbeat loses a worker"
            )
        return self

    @model_validator(mode="after")
    def _limits_are_in_order(self) -> "HeartbeatSettings":
        if self.phi_lost is not None and self.phi_lost < self.phi_suspect:
            raise ValueError(
                f"phi_lost ({self.phi_lost:g}) must not be less than phi_suspect ({self.phi_suspect:g})"
            )
        if self.floor_s < self.suspect_s:
            raise ValueError(
                f"phi_floor_s ({self.floor_s:g}) must be at least a third of timeout_s ({self.timeout_s:g}): "
                "a worker is suspect first"
            )
        return self

    @property
    def suspect_s(self) -> float:
        """Seconds of silence after which a worker is suspect, whatever its heartbeats were like."""
        return self.timeout_s / 3

    @property
    def busy_s(self) -> float:
        """Seconds of silence after which a worker is lost, whatever its process does."""
        return math.inf if self.busy_timeout_s is None else max(self.busy_timeout_s, self.timeout_s)

    @property
    def floor_s(self) -> float:
        """Seconds of silence before which no worker is lost."""
        return 2 * self.timeout_s / 3 if self.phi_floor_s is None else self.phi_floor_s

    @property
    def deviation_s(self) -> float:
        """The least that heartbeats are taken to vary, in seconds."""
        return self.interval_s / 2 if self.phi_deviation_s is None else self.phi_deviation_s

    def check_plan(self, hub_host: str = "") -> CheckPlan:
        """What a worker is told of its checks."""
        return CheckPlan(tuple(self.checks), self.check_interval_s, self.check_timeout_s, hub_host)
