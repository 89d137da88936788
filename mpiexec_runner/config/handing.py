"""What a configuration writes once and means for many tasks, written into each of them: defaults and tools.

Works on the data before it is checked; every task says all about itself afterwards. What is wrong is left
in place for the checks to find, so that it is told once, where it stands.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, ValidationError, WithJsonSchema

from mpiexec_runner.config.checks import suggestion
from mpiexec_runner.config.treatment import TaskSettings
from mpiexec_runner.model.settings import Settings, refuse

STAGES = "stages"
"""The one key of a workflow that is no job."""
_NESTED = ("resources", "retries")
"""Keys whose mappings are handed down key by key."""
_SOUND = {"command": ":"}
"""Stands for a tool that is wrong itself, where a task uses it."""


class Refused(NamedTuple):
    """Stands in the data for a value that is wrong, and says why."""

    text: str


def _unresolved(value: object) -> object:
    match value:
        case None:
            return None
        case Refused(text):
            raise refuse(text)
        case _:
            raise refuse(
                "is for the tools of this configuration, and none is named here. Give tool and tools"
            )


Leftover = Annotated[str | None, BeforeValidator(_unresolved), WithJsonSchema({"type": "string"})]
"""The type of ``tool`` and ``script``, which are gone once they are resolved."""


def hand_down(data: dict[str, Any], tool_model: type[Settings], directory: str | Path) -> dict[str, Any]:
    """Return the data of a configuration with defaults and tools written into every task.

    Parameters
    ----------
    data
        The configuration as it was written.
    tool_model
        What a tool must be.
    directory
        Where relative paths begin.
    """
    defaults = data.get("defaults")
    if not isinstance(defaults, dict) or not _valid(TaskSettings, defaults):
        defaults = {}
    written = data.get("tools")
    tools = {
        name: under(defaults, tool if _valid(tool_model, tool) else _SOUND)
        for name, tool in (written.items() if isinstance(written, dict) else ())
    }

    def equipped(own: Any, fields: str = "with") -> Any:
        if not isinstance(own, dict):
            return own
        return equip(own, tools, defaults, directory, fields)

    handed: dict[str, Any] = {}
    match data.get("tasks"):
        case list() as entries:
            handed["tasks"] = [equipped(entry) for entry in entries]
        case dict() as file:
            handed["tasks"] = equipped(file)
    if "sweep" in data:
        handed["sweep"] = equipped(data["sweep"], "parameters")
    if isinstance(jobs := data.get("workflow"), dict):
        handed["workflow"] = {name: job if name == STAGES else equipped(job) for name, job in jobs.items()}
    return {**data, **handed}


def equip(
    own: dict[str, Any],
    tools: Mapping[str, dict[str, Any]],
    defaults: dict[str, Any],
    directory: str | Path,
    fields: str = "with",
) -> dict[str, Any]:
    """Return what a task says, with what its tool (or else the defaults) say where it says nothing.

    Parameters
    ----------
    own
        The task as it was written.
    tools
        The tools by name, defaults written into them.
    defaults
        Settings of a task without a tool.
    directory
        Where a relative ``script`` begins.
    fields
        The key under which the task has its named values.
    """
    name = own.get("tool")
    if name is None:
        return under(defaults, own)
    if problem := _problem_of(own, name, tools):
        return under(defaults, {**own, "tool": Refused(problem)})
    rest = {key: value for key, value in own.items() if key not in ("tool", "script")}
    script, values = own.get("script"), own.get(fields) or {}
    if script is not None and isinstance(values, dict):
        if not isinstance(script, str) or not script:
            rest["script"] = Refused("must be the name of a file")
        elif "script" in values:
            rest["script"] = Refused(f"is given under {fields} too. Remove one")
        else:
            rest[fields] = {**values, "script": str(Path(directory, Path(script).expanduser()).absolute())}
    return under(tools[name], rest)


def _problem_of(own: dict[str, Any], name: object, tools: Mapping[str, object]) -> str | None:
    if "command" in own or "call" in own:
        return "give one of command, call and tool"
    if isinstance(name, str) and name in tools:
        return None
    known = (
        f"Tools are {', '.join(tools)}.{suggestion(str(name), tools)}" if tools else "Write it under tools"
    )
    return f"there is no tool {name!r}. {known}"


def under(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return what ``own`` says, and ``base`` where it says nothing; of what tasks need and retry, by key."""
    merged = {**base, **own}
    for key in _NESTED:
        if isinstance(base.get(key), dict) and isinstance(own.get(key), dict):
            merged[key] = {**base[key], **own[key]}
    return merged


def _valid(model: type[Settings], data: Any) -> bool:
    try:
        model.model_validate(data)
    except ValidationError:
        return False
    return True
