"""A configuration file read, checked and written back: all that is wrong with it is said at once.

Knows files and messages; what the keys mean is the models' business.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mpiexec_runner.config import dialect
from mpiexec_runner.config.document import Document, readable
from mpiexec_runner.config.items import raw_tool
from mpiexec_runner.config.models import RunConfig
from mpiexec_runner.config.problems import problems_of
from mpiexec_runner.config.values import safe_name
from mpiexec_runner.errors import ConfigError


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a configuration file.

    Parameters
    ----------
    path
        A YAML file. Relative paths in it begin at its directory.
    overrides
        ``key.path=value`` each, the value in YAML; applied in order.

    Raises
    ------
    ConfigError
        With every problem found: its place (file and line, or override), what is wrong, what to do.
    """
    file = Path(path)
    return loads(
        readable(file),
        overrides,
        source=str(path),
        directory=file.absolute().parent,
        name=safe_name(file.stem),
    )


def loads(
    text: str,
    overrides: Sequence[str] = (),
    *,
    source: str = "configuration",
    directory: str | Path | None = None,
    name: str = "run",
) -> RunConfig:
    """Read a configuration from text; see :func:`load`.

    Parameters
    ----------
    text
        YAML.
    overrides
        ``key.path=value`` each.
    source
        What messages call the text.
    directory
        Where relative paths in it begin; the current directory when not given.
    name
        The run's name unless the text gives one.
    """
    document = Document(text, source, overrides)
    found = [(0, problem) for problem in document.problems]
    try:
        config = RunConfig.model_validate(
            {"name": name, **document.data}, context={"directory": directory or Path.cwd()}
        )
    except ValidationError as error:
        for path, problem in problems_of(error):
            line, place = document.place(path)
            what = ".".join(map(str, path)) + ":" if path else "the configuration"
            found.append((line, f"{place}: {what} {problem}"))
    if found:
        raise ConfigError([message for _, message in sorted(found, key=lambda item: item[0])])
    return config


def resolved_yaml(config: RunConfig) -> str:
    """Return the configuration with all settings written out, as YAML that loads to an equal one.

    What tasks have in common with ``defaults`` is written there only.
    """
    data = config.model_dump(by_alias=True)
    defaults = data["defaults"]
    match data["tasks"]:
        case list() as entries:
            data["tasks"] = [_own(entry, defaults) for entry in entries]
        case dict() as file:
            data["tasks"] = _own(file, defaults)
        case None:
            del data["tasks"]
    if data["sweep"] is None:
        del data["sweep"]
    else:
        data["sweep"] = _own(data["sweep"], defaults)
    if data["workflow"] is None:
        del data["workflow"]
    else:
        data["workflow"] = {
            name: _own(job, defaults) if isinstance(job, dict) else job
            for name, job in data["workflow"].items()
        }
    # What was not written of a tool must not go before what a file of tasks says.
    data["tools"] = {name: raw_tool(tool) for name, tool in config.tools.items()}
    return dialect.dump(_plain(data))


def _own(section: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return what a task says beyond the defaults, without the keys that it leaves open."""
    return {
        key: value
        for key, value in section.items()
        if (value != defaults[key] if key in defaults else value not in (None, {}, []))
    }


def _plain(value: Any) -> Any:
    """Return what YAML knows: lists for tuples, text for members of enumerations."""
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case str():
            return str(value)
        case _:
            return value
