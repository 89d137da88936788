"""A configuration file as text, data and places: says for each key in which line it stands.

Knows YAML and overrides, not which keys a configuration has.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mpiexec_runner.config import dialect
from mpiexec_runner.config.values import KeyPath
from mpiexec_runner.errors import ConfigError


@dataclass(frozen=True, slots=True)
class _Override:
    text: str
    path: KeyPath


class Document:
    """The mapping in a configuration file, with overrides applied, and where each part of it was written.

    Parameters
    ----------
    text
        YAML.
    source
        What messages call the text: the file's name.
    overrides
        ``key.path=value`` each, the value in YAML; the index of a list counts from 0.

    Raises
    ------
    ConfigError
        When the text is no YAML mapping of plain data with distinct keys. Overrides that fit nowhere are
        told in ``problems`` instead, so that they can be shown with all others.
    """

    def __init__(self, text: str, source: str, overrides: Sequence[str] = ()) -> None:
        self._source = source
        self._root = self._compose(text)
        faults = [f"{source}:{line}: {problem}" for line, problem in _faults(self._root)]
        if faults:
            raise ConfigError(faults)
        self.data: Any = self._construct()
        self.problems: list[str] = []
        self._overrides: list[_Override] = []
        for override in overrides:
            try:
                self._apply(override)
            except ValueError as error:
                self.problems.append(f"--set {override}: {error}")

    def place(self, path: KeyPath) -> tuple[int, str]:
        """Return the line of a key (0 for an override) and the place as a message names it.

        A path that is not there has the place of its nearest part that is.
        """
        for override in reversed(self._overrides):
            if path[: len(override.path)] == override.path:
                return 0, f"--set {override.text}"
        for override in reversed(self._overrides):
            # Something in what was overridden does not fit the rest: the newest change is the likely cause.
            if path and override.path[: len(path)] == path:
                return 0, f"--set {override.text}"
        line = self._line(path)
        return line, f"{self._source}:{line}"

    def _compose(self, text: str) -> yaml.MappingNode:
        try:
            root = dialect.compose(text)
        except dialect.SyntaxFault as error:
            raise ConfigError([f"{self._source}{_told(error)}"]) from error
        except RecursionError as error:
            raise ConfigError([f"{self._source}: nested too deeply"]) from error
        if root is None or root.tag == dialect.NULL_TAG:
            raise ConfigError(
                [f"{self._source}: the file is empty. Say what to run, under tasks, sweep or workflow"]
            )
        if not isinstance(root, yaml.MappingNode):
            line = root.start_mark.line + 1
            raise ConfigError([f"{self._source}:{line}: must be a mapping of keys to values (key: value)"])
        return root

    def _construct(self) -> Any:
        try:
            return dialect.construct(self._root)
        except dialect.SyntaxFault as error:
            raise ConfigError([f"{self._source}{_told(error)}"]) from error
        except ValueError as error:  # such as !!int x
            raise ConfigError([f"{self._source}: a value does not fit its tag: {error}"]) from error

    def _line(self, path: KeyPath) -> int:
        node: yaml.Node = self._root
        line = 1
        for part in path:
            if isinstance(node, yaml.MappingNode):
                # After a merge a key may be there twice; the last one counts.
                found = [(key, value) for key, value in node.value if key.value == part]
                if not found:
                    break
                key, node = found[-1]
                line = key.start_mark.line + 1
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
            else:
                break
        return line

    def _apply(self, override: str) -> None:
        key, equals, text = override.partition("=")
        names = key.strip().split(".")
        if not equals or not all(names):
            raise ValueError("must read key.path=value")
        try:
            value = dialect.parse_value(text)
        except dialect.SyntaxFault as error:
            raise ValueError(f"the value is{_told(error).partition(': is')[2]}") from error
        path: list[str | int] = []
        self.data = _replaced(self.data, names, value, path)
        self._overrides.append(_Override(override, tuple(path)))


def _replaced(data: Any, names: list[str], value: Any, path: list[str | int]) -> Any:
    """Return the data with one part replaced; note the path of that part.

    What is changed is copied first: where the file uses an alias, only this one use of it changes.
    """
    if not names:
        return value
    name, *rest = names
    where = ".".join(map(str, path)) or "the configuration"
    match data:
        case None:
            data = {}
        case list():
            if not name.isdecimal() or int(name) >= len(data):
                raise ValueError(f"{where} is a list of {len(data)}: {name!r} must be an index from 0 on")
            path.append(int(name))
            copy = list(data)
            copy[int(name)] = _replaced(data[int(name)], rest, value, path)
            return copy
        case dict():
            pass
        case _:
            raise ValueError(f"{where} is {data!r} and has no {name!r} in it")
    path.append(name)
    return {**data, name: _replaced(data.get(name), rest, value, path)}


def _told(error: yaml.YAMLError) -> str:
    """Return what PyYAML found, after the line and column, as the rest of a message."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return f": is no valid YAML: {' '.join(str(error).split())}"
    mark = error.problem_mark or error.context_mark
    place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
    told = ", ".join(part for part in (error.context, error.problem) if part)
    return f"{place}: is no valid YAML: {told}"


def _faults(root: yaml.Node) -> Iterator[tuple[int, str]]:
    """Yield (line, problem) for all that YAML allows and a configuration does not."""
    # Depth first with a stack of our own; a node is looked at once, however many aliases name it.
    seen: set[int] = set()
    open_nodes: set[int] = set()
    stack: list[tuple[yaml.Node, str, bool]] = [(root, "", False)]
    while stack:
        node, path, done = stack.pop()
        if done:
            open_nodes.discard(id(node))
            continue
        line = node.start_mark.line + 1
        if id(node) in open_nodes:
            yield line, f"{path}: contains itself through an alias. Write it out"
            return
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.tag not in dialect.PLAIN_TAGS:
            yield (
                line,
                f"{path or 'the file'}: the tag {_short(node.tag)} is not allowed: only plain data is read",
            )
            continue
        open_nodes.add(id(node))
        stack.append((node, path, True))
        if isinstance(node, yaml.SequenceNode):
            stack.extend(
                (item, _join(path, index), False) for index, item in reversed([*enumerate(node.value)])
            )
        elif isinstance(node, yaml.MappingNode):
            yield from _faults_of_keys(node, path)
            stack.extend((value, _join(path, key.value), False) for key, value in reversed(node.value))


def _faults_of_keys(node: yaml.MappingNode, path: str) -> Iterator[tuple[int, str]]:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.tag == dialect.MERGE_TAG:
            continue
        if key.tag != dialect.STR_TAG:
            what = f"the key {key.value}" if isinstance(key, yaml.ScalarNode) else "a key"
            yield line, f"{path or 'the file'}: {what} must be text. Put it in quotes"
        elif key.value in lines:
            yield (
                line,
                f"{_join(path, key.value)}: is there twice, first in line {lines[key.value]}. Remove one",
            )
        else:
            lines[key.value] = line


def _join(path: str, part: object) -> str:
    return f"{path}.{part}" if path else str(part)


def _short(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def readable(path: str | os.PathLike[str]) -> str:
    """Return the text of a file.

    Raises
    ------
    ConfigError
        When it cannot be read, or is no UTF-8 text.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError([f"{os.fspath(path)}: cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{os.fspath(path)}: is no UTF-8 text (byte {error.start})"]) from error
