"""One job of a workflow: a record, and what its keys can say against each other.

What a job says of others is looked at in ``workflow.py``.
"""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from mpiexec_runner.config.checks import Problems, problems_of_points, problems_of_work
from mpiexec_runner.config.handing import Leftover
from mpiexec_runner.config.parameters import Parameter
from mpiexec_runner.config.sections import ONE_WORK
from mpiexec_runner.config.treatment import TaskSettings
from mpiexec_runner.config.values import CallTarget, Command, FieldName, Plain, refuse_any


def _names(value: object) -> object:
    return [value] if isinstance(value, str) else value


Names = Annotated[
    list[str],
    BeforeValidator(_names),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class JobEntry(TaskSettings):
    """One job of a workflow: a task, or with `for_each` one task for each combination of parameters."""

    model_config = ConfigDict(json_schema_extra=ONE_WORK)

    command: Command | None = None
    """A command: text for the shell or a list of arguments. `{field}` stands for a value of `with` or a
    parameter, `{{ job.dir }}` and the like for what another job left (see below)."""
    call: CallTarget | None = None
    """A Python function, as `package.module:function`; instead of `command`."""
    tool: Leftover = None
    """The name of a tool of this configuration (see `tools`); instead of `command`."""
    script: Leftover = None
    """A file for the tool, relative to the configuration file: its absolute path becomes the named value
    `script`."""
    depends_on: Names = Field([])
    """The job, or the list of jobs, that this one waits for. Those that it refers to need not be named."""
    when: Literal["success", "any", "failure"] = "success"
    """Which ends of those jobs let it begin: `success` of all, `any` end of all, or `failure` of at least
    one, with all at their end. A job that cannot begin any more is skipped."""
    stage: str | None = None
    """One of the workflow's `stages`: it waits for all tasks of the stage before."""
    with_: dict[FieldName, Plain] = Field({}, alias="with")
    """Named values: fields of the command, or keyword arguments of the call. Columns of the results."""
    args: list[Plain] = Field([])
    """Positional arguments of the call."""
    for_each: dict[FieldName, Parameter] = Field({})
    """Parameters, as in a sweep: the job runs once for each combination. They are fields, or keyword
    arguments, like the values of `with`."""
    combine: Literal["product", "zip"] = "product"
    """How the parameters of `for_each` are combined, as in a sweep."""
    samples: Annotated[int, Field(ge=1, le=10_000_000, strict=True)] | None = None
    """Number of points of the `lhs` and `sobol` parameters."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        refuse_any(_problems_of_job(self))
        return self


def _problems_of_job(job: JobEntry) -> Problems:
    """Yield what the parts of a job say against each other; its fields need the other jobs."""
    yield from problems_of_work(job, job.command, job.call)
    if job.for_each:
        yield from problems_of_points(job.for_each, job.samples, job.combine, "for_each")
    elif job.samples is not None:
        yield ("samples",), "is for lhs and sobol parameters, and there are none. Remove it"
    if job.args and job.call is None:
        yield ("args",), "belongs to a call. Write the arguments of a command into the command"
    for name in job.for_each.keys() & job.with_.keys():
        yield ("with", name), "is a parameter of for_each too. Remove one"
