"""The sections of a configuration that say what to run: ``tasks`` and ``sweep``. Records and their checks.

How a section becomes tasks is the business of ``expansion.py``.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    ValidationInfo,
    model_validator,
)

from mpiexec_runner.config.checks import (
    Problems,
    problems_of_conditions,
    problems_of_fields,
    problems_of_points,
    problems_of_site,
    problems_of_work,
)
from mpiexec_runner.config.handing import Leftover
from mpiexec_runner.config.parameters import Parameter
from mpiexec_runner.config.treatment import TaskSettings
from mpiexec_runner.config.values import (
    CallTarget,
    Command,
    FieldName,
    KeyPath,
    Plain,
    TaskName,
    refuse_any,
)

ONE_WORK: dict[str, JsonValue] = {"oneOf": [{"required": [key]} for key in ("command", "call", "tool")]}


class ToolSettings(TaskSettings):
    """A program that tasks name by `tool`, with the settings of every task that uses it."""

    command: Command
    """Its command, with `{field}` for the values of the task; `{script}` is the task's `script`."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        refuse_any(problems_of_tool(self))
        return self


def problems_of_tool(tool: ToolSettings) -> Problems:
    """Yield what the parts of a tool say against each other."""
    yield from problems_of_work(tool, tool.command, None)
    yield from problems_of_fields(tool.command, None, "")
    yield from problems_of_site(tool.site, None, "")


class TaskEntry(TaskSettings):
    """One task of a list."""

    model_config = ConfigDict(json_schema_extra=ONE_WORK)

    id: TaskName | None = None
    """A name of its own, used for its directory and in the results; `task_0001` and so on without."""
    command: Command | None = None
    """A command: text for the shell or a list of arguments. `{field}` stands for a value of `with`."""
    call: CallTarget | None = None
    """A Python function, as `package.module:function`; instead of `command`."""
    tool: Leftover = None
    """The name of a tool of this configuration (see `tools`); instead of `command`."""
    script: Leftover = None
    """A file for the tool, relative to the file in which this is written: its absolute path becomes the
    named value `script`."""
    with_: dict[FieldName, Plain] = Field({}, alias="with")
    """Named values: fields of the command, or keyword arguments of the call. Columns of the results."""
    args: list[Plain] = Field([])
    """Positional arguments of the call."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        refuse_any(problems_of_entry(self))
        return self


def problems_of_entry(entry: TaskEntry) -> Problems:
    """Yield what the parts of one task say against each other."""
    yield from problems_of_work(entry, entry.command, entry.call)
    yield from problems_of_fields(entry.command, entry.with_, "with gives")
    yield from problems_of_site(entry.site, entry.with_, "with gives")
    if entry.args and entry.call is None:
        yield ("args",), "belongs to a call. Write the arguments of a command into the command"


class TaskFile(TaskSettings):
    """Tasks from a file, with settings for all of them."""

    file: str
    """The file, relative to the configuration file. `.txt`: one shell command a line, taken as it is;
    empty lines and those that begin with `#` are skipped. `.jsonl`: one task a line, with the keys of a
    task in a list; beside `command` or `call`, each line holds the named values. `.csv`: the first line
    names the columns, each further line holds the named values for `command` or `call`; cells that read
    as numbers are numbers (not with leading zeros). A column or key `id` names the task, and is a field
    only where the command uses `{id}`."""
    command: Command | None = None
    """The command for all lines, with `{field}` for their values."""
    call: CallTarget | None = None
    """The Python function for all lines, as `package.module:function`."""
    tool: Leftover = None
    """The tool for all lines, with their values as its fields; instead of `command`."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        refuse_any(problems_of_file(self))
        return self

    @model_validator(mode="before")
    @classmethod
    def _find_file(cls, data: Any, info: ValidationInfo) -> Any:
        """Make the path absolute, so that the resolved configuration can be read from anywhere."""
        if not isinstance(data, dict) or not isinstance(data.get("file"), str) or not data["file"]:
            return data
        directory = (info.context or {}).get("directory", "")
        return {**data, "file": str(Path(directory, Path(data["file"]).expanduser()).absolute())}


def problems_of_file(tasks: TaskFile) -> Problems:
    """Yield what the keys beside ``file`` say against the sort of file."""
    given = tasks.command is not None or tasks.call is not None
    match Path(tasks.file).suffix:
        case ".txt":
            if given:
                yield ("file",), "each line of a .txt file is a command. Leave out command and call beside it"
            else:
                yield from problems_of_work(tasks, "true", None)
        case ".csv":
            yield from problems_of_work(tasks, tasks.command, tasks.call)
        case ".jsonl":
            if given:
                yield from problems_of_work(tasks, tasks.command, tasks.call)
        case _:
            yield ("file",), f"{tasks.file!r} is of no known sort. Name it .txt, .jsonl or .csv"
    yield from problems_of_fields(tasks.command, None, "")
    yield from problems_of_site(tasks.site, None, "")


def _tasks_tag(value: Any) -> str | None:
    """Say which form the tasks have, so that errors speak of that form only."""
    match value:
        case list() | tuple():
            return "<TaskEntry>"
        case dict() | TaskFile():
            return "<TaskFile>"
        case _:
            return None


def _distinct_names(entries: list[TaskEntry]) -> list[TaskEntry]:
    seen: dict[str, int] = {}
    problems: list[tuple[KeyPath, str]] = []
    for index, entry in enumerate(entries):
        if entry.id is not None and seen.setdefault(entry.id, index) != index:
            problems.append(
                (
                    (index, "id"),
                    f"{entry.id!r} is already the id of tasks.{seen[entry.id]}. Each id names one task",
                )
            )
    refuse_any(problems)
    return entries


Tasks = Annotated[
    Annotated[
        list[TaskEntry], Field(min_length=1), AfterValidator(_distinct_names), Tag("<TaskEntry>")
    ]
    | Annotated[TaskFile, Tag("<TaskFile>")],
    Discriminator(_tasks_tag),
]  # fmt: skip


class SweepSettings(TaskSettings):
    """One task for each combination of parameters."""

    model_config = ConfigDict(json_schema_extra=ONE_WORK)

    command: Command | None = None
    """A command: text for the shell or a list of arguments. `{T}` stands for the value of parameter `T`."""
    call: CallTarget | None = None
    """A Python function, as `package.module:function`, that gets the parameters as keyword arguments;
    instead of `command`."""
    tool: Leftover = None
    """The name of a tool of this configuration (see `tools`); instead of `command`."""
    script: Leftover = None
    """A file for the tool, relative to the configuration file: its absolute path becomes the parameter
    `script`."""
    parameters: Annotated[dict[FieldName, Parameter], Field(min_length=1)]
    """The parameters by name: a list of values, one value, or a mapping with a generator (see below)."""
    combine: Literal["product", "zip"] = "product"
    """`product`: every value with every other, the last parameter changing fastest. `zip`: first with
    first, second with second; a single value goes with all. The `lhs` parameters together count as one,
    and so do the `sobol` ones."""
    samples: Annotated[int, Field(ge=1, le=10_000_000, strict=True)] | None = None
    """Number of points of the `lhs` and `sobol` parameters."""
    include: list[str] = Field([])
    """Conditions such as `T > 1.2 and seed == 3`; when given, only points that meet one of them are run."""
    exclude: list[str] = Field([])
    """Conditions; points that meet one of them are not run."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        refuse_any(problems_of_sweep(self))
        return self


def problems_of_sweep(sweep: SweepSettings) -> Problems:
    """Yield what the parts of a sweep say against each other."""
    yield from problems_of_work(sweep, sweep.command, sweep.call)
    yield from problems_of_fields(sweep.command, sweep.parameters, "parameters are")
    yield from problems_of_site(sweep.site, sweep.parameters, "parameters are")
    yield from problems_of_points(sweep.parameters, sweep.samples, sweep.combine)
    yield from problems_of_conditions("include", sweep.include, sweep.parameters)
    yield from problems_of_conditions("exclude", sweep.exclude, sweep.parameters)
