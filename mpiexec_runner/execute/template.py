"""Command templates: ``{field}`` in a command becomes a task's value, quoted where a shell will read it.

Nothing here knows where fields come from, what a task is, or who runs the command.

A template is a list of arguments, where a value is inserted as it is and no shell is involved, or one
string for ``/bin/sh``, where it is quoted for the place in which it stands: as a word, inside single
quotes, or inside double quotes (the quotes of the template stay as they are). So ``"echo {x}"``,
``"echo '{x}'"`` and ``'echo "{x}"'`` all print the value, whatever it contains. Elsewhere (a
here-document and all that follows it, back-quotes, ``${...}``, ``$((...))``, a comment) no quoting is
right for every value, and only values of harmless characters are accepted: numbers, names, paths.

A value that the command hands to a second shell (``ssh host "..."``) is quoted for the first one only.

``{x:*}`` writes the items of a list as one word each: so many arguments, where it is an argument of its own;
items that are ``None`` are left out. Any other format specification may follow a colon, as in ``{T:.3f}``.
``{{`` and ``}}`` are literal braces.
"""

import functools
import shlex
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mpiexec_runner.errors import UserError
from mpiexec_runner.execute.quoting import Quoting, ShellReader

Template = str | Sequence[str]
SHELL = ("/bin/sh", "-c")
WORDS = "*"
"""The format specification for lists."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    spec: str
    quoting: Quoting = Quoting.NONE


_Piece = str | _Field


def fields_of(template: Template) -> frozenset[str]:
    """Return the names of the fields that a template needs.

    Parameters
    ----------
    template
        Arguments, or one string for the shell.

    Raises
    ------
    UserError
        When the template cannot be read; says what is wrong with which part.
    """
    return _fields(_key(template))


def render(template: Template, fields: Mapping[str, object]) -> list[str]:
    """Return the arguments to start: the template with every field filled in.

    Values are written as ``str`` writes them, or as ``format`` does where a specification is given.
    ``fields`` may hold more than the template needs.

    Parameters
    ----------
    template
        Arguments, or one string for the shell; the latter gives ``["/bin/sh", "-c", text]``.
    fields
        The values by name.

    Raises
    ------
    UserError
        When the template cannot be read, a field has no value, or a value cannot be written there.
    """
    parts = _parse(_key(template))
    rendered: list[str] = []
    for part in parts:
        alone = part[0] if len(part) == 1 and not isinstance(template, str) else None
        if isinstance(alone, _Field) and alone.spec == WORDS:
            rendered += _words(alone, fields)
        else:
            rendered.append("".join([p if isinstance(p, str) else _write(p, fields) for p in part]))
    return [*SHELL, *rendered] if isinstance(template, str) else rendered


def escape(text: str) -> str:
    """Return a template that stands for this text as it is, braces included."""
    return text.replace("{", "{{").replace("}", "}}")


def _key(template: Template) -> str | tuple[str, ...]:
    return template if isinstance(template, str) else tuple(template)


def _value(field: _Field, fields: Mapping[str, object]) -> object:
    try:
        return fields[field.name]
    except KeyError:
        raise UserError(f"no value is given for the field {{{field.name}}}") from None


def _words(field: _Field, fields: Mapping[str, object]) -> list[str]:
    value = _value(field, fields)
    return [str(item) for item in (value if isinstance(value, list | tuple) else [value]) if item is not None]


def _write(field: _Field, fields: Mapping[str, object]) -> str:
    if field.spec == WORDS:
        words = _words(field, fields)
        if field.quoting in (Quoting.WORD, Quoting.BARE):
            return " ".join([_quoted(word, field) for word in words])
        return _quoted(" ".join(words), field)
    value = _value(field, fields)
    try:
        text = format(value, field.spec) if field.spec else str(value)
    except (ValueError, TypeError) as error:
        raise UserError(f"{{{field.name}:{field.spec}}} cannot write {value!r}: {error}") from error
    return _quoted(text, field)


def _quoted(text: str, field: _Field) -> str:
    match field.quoting:
        case Quoting.NONE:
            return text
        case Quoting.WORD:
            return shlex.quote(text)
        case Quoting.SINGLE:
            return text.replace("'", "'\\''")
        case Quoting.DOUBLE:
            return "".join("\\" + char if char in '\\"$`' else char for char in text)
        case Quoting.BARE:
            if shlex.quote(text) != text:
                raise UserError(
                    f"{{{field.name}}} stands where the value {text!r} cannot be quoted for the shell "
                    "(a here-document or after it, back-quotes, ${...}, $((...)) or a comment). "
                    "Move the field, or give the command as a list"
                )
            return text


@functools.lru_cache(maxsize=4096)
def _fields(template: str | tuple[str, ...]) -> frozenset[str]:
    return frozenset(piece.name for part in _parse(template) for piece in part if isinstance(piece, _Field))


# Several thousand parsed templates are kept: a sweep has one, a file of commands has one a line.
@functools.lru_cache(maxsize=4096)
def _parse(template: str | tuple[str, ...]) -> tuple[tuple[_Piece, ...], ...]:
    if isinstance(template, str):
        pieces = _pieces(template)
        plain = len(pieces) == 1 and isinstance(pieces[0], str)
        return (pieces if plain else _placed(pieces),)
    return tuple(_pieces(part) for part in template)


def _pieces(text: str) -> tuple[_Piece, ...]:
    """Cut one string into literal text and fields."""
    pieces: list[_Piece] = []
    try:
        for literal, name, spec, conversion in string.Formatter().parse(text):
            if literal:
                pieces.append(literal)
            if name is not None:
                pieces.append(_field(name, spec or "", conversion))
    except ValueError as error:
        raise UserError(
            f"{_short(text)} is no template: {error}. A brace that stands for itself is doubled: {{{{ or }}}}"
        ) from error
    # Formatter cuts at every doubled brace; joined again, quoting has whole stretches to look at.
    joined: list[_Piece] = []
    for piece in pieces:
        if joined and isinstance(piece, str) and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return tuple(joined) or ("",)


def _field(name: str, spec: str, conversion: str | None) -> _Field:
    shown = "{" + name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "") + "}"
    if name == "" or name.isdecimal():
        why = "a field needs a name"
    elif "." in name or "[" in name:
        why = "a field is one name, without attributes or indices"
    elif not name.isidentifier():
        why = "a field's name is made of letters, digits and underscores"
    elif conversion:
        why = "conversions are not supported"
    elif "{" in spec or "}" in spec:
        why = "a format specification holds no further field"
    else:
        return _Field(name, spec)
    raise UserError(
        f"{shown} is no field: {why}. Braces that stand for themselves are doubled: {{{{ and }}}}"
    )


def _placed(pieces: tuple[_Piece, ...]) -> tuple[_Piece, ...]:
    """Give every field the quoting that its place in the shell command asks for."""
    reader = ShellReader()
    placed: list[_Piece] = []
    for piece in pieces:
        if isinstance(piece, str):
            reader.read(piece)
            placed.append(piece)
        else:
            placed.append(_Field(piece.name, piece.spec, reader.quoting_of(piece.name)))
    return tuple(placed)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
