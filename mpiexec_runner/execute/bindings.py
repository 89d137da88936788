"""References to finished tasks in the arguments of later ones, such as ``{{ mesh.dir }}``.

Knows how they are written and what they stand for; not where results come from or who runs the task.

A reference names a task and one of ``result`` (what a call returned; keys and indices may follow), ``dir``
(its working directory), ``stdout`` (what a command wrote at last, without white space around it) or
``state`` (``succeeded``, ``failed``, ``cancelled``, ``skipped``). ``all`` before it makes a list of all
instances of a job that was fanned out. A value that is one reference and nothing else becomes what it stands
for, a list or a number, say; within other text, text is inserted. Doubled again (``{{{{``), braces stand for
themselves.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mpiexec_runner.errors import UserError
from mpiexec_runner.execute.finished import output_of
from mpiexec_runner.model.tasks import PlainArguments

WORDS = ("result", "dir", "stdout", "state")
EVERY = "all"

_REFERENCE = re.compile(r"(?<!\{)\{\{\s*([\w-]+(?:\.[\w-]+)+)\s*\}\}(?!\})")
_INSTANCE = re.compile(r"(.+)-\d{4,}")


class Found(NamedTuple):
    """What a finished task left: its name, state (in lower case), directory (empty for none), and value."""

    name: str
    state: str
    dir: str
    value: object


class Reference(NamedTuple):
    """What a reference says. ``word`` is empty where what follows the name is none of ``WORDS``."""

    name: str
    every: bool
    word: str
    path: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The reference as it is written."""
        return "{{ " + ".".join([self.name, *([EVERY] if self.every else []), self.word, *self.path]) + " }}"


def instance_name(job: str, index: int, *, fanned: bool) -> str:
    """Return the name of a job's instance, counted from 0; a job that is not fanned out has its own."""
    return f"{job}-{index + 1:04d}" if fanned else job


def job_of(name: str) -> str:
    """Return the job that a task of this name may be an instance of; else the name."""
    found = _INSTANCE.fullmatch(name)
    return found[1] if found else name


def replace_references(value: Any, replace: Callable[[Reference, str], str]) -> Any:
    """Return the value with every reference in its texts, however deep, replaced by a text.

    Parameters
    ----------
    value
        Plain data.
    replace
        Gets the reference and its text as it was written.
    """

    def one(match: re.Match[str]) -> str:
        return replace(_parse(match[1]), match[0])

    match value:
        case str():
            return _REFERENCE.sub(one, value) if "{{" in value else value
        case list() | tuple():
            return type(value)(replace_references(item, replace) for item in value)
        case dict():
            return {key: replace_references(item, replace) for key, item in value.items()}
        case _:
            return value


def references_in(value: Any) -> Iterator[Reference]:
    """Yield the references in all texts of a value."""
    match value:
        case str():
            if "{{" in value:
                yield from (_parse(match[1]) for match in _REFERENCE.finditer(value))
        case list() | tuple():
            for item in value:
                yield from references_in(item)
        case dict():
            for item in value.values():
                yield from references_in(item)


def bind(arguments: PlainArguments, results: Sequence[Found]) -> PlainArguments:
    """Return the arguments with every reference replaced by what it stands for.

    Parameters
    ----------
    arguments
        As they were written.
    results
        What the tasks left that they may refer to, in the order in which lists are to have them.

    Raises
    ------
    UserError
        When a reference stands for nothing; says what there is.
    """
    known = {found.name: found for found in results}
    args = tuple(_bound(item, known) for item in arguments.args)
    return PlainArguments(args, {key: _bound(item, known) for key, item in arguments.fields.items()})


def _parse(dotted: str) -> Reference:
    parts = dotted.split(".")
    # The name of a task may hold dots, so the first word that is one ends it.
    at = next((at for at in range(1, len(parts)) if parts[at] in (*WORDS, EVERY)), None)
    if at is None:
        return Reference(parts[0], False, "", tuple(parts[1:]))
    name, every = ".".join(parts[:at]), parts[at] == EVERY
    rest = parts[at + every :]
    if not rest or rest[0] not in WORDS:
        return Reference(name, every, "", tuple(rest))
    return Reference(name, every, rest[0], tuple(rest[1:]))


def _bound(value: Any, known: Mapping[str, Found]) -> Any:
    match value:
        case str() if "{{" in value:
            if whole := _REFERENCE.fullmatch(value):
                return _value(_parse(whole[1]), whole[0], known)
            return _REFERENCE.sub(lambda match: str(_value(_parse(match[1]), match[0], known)), value)
        case list() | tuple():
            return [_bound(item, known) for item in value]
        case dict():
            return {key: _bound(item, known) for key, item in value.items()}
        case _:
            return value


def _value(reference: Reference, text: str, known: Mapping[str, Found]) -> Any:
    """Return what a reference stands for, or its text where it is none."""
    if reference.word and not reference.every:
        members = [known[reference.name]] if reference.name in known else []
    else:
        members = [found for found in known.values() if reference.name in (found.name, job_of(found.name))]
    if not reference.word:
        if members:
            raise UserError(
                f"{text} says nothing that a task leaves: {', '.join(WORDS)}, or {EVERY} of these"
            )
        return text
    if members:
        parts = [_part(found, reference, text) for found in members]
        return parts if reference.every else parts[0]
    told = ", ".join(known) or "none"
    raise UserError(f"{text} names no task that this one waits for; they are {told}")


def _part(found: Found, reference: Reference, text: str) -> Any:
    """Return what one task left. In a list, null holds the place of what a task had no chance to leave."""
    if reference.every and found.state in ("skipped", "cancelled") and reference.word != "state":
        return None
    match reference.word:
        case "state":
            return found.state
        case "dir":
            if not found.dir:
                raise UserError(f"{text}: {found.name} has no directory (run.task_dirs is false, or a call)")
            return found.dir
        case "stdout":
            return output_of(found, text)
        case _:
            if found.state == "succeeded":
                return _result(found, reference.path, text)
            if reference.every:
                return None
            raise UserError(f"{text}: {found.name} has {found.state} and left no result")


def _result(found: Found, path: Sequence[str], text: str) -> Any:
    value: Any = found.value
    where = "the result"
    for part in path:
        try:
            if isinstance(value, dict):
                value = value[part] if part in value or not part.isdecimal() else value[int(part)]
            elif isinstance(value, str | bytes):
                raise TypeError  # noqa: TRY301 - no characters are meant
            else:
                value = value[int(part)]
        except (KeyError, IndexError, ValueError, TypeError):
            raise UserError(f"{text}: {where} of {found.name} {_lack(value, part)}") from None
        where = f"{part} in {where}"
    return value


def _lack(value: Any, part: str) -> str:
    """Say what there is instead."""
    if value is None:
        return f"is null and has no {part}. A command leaves no result: refer to its stdout or dir"
    if isinstance(value, dict):
        keys = ", ".join(map(str, list(value)[:20])) or "nothing"
        return f"has no {part}. It has {keys}"
    if hasattr(value, "__len__") and not isinstance(value, str | bytes):
        return f"has no {part}: it is a list of {len(value)}, counted from 0"
    return f"has no {part}: it is {str(value)[:60]!r}"
