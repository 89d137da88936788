"""A configuration turned into tasks: numbered, grouped into kinds, each with the digest of its content.

Knows the models and the records of ``model``; not who runs the tasks. The same configuration always
gives the same tasks, with the same numbers.
"""

from collections.abc import Iterator, Mapping

from mpiexec_runner.config import conditions
from mpiexec_runner.config.instances import expand_workflow
from mpiexec_runner.config.items import Item, items_of
from mpiexec_runner.config.kinds import Kinds, Treatment, Workload, encode, name_of, work_content
from mpiexec_runner.config.models import RunConfig
from mpiexec_runner.config.points import points
from mpiexec_runner.config.sections import SweepSettings, TaskEntry, TaskFile, ToolSettings
from mpiexec_runner.config.values import problem_of_task_name
from mpiexec_runner.errors import ConfigError, InvariantBroken
from mpiexec_runner.model.tasks import CallByName, CommandLine, PlainArguments, TaskSpec, Work

__all__ = ["Workload", "expand"]


def expand(config: RunConfig, *, first_id: int = 1) -> Workload:
    """Return the tasks of a configuration.

    Parameters
    ----------
    config
        A configuration that was loaded.
    first_id
        Number of the first task; the others follow.

    Raises
    ------
    ConfigError
        When there is no task, a task file is wrong, a condition has no answer, or SciPy is missing.
    """
    if config.sweep is not None:
        return _expand_sweep(config.sweep, config.seed, first_id)
    if config.tasks is not None:
        return _expand_tasks(config.tasks, config.tools, first_id)
    if config.workflow is not None:
        return expand_workflow(config.workflow, config.seed, first_id)
    raise InvariantBroken("a configuration without work passed validation")


def _expand_sweep(sweep: SweepSettings, seed: int, first_id: int) -> Workload:
    content = work_content(sweep.call, sweep.command)
    work: Work = CallByName(sweep.call) if sweep.call is not None else CommandLine(sweep.command)
    treatment = Treatment(sweep)
    kind = treatment.kind(1, work, name_of(sweep.call, sweep.command))
    seen: set[bytes] = set()
    tasks: list[TaskSpec] = []
    duplicates = 0
    for fields in _chosen(sweep, seed):
        digest = treatment.digest(content, (), fields)
        if digest in seen:
            duplicates += 1
            continue
        seen.add(digest)
        payload = encode(PlainArguments((), fields))
        site = treatment.site(fields)
        tasks.append(TaskSpec(first_id + len(tasks), kind.id, payload, digest=digest, site=site))
    if not tasks:
        conditional = " and ".join(key for key in ("include", "exclude") if getattr(sweep, key))
        raise ConfigError([f"sweep.{conditional}: leaves no point to run. Check the conditions"])
    return Workload((kind,), tasks, duplicates)


def _chosen(sweep: SweepSettings, seed: int) -> Iterator[dict[str, object]]:
    """Yield the points that the conditions let pass."""
    include = [(f"sweep.include.{index}", conditions.parse(text)) for index, text in enumerate(sweep.include)]
    exclude = [(f"sweep.exclude.{index}", conditions.parse(text)) for index, text in enumerate(sweep.exclude)]
    for point in points(sweep.parameters, samples=sweep.samples, combine=sweep.combine, seed=seed):
        if include and not any(_holds(key, condition, point) for key, condition in include):
            continue
        if not any(_holds(key, condition, point) for key, condition in exclude):
            yield point


def _holds(key: str, condition: conditions.Condition, point: Mapping[str, object]) -> bool:
    try:
        return condition(point)
    except conditions.ConditionError as error:
        raise ConfigError([f"{key}: {error}"]) from error


def _expand_tasks(
    tasks: list[TaskEntry] | TaskFile, tools: Mapping[str, ToolSettings], first_id: int
) -> Workload:
    kinds = Kinds()
    specs: list[TaskSpec] = []
    names: dict[str, str] = {}
    problems: list[str] = []
    for item in items_of(tasks, tools):
        if item.name and (problem := _problem_of(item, names)):
            problems.append(problem)
            continue
        kind, treatment = kinds.of(item.settings, item.call, item.command, shared=item.shared)
        fields = item.fields or {}
        specs.append(
            TaskSpec(
                id=first_id + len(specs),
                kind=kind,
                payload=encode(PlainArguments(item.args, fields)),
                name=item.name,
                digest=treatment.digest(work_content(item.call, item.command), item.args, fields),
                command=None if item.shared or item.call is not None else item.command,
                site=treatment.site(fields),
            )
        )
    if problems:
        raise ConfigError(problems[:20])
    return Workload(kinds.records(), specs)


def _problem_of(item: Item, names: dict[str, str]) -> str | None:
    """Return what is wrong with the task's own name; note the name."""
    if problem := problem_of_task_name(item.name):
        return f"{item.place}: id: {problem}"
    first = names.setdefault(item.name, item.place)
    if first != item.place:
        return f"{item.place}: id: {item.name!r} is already the id of {first}. Each id names one task"
    return None
