"""What pydantic says about a configuration, in plain sentences, each with the path of its key.

Knows pydantic's error types and the models' keys; nothing about files or lines.
"""

import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mpiexec_runner.config.checks import suggestion
from mpiexec_runner.config.models import KINDS_OF_WORK, RunConfig
from mpiexec_runner.config.parameters import GENERATORS
from mpiexec_runner.config.values import KeyPath
from mpiexec_runner.model.settings import shown

# Marks that unions put into the path of an error: which form the value had.
_MARK = re.compile(r"<\w+>|\[key\]")
_LATER_KINDS = ("federated",)


def problems_of(error: ValidationError, model: type[BaseModel] = RunConfig) -> Iterator[tuple[KeyPath, str]]:
    """Yield the path and a sentence for everything that is wrong.

    Parameters
    ----------
    error
        What validation raised.
    model
        The model that was validated; tells which keys there are.
    """
    for details in error.errors(include_url=False):
        path = tuple(part for part in details["loc"] if not _MARK.fullmatch(str(part)))
        if details["type"] == "parts_refused":
            for part, text in details["ctx"]["problems"]:
                yield (*path, *part), text
        else:
            yield path, _sentence(details, path, model)


def _sentence(details: ErrorDetails, path: KeyPath, model: type[BaseModel]) -> str:
    context, value = details.get("ctx", {}), shown(details["input"])
    match details["type"]:
        case "refused":
            return str(context["text"])
        case "value_error":
            return str(context["error"])
        case "extra_forbidden":
            return _unknown_key(path, _known_keys(details["loc"][:-1], model))
        case "missing":
            return "is missing"
        case "union_tag_not_found":
            return _formless(path, details["input"])
        case "literal_error" | "enum":
            return _unlisted(str(context["expected"]), details["input"])
        case "too_short":
            return "is empty. It needs at least one"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            return f"must be {_limit(details['type'], context)}, not {value}"
        case kind:
            return (
                f"must be {_NOUNS[kind]}, not {value}"
                if kind in _NOUNS
                else f"{details['msg']} (it is {value})"
            )


_NOUNS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}


def _limit(kind: str, context: dict[str, Any]) -> str:
    words = {
        "greater_than": "above",
        "greater_than_equal": "at least",
        "less_than": "below",
        "less_than_equal": "at most",
    }
    limit = next(iter(context.values()))
    return f"{words[kind]} {limit:g}" if isinstance(limit, float) else f"{words[kind]} {limit}"


def _unlisted(expected: str, value: object) -> str:
    # pydantic writes the values as Python does, and YAML has its own booleans.
    choices = expected.replace("True", "true").replace("False", "false").replace("'", "")
    known = re.split(r", | or ", choices)
    return f"must be {choices}, not {shown(value)}.{suggestion(str(value), known)}".removesuffix(".")


def _unknown_key(path: KeyPath, known: list[str]) -> str:
    name = str(path[-1])
    if len(path) == 1 and name in _LATER_KINDS:
        return f"this version has no such kind of work. It knows {', '.join(KINDS_OF_WORK)}"
    guess = suggestion(name, known)
    return f"unknown key.{guess}" if guess else f"unknown key. The keys here are {', '.join(known)}"


def _formless(path: KeyPath, value: object) -> str:
    """Say which forms there are to a value that has none of them."""
    if path == ("tasks",):
        return f"must be a list of tasks or a mapping with file, not {shown(value)}"
    keys = list(value) if isinstance(value, dict) else []
    guess = next((found for key in keys if (found := suggestion(str(key), GENERATORS))), "")
    told = (
        f"{', '.join(map(str, keys))} is no way to give values"
        if keys
        else "an empty mapping gives no values"
    )
    return (
        f"{told}.{guess}" if guess else f"{told}. Give a list, one value, or one of {', '.join(GENERATORS)}"
    )


def _known_keys(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """Return the keys that may stand at this place."""
    models: list[type[BaseModel]] = [model]
    for part in location:
        inner = [
            found
            for candidate in models
            for name, field in candidate.model_fields.items()
            if (field.alias or name) == part
            for found in _models_in(field.annotation)
        ]
        marked = [candidate for candidate in models if f"<{candidate.__name__}>" == part]
        models = inner or marked or models
    return [field.alias or name for candidate in models for name, field in candidate.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
