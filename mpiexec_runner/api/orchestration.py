"""OrchestrationManager: many objectives as one workload with priorities over the same workers.

It submits and counts; what runs when is the scheduler's.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from mpiexec_runner.api.pipeline import TaskPipeline
from mpiexec_runner.api.records import ExecutionStats, WorkflowStatus
from mpiexec_runner.core.metrics import RunMetrics
from mpiexec_runner.errors import UserError
from mpiexec_runner.policies.scaling import ScalingSettings

SuiteCallback = Callable[[dict[str, WorkflowStatus]], object]


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """One of the things that a suite measures.

    Parameters
    ----------
    name
        Its name; its tasks are ``NAME-0001`` and so on, and carry it as a label.
    call, tool, command
        What each task runs, one of them: a function (or ``"module:function"``), a tool of the pipeline, or a
        command.
    script
        The ``{script}`` of the tool.
    parameters
        A mapping of parameters to their values: a task for each combination. Or a list of points, each the
        named values of one task. Left out: one task.
    priority
        1 to 10; tasks of objectives with a higher one go first.
    options
        As for :meth:`ParallelExecutor.options`.
    """

    name: str
    call: Callable[..., Any] | str | None = None
    tool: str | None = None
    command: str | Sequence[str] | None = None
    script: str | None = None
    parameters: Mapping[str, Iterable[Any]] | Sequence[Mapping[str, Any]] = ({},)
    priority: int = 5
    options: Mapping[str, Any] = {}

    def points(self) -> list[dict[str, Any]]:
        """The named values of each task."""
        if not isinstance(self.parameters, Mapping):
            return [dict(point) for point in self.parameters]
        values = [list(some) for some in self.parameters.values()]
        return [dict(zip(self.parameters, point, strict=True)) for point in itertools.product(*values)]


class ObjectiveReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an objective: the value of each point, in order, ``None`` where there is none.

    ``failures`` says why, by the name of the task.
    """

    name: str
    priority: int
    stats: ExecutionStats
    points: list[dict[str, Any]]
    values: list[Any]
    failures: dict[str, str]


class SuiteReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a suite, by objective and in all.

    ``active`` is how many workers were active from when on, in seconds; empty without auto-scaling.
    """

    objectives: dict[str, ObjectiveReport]
    stats: ExecutionStats
    metrics: RunMetrics
    active: list[tuple[float, int]]

    @property
    def succeeded(self) -> bool:
        """Whether no task failed."""
        return not any(report.failures for report in self.objectives.values())


class OrchestrationManager:
    """Runs suites over the workers of a pipeline.

    Parameters
    ----------
    pipeline
        It may have other tasks, too.
    scaling
        Between which bounds the number of active workers follows the work; ``None``: all are active.

    Examples
    --------
    >>> with TaskPipeline() as pipeline:  # doctest: +SKIP
    ...     sphere = Objective(name="sphere", call=square, parameters={"x": [1, 2]})
    ...     report = OrchestrationManager(pipeline).run_benchmark_suite([sphere])
    """

    def __init__(self, pipeline: TaskPipeline, scaling: ScalingSettings | None = None) -> None:
        self._pipeline, self._scaling = pipeline, scaling

    def run_benchmark_suite(
        self,
        objectives: Iterable[Objective | Callable[..., Any]],
        *,
        timeout: float | None = None,
        callback: SuiteCallback | None = None,
        poll_interval: float = 1.0,
    ) -> SuiteReport:
        """Run all tasks of all objectives as one workload, and wait for them.

        Parameters
        ----------
        objectives
            Records, or bare functions, which are called once.
        timeout
            In seconds; then what is left is cancelled and ``TimeoutError`` raised.
        callback
            Called every ``poll_interval`` seconds, and at the end, with how each objective stands.

        Raises
        ------
        UserError
            When an objective cannot be submitted so, or two have the same name: nothing is submitted.
        """
        suite = [_Part(_objective(one)) for one in objectives]
        names = [part.objective.name for part in suite]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"two objectives are named {name}: give each a name of its own")
        if not suite:
            raise UserError("a suite has at least one objective")
        pipeline = self._pipeline

        def say(_: WorkflowStatus) -> None:
            if callback is not None:
                callback({part.objective.name: self._status(part) for part in suite})

        with self._scaled() as active:
            whole = pipeline.submit_workflow([task for part in suite for task in part.tasks()])
            try:
                pipeline.wait_for_workflow(whole, timeout, say if callback else None, poll_interval)
            except BaseException:
                pipeline.cancel_workflow(whole)
                raise
            return SuiteReport(
                objectives={part.objective.name: self._report(part) for part in suite},
                stats=pipeline.get_parallel_execution_stats(whole),
                metrics=pipeline.metrics(),
                active=list(active),
            )

    @contextlib.contextmanager
    def _scaled(self) -> Iterator[list[tuple[float, int]]]:
        if self._scaling is None:
            yield []
            return
        with self._pipeline.auto_scale(self._scaling) as history:
            yield history

    def _status(self, part: "_Part") -> WorkflowStatus:
        counts: dict[str, int] = {}
        for name in part.names:
            state = self._pipeline.get_task_status(name).state
            counts[state] = counts.get(state, 0) + 1
        return WorkflowStatus(id=part.objective.name, total=len(part.names), counts=counts, complete=True)

    def _report(self, part: "_Part") -> ObjectiveReport:
        pipeline = self._pipeline
        values: list[Any] = []
        failures: dict[str, str] = {}
        for name in part.names:
            status = pipeline.get_task_status(name)
            values.append(pipeline.get_result(name) if status.succeeded else None)
            if not status.succeeded:
                failures[name] = f"{status.state}: {status.why}"
        return ObjectiveReport(
            name=part.objective.name,
            priority=part.objective.priority,
            stats=pipeline.get_parallel_execution_stats(task_ids=part.names),
            points=part.points,
            values=values,
            failures=failures,
        )


class _Part:
    """An objective with its points and the names of its tasks."""

    def __init__(self, objective: Objective) -> None:
        self.objective, self.points = objective, objective.points()
        if not self.points:
            raise UserError(f"the objective {objective.name} has no points, so there is nothing to run")
        self.names = [f"{objective.name}-{number:04d}" for number in range(1, len(self.points) + 1)]

    def tasks(self) -> Iterator[dict[str, Any]]:
        """Its tasks, as :meth:`TaskPipeline.submit_workflow` takes them."""
        objective = self.objective
        common: dict[str, Any] = {
            key: value
            for key in ("call", "tool", "command", "script")
            if (value := getattr(objective, key)) is not None
        }
        common |= {"priority": objective.priority, **objective.options}
        common["labels"] = (objective.name, *common.get("labels", ()))
        for name, point in zip(self.names, self.points, strict=True):
            yield {"id": name, "with": point, **common}


def _objective(given: Objective | Callable[..., Any]) -> Objective:
    if isinstance(given, Objective):
        return given
    if callable(given):
        return Objective(name=getattr(given, "__name__", type(given).__name__), call=given)
    raise UserError(f"an objective is an Objective or a function, not {given!r}")
