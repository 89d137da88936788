"""What a program may ask of its tasks, and of the run as a whole: records, and what they become for the core.

Nothing here submits anything.
"""

import re
from typing import Literal

import msgspec

from mpiexec_runner.core.settings import LimitSettings
from mpiexec_runner.errors import UserError
from mpiexec_runner.model.tasks import Mode, Needs, RetryRule, TaskKind, Work

_FACTOR = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?)\s*x\s*median\s*")


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """How tasks are treated, see :meth:`ParallelExecutor.options`; one that is made is known to be good.

    ``timeout_factor`` is a time-out relative to the median duration of such tasks.
    """

    priority: int = 5
    timeout_s: float | None = None
    timeout_factor: float | None = None
    cpus: int = 0
    memory: int = 0
    gpus: int = 0
    tags: tuple[str, ...] = ()
    ranks: int = 1
    retries: int | RetryRule = 0
    labels: tuple[str, ...] = ()
    site: str = ""
    speculate: bool = True
    mode: Mode = Mode.AUTO

    def __post_init__(self) -> None:
        check_priority(self.priority)
        for name in ("cpus", "memory", "gpus"):
            if getattr(self, name) < 0:
                raise UserError(f"{name}={getattr(self, name)}: a task needs none, 0, or more")
        if self.ranks < 1:
            raise UserError(f"ranks={self.ranks}: a task runs on at least 1")
        if self.ranks > 1 and self.mode not in (Mode.AUTO, Mode.INLINE):
            raise UserError(
                f"ranks={self.ranks} with mode={self.mode}: a group runs inside its ranks. Leave mode out"
            )
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise UserError(f"timeout_s={self.timeout_s}: give a number of seconds above 0, or None")
        if isinstance(self.retries, int) and self.retries < 0:
            raise UserError(f"retries={self.retries}: give 0 or more, or a RetryRule")

    def kind(self, id_: int, name: str, work: Work, *, keep: bool, **more: object) -> TaskKind:
        """A kind of tasks that are treated so; ``more`` are further fields of it."""
        return TaskKind(
            id=id_,
            name=name,
            work=work,
            keep=keep,
            mode=self.mode,
            priority=self.priority,
            timeout_s=self.timeout_s,
            timeout_factor=self.timeout_factor,
            retry=RetryRule(max=self.retries) if isinstance(self.retries, int) else self.retries,
            needs=Needs(self.cpus, self.memory, self.gpus, self.tags, self.ranks),
            labels=self.labels,
            speculate=self.speculate,
            **more,  # type: ignore[arg-type]
        )

    def changed(self, **changes: object) -> "TaskOptions":
        """The same with changes; ``None`` leaves what there is, lists become what the record holds.

        Raises
        ------
        UserError
            When a change is not possible.
        """
        for name in ("tags", "labels"):
            if isinstance(changes.get(name), str):
                raise UserError(f"{name}={changes[name]!r}: give a list of them, even of one")
            if changes.get(name) is not None:
                changes[name] = tuple(changes[name])  # type: ignore[arg-type]
        try:
            given = {name: value for name, value in changes.items() if value is not None}
            if "mode" in given:
                given["mode"] = Mode(str(given["mode"]))
            return msgspec.structs.replace(self, **given)
        except (TypeError, ValueError) as error:
            known = ", ".join(self.__struct_fields__)
            raise UserError(f"{error}. The options of a task are {known}") from None


def check_priority(priority: int) -> None:
    """Refuse a priority that there is not."""
    if priority not in range(1, 11):
        raise UserError(f"priority={priority!r}: give 1 to 10; 10 goes first")


class ResourceLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the tasks of a program may take, all together.

    Parameters
    ----------
    max_cpu_percent
        A worker whose host is busier than this gets no new tasks until it is not.
    max_memory
        A worker whose rank and tasks use more bytes than this gets no new tasks until they do not.
    max_concurrent_tasks
        So many run at the same time.
    max_queue_size
        So many may be submitted and not at their end.
    on_full
        What a further submission does: ``"block"`` waits until there is room, ``"refuse"`` raises
        :class:`QueueFull`. ``map`` always waits.
    task_timeout
        Seconds until a running task is ended and has failed, where its own options say nothing; or
        ``"3x median"``: so many times the median duration of its kind.
    monitoring_interval
        Seconds between two looks at what workers use.
    """

    max_cpu_percent: float | None = None
    max_memory: int | None = None
    max_concurrent_tasks: int | None = None
    max_queue_size: int | None = None
    on_full: Literal["block", "refuse"] = "block"
    task_timeout: float | str | None = None
    monitoring_interval: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_cpu_percent", "max_memory", "max_concurrent_tasks", "max_queue_size"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"{name}={value}: give a number above 0, or None for no limit")
        if self.max_cpu_percent is not None and self.max_cpu_percent > 100:
            raise UserError(f"max_cpu_percent={self.max_cpu_percent}: 100 is all cores of a host")
        if self.on_full not in ("block", "refuse"):
            raise UserError(f'on_full={self.on_full!r}: give "block" or "refuse"')
        if self.monitoring_interval is not None and self.monitoring_interval <= 0:
            raise UserError(f"monitoring_interval={self.monitoring_interval}: give seconds above 0")
        self.task_options()

    def settings(self) -> LimitSettings:
        """The part of it that the core keeps to."""
        return LimitSettings(
            concurrent=self.max_concurrent_tasks,
            max_cpu_percent=self.max_cpu_percent,
            max_memory=self.max_memory,
        )

    def task_options(self) -> TaskOptions:
        """The options that tasks have unless they ask for others."""
        if self.task_timeout is None:
            return TaskOptions()
        if not isinstance(self.task_timeout, str):
            return TaskOptions(timeout_s=float(self.task_timeout))
        found = _FACTOR.fullmatch(self.task_timeout)
        if found is None or float(found[1]) <= 1:
            raise UserError(f'task_timeout={self.task_timeout!r}: give seconds, or "3x median" (above 1x)')
        return TaskOptions(timeout_factor=float(found[1]))


class QueueFull(UserError):
    """A task was refused: as many as ``max_queue_size`` allows are under way."""
