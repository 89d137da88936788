"""The base of all settings records, and how a value that does not fit is refused.

Each component keeps its ``*Settings`` beside its code; ``config`` composes them. This module knows
none of them.
"""

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class Settings(BaseModel):
    """A frozen record of configuration values; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def refuse(text: str) -> PydanticCustomError:
    """Return the error that says this about a value; its text is shown as it is."""
    return PydanticCustomError("refused", "{text}", {"text": text})


def shown(value: object) -> str:
    """Return a value as a message shows it: short, and as YAML writes it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case str():
            return repr(value if len(value) <= 60 else value[:57] + "...")
        case _:
            return str(value)
