"""The small types that configuration keys are made of: plain data, names, commands, times.

Nothing here knows which key uses which type.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from mpiexec_runner.model.settings import refuse, shown

KeyPath = tuple[str | int, ...]
"""Where a value stands in a configuration: keys, and indices of lists."""

_PLAIN_TYPES = ["null", "boolean", "number", "string", "array", "object"]
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,99}")
_DEFAULT_NAME = re.compile(r"task_\d+")


def refuse_parts(problems: list[tuple[KeyPath, str]]) -> PydanticCustomError:
    """Return one error that says several things, each about a part of the value given by its path."""
    return PydanticCustomError("parts_refused", "{problems}", {"problems": problems})


def refuse_any(problems: Iterable[tuple[KeyPath, str]]) -> None:
    """Raise one error that says all of these, if there are any."""
    found = list(problems)
    if found:
        raise refuse_parts(found)


def plain(value: object) -> object:
    """Return the value when it is plain data, with tuples as lists; refuse it otherwise."""
    match value:
        case None | bool() | float() | str():
            return value
        case int():
            if _SMALLEST <= value <= _LARGEST:
                return value
            raise refuse(
                f"{value} is too large: whole numbers have at most 64 bits. Quote it to pass it as text"
            )
        case list() | tuple():
            return [plain(item) for item in value]
        case dict():
            wrong = next((key for key in value if not isinstance(key, str)), None)
            if wrong is not None:
                raise refuse(f"the key {shown(wrong)} must be text. Put it in quotes")
            return {key: plain(item) for key, item in value.items()}
        case _:
            raise refuse(
                f"{shown(value)} is no plain data (null, true or false, a number, text, a list, a mapping), "
                f"but {type(value).__name__}"
            )


def _field_name(name: str) -> str:
    if not name.isidentifier():
        raise refuse(f"{name!r} cannot name a value: use letters, digits and underscores, no digit first")
    return name


def problem_of_name(name: str) -> str | None:
    """Return what is wrong with a name that is to be part of a path, or ``None``."""
    if not _SAFE_NAME.fullmatch(name):
        return (
            f"{shown(name)} is no usable name: 1 to 100 of the characters A-Z a-z 0-9 . _ - (it may become "
            "part of a path), and no dot first"
        )
    return None


def safe_name(text: str) -> str:
    """Return a usable name that is like this text."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:100] or "run"


def problem_of_task_name(name: str) -> str | None:
    """Return what is wrong with a task's own name, or ``None``."""
    if _DEFAULT_NAME.fullmatch(name):
        return f"{shown(name)} looks like the name of a task without one. Choose another"
    return problem_of_name(name)


def problem_of_label(text: str) -> str | None:
    """Return what is wrong with a label or a tag, or ``None``."""
    if _LABEL.fullmatch(text):
        return None
    return (
        f"{shown(text)} is no usable word: 1 to 100 letters, digits and . _ : + - (a letter or digit first)"
    )


def _name(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _run_name(value: str) -> str:
    if problem := problem_of_name(value):
        raise refuse(problem)
    return value


def _task_name(value: str) -> str:
    if problem := problem_of_task_name(value):
        raise refuse(problem)
    return value


def _environment_value(value: object) -> str:
    match value:
        case str():
            text = value
        case bool() | None:
            raise refuse(f"must be text, not {shown(value)}. Put it in quotes")
        case int() | float():
            text = str(value)
        case _:
            raise refuse(f"must be text, not {shown(value)}")
    if "\0" in text:
        raise refuse("must not hold a null character")
    return text


def _environment_name(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise refuse(f"{name!r} is no name of an environment variable")
    if name.startswith("MPIEXEC_RUNNER_"):
        raise refuse("names that begin with MPIEXEC_RUNNER_ are set by the run itself. Choose another")
    return name


def _command(value: object) -> object:
    match value:
        case str() if value.strip():
            return value
        case list() | tuple() if value:
            return tuple(_argument(item) for item in value)
        case str() | list() | tuple():
            raise refuse("the command is empty")
        case _:
            raise refuse(f"must be text for the shell or a list of arguments, not {shown(value)}")


def _argument(item: object) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, int | float) and not isinstance(item, bool):
        return str(item)
    raise refuse(f"an argument of a command must be text or a number, not {shown(item)}. Put it in quotes")


def _target(value: object) -> object:
    if not isinstance(value, str):
        raise refuse(f"must name a function as package.module:function, not {shown(value)}")
    module, _, function = value.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), *function.split(".")]):
        raise refuse(f"must name a function as package.module:function, not {shown(value)}")
    return value


Plain = Annotated[Any, BeforeValidator(plain), WithJsonSchema({"type": _PLAIN_TYPES})]
FieldName = Annotated[str, AfterValidator(_field_name)]
RunName = Annotated[str, BeforeValidator(_name), AfterValidator(_run_name)]
TaskName = Annotated[
    str, BeforeValidator(_name), AfterValidator(_task_name), WithJsonSchema({"type": ["string", "integer"]})
]
EnvironmentName = Annotated[str, AfterValidator(_environment_name)]
EnvironmentValue = Annotated[
    str, BeforeValidator(_environment_value), WithJsonSchema({"type": ["string", "number"]})
]
Command = Annotated[
    str | tuple[str, ...],
    BeforeValidator(_command),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 1},
            ]
        }
    ),
]
CallTarget = Annotated[
    str,
    BeforeValidator(_target),
    WithJsonSchema({"type": "string", "pattern": r"^[^\s:]+:[^\s:]+$"}),
]
Seconds = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
Pause = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
