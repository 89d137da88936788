"""The tasks of a list or a file, one after another, as plain records.

Knows the formats of task files; not how tasks are numbered, grouped or run.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mpiexec_runner.config.checks import problems_of_missing
from mpiexec_runner.config.handing import equip, under
from mpiexec_runner.config.problems import problems_of
from mpiexec_runner.config.sections import TaskEntry, TaskFile, ToolSettings
from mpiexec_runner.config.treatment import TaskSettings
from mpiexec_runner.errors import ConfigError
from mpiexec_runner.execute.template import escape, fields_of
from mpiexec_runner.model.settings import shown

# A file that is wrong is often wrong in every line.
_MOST_PROBLEMS = 20
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Item:
    """One task as it was written; ``shared`` says that its command is that of the whole file."""

    place: str
    settings: TaskSettings
    name: str = ""
    command: str | tuple[str, ...] | None = None
    call: str | None = None
    args: tuple[object, ...] = ()
    fields: dict[str, object] | None = None
    shared: bool = False


_NONE: dict[str, ToolSettings] = {}


def items_of(tasks: list[TaskEntry] | TaskFile, tools: Mapping[str, ToolSettings] = _NONE) -> Iterator[Item]:
    """Yield the tasks in their order.

    Parameters
    ----------
    tasks
        The section of the configuration.
    tools
        Those of the configuration: the lines of a file may name them.

    Raises
    ------
    ConfigError
        When a file cannot be read, has no tasks, or lines that are none; names file and lines. It may
        come after some tasks were yielded.
    """
    if isinstance(tasks, TaskFile):
        yield from _items_of_file(tasks, tools)
    else:
        for index, entry in enumerate(tasks):
            yield _item(f"tasks.{index}", entry)


def _item(place: str, entry: TaskEntry) -> Item:
    return Item(place, entry, entry.id or "", entry.command, entry.call, tuple(entry.args), entry.with_)


_Fault = Callable[[int, str], None]


def _items_of_file(file: TaskFile, tools: Mapping[str, ToolSettings]) -> Iterator[Item]:
    problems: list[str] = []

    def fault(line: int, what: str) -> None:
        problems.append(f"{file.file}:{line}: {what}")
        if len(problems) == _MOST_PROBLEMS:
            raise ConfigError([*problems, f"{file.file}: more lines were not looked at"])

    def objects(file: TaskFile, fault: _Fault) -> Iterator[Item]:
        return _objects(file, fault, tools)

    readers = {".txt": _commands, ".jsonl": objects, ".csv": _rows}
    found = False
    try:
        for item in readers[Path(file.file).suffix](file, fault):
            found = True
            yield item
    except OSError as error:
        raise ConfigError([f"tasks.file: {file.file} cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"tasks.file: {file.file} is no UTF-8 text: {error.reason}"]) from error
    if problems:
        raise ConfigError(problems)
    if not found:
        raise ConfigError([f"tasks.file: {file.file} holds no task"])


def _lines(file: TaskFile) -> Iterator[tuple[int, str]]:
    # A line ends with a line feed only: str.splitlines would also cut at characters that JSON may hold.
    with Path(file.file).open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            text = line.strip()
            if text:
                yield number, text


def _commands(file: TaskFile, fault: _Fault) -> Iterator[Item]:
    for number, text in _lines(file):
        if "\0" in text:
            fault(number, "holds a null character, which no command can")
        elif not text.startswith("#"):
            yield Item(f"{file.file}:{number}", file, command=escape(text))


def _objects(file: TaskFile, fault: _Fault, tools: Mapping[str, ToolSettings]) -> Iterator[Item]:
    settings = _settings(file)
    equipped = {name: under(settings, raw_tool(tool)) for name, tool in tools.items()}
    for number, text in _lines(file):
        try:
            written = json.loads(text)
        except json.JSONDecodeError as error:
            fault(number, f"is no JSON: {error.msg} (column {error.colno})")
            continue
        except (ValueError, RecursionError) as error:
            fault(number, f"is no JSON that can be read: {error}")
            continue
        if not isinstance(written, dict):
            fault(number, f"must be a JSON object with the keys of a task, not {shown(written)}")
        elif file.command is None and file.call is None:
            whole = equip(written, equipped, settings, Path(file.file).parent)
            if (entry := _entry(whole, number, fault)) is not None:
                yield _item(f"{file.file}:{number}", entry)
        elif (item := _filled(file, settings, written, number, fault)) is not None:
            yield item


def _rows(file: TaskFile, fault: _Fault) -> Iterator[Item]:
    settings = _settings(file)
    with Path(file.file).open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            columns = [name.strip() for name in next(reader, [])]
            if not _columns_fit(file, columns, fault):
                return
            for row in reader:
                if not row:
                    continue
                if len(row) != len(columns):
                    fault(reader.line_num, f"has {len(row)} cells; there are {len(columns)} columns")
                    continue
                # The id is a name, also where it is made of digits.
                cells = zip(columns, row, strict=True)
                fields = {name: cell.strip() if name == "id" else _cell(cell) for name, cell in cells}
                item = _filled(file, settings, fields, reader.line_num, fault)
                if item is not None:
                    yield item
        except csv.Error as error:
            fault(reader.line_num, f"is no CSV: {error}")


def _columns_fit(file: TaskFile, columns: list[str], fault: _Fault) -> bool:
    if not columns:
        raise ConfigError([f"tasks.file: {file.file} holds no task"])
    problems = [
        f"the column {shown(name)} is there twice" for name in sorted({*columns}) if columns.count(name) > 1
    ]
    problems += [
        f"{shown(name)} cannot name a column: use letters, digits and underscores, no digit first"
        for name in columns
        if not name.isidentifier()
    ]
    if file.command is not None:
        problems += problems_of_missing(fields_of(file.command), columns, "columns are")
    for problem in problems:
        fault(1, problem)
    return not problems


def _cell(text: str) -> object:
    """Return a number where the text reads as one; zeros in front make it a label, such as 007."""
    text = text.strip()
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _settings(file: TaskFile) -> dict[str, Any]:
    return file.model_dump(include=set(TaskSettings.model_fields))


def raw_tool(tool: ToolSettings) -> dict[str, Any]:
    """Return what was written of a tool."""
    return tool.model_dump(by_alias=True, exclude_unset=True)


def _filled(
    file: TaskFile, settings: dict[str, Any], fields: dict[str, Any], line: int, fault: _Fault
) -> Item | None:
    """Return the task that one line of values makes of the file's command or call."""
    name = fields.get("id")
    if name is not None and (file.command is None or "id" not in fields_of(file.command)):
        fields = {key: value for key, value in fields.items() if key != "id"}
    written = {**settings, "command": file.command, "call": file.call, "id": name, "with": fields}
    entry = _entry(written, line, fault)
    if entry is None:
        return None
    place = f"{file.file}:{line}"
    return Item(place, file, entry.id or "", file.command, file.call, (), entry.with_, shared=True)


def _entry(written: dict[str, Any], line: int, fault: _Fault) -> TaskEntry | None:
    try:
        return TaskEntry.model_validate(written)
    except ValidationError as error:
        for path, problem in problems_of(error, TaskEntry):
            fault(line, f"{'.'.join(map(str, path))}: {problem}" if path else problem)
        return None
