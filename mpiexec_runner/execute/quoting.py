"""How a value must be quoted at a certain place of a shell command.

Follows the command's quotes and substitutions; knows nothing of fields' values, templates or tasks.
"""

import enum

from mpiexec_runner.errors import UserError


class Quoting(enum.Enum):
    """Where in a shell command a field stands, which decides how its value is written."""

    NONE = enum.auto()
    """Not in a shell command at all."""
    WORD = enum.auto()
    SINGLE = enum.auto()
    DOUBLE = enum.auto()
    BARE = enum.auto()
    """Where no quoting is right for every value: only harmless characters may stand here."""


class ShellReader:
    """Follows a shell command from left to right, only as far as quoting is concerned.

    Where it is unsure it says ``BARE``, which is always safe.

    Source: POSIX.1-2017, Shell Command Language, sections 2.2 (quoting), 2.3 (token recognition)
    and 2.6 (word expansions).
    """

    def __init__(self) -> None:
        # What is open, innermost last. Besides the shell's own tokens: "((" for each parenthesis of
        # arithmetic, and "<<" for all that follows something that is not followed further.
        self.open: list[str] = []
        self.text = ""
        self.escaped = False
        self.dollar = False

    def quoting_of(self, name: str) -> Quoting:
        """Return how a field that stands here is to be quoted."""
        inside = self.open[-1] if self.open else ""
        quoting = _QUOTING_INSIDE.get(inside, Quoting.BARE)
        # Either would act on the first character of the quoted value. In single quotes both are plain.
        if quoting is not Quoting.SINGLE and (self.escaped or self.dollar):
            raise UserError(
                f"{{{name}}} follows a {self.text[-1]} that would change its meaning for the shell. "
                f"A variable of the shell is written ${{{{{name}}}}}"
            )
        # All that matters of a field to what follows it is that it is part of a word.
        self.text = "x"
        return quoting

    def read(self, literal: str) -> None:
        """Take in the text up to the next field."""
        position = len(self.text)
        self.text += literal
        while position < len(self.text):
            position += self._step(position)

    def _step(self, at: int) -> int:
        """Take in one token of what opens, closes or escapes; return its length."""
        char = self.text[at]
        inside = self.open[-1] if self.open else ""
        escaped, self.escaped = self.escaped, False
        self.dollar = char == "$" and not escaped
        if escaped:
            return 1
        if char == "\\" and inside not in ("'", "#"):
            self.escaped = True
        elif inside in _CLOSED_BY or inside == "<<":
            if char == _CLOSED_BY.get(inside):
                self.open.pop()
            elif char == "(" and inside == "((":
                self.open.append("((")
        elif (char == inside and char == '"') or (char == ")" and inside == "("):
            self.open.pop()
        else:
            return self._enter(at, inside)
        return 1

    def _enter(self, at: int, inside: str) -> int:
        """Note what the token at this place opens, if anything; return its length."""
        before = self.text[at - 1] if at else " "
        for opener, opens in _OPENED_IN_QUOTES if inside == '"' else _OPENED:
            if self.text.startswith(opener, at):
                if opener == "#" and before not in " \t\n;&|()":
                    continue
                # The ")" of a pattern in a case would be taken for the end of the substitution.
                if opener == "case" and inside != "(":
                    continue
                self.open.extend(opens)
                self.dollar = False
                return len(opener)
        return 1


_QUOTING_INSIDE = {"": Quoting.WORD, "(": Quoting.WORD, "'": Quoting.SINGLE, '"': Quoting.DOUBLE}
_CLOSED_BY = {"'": "'", "`": "`", "#": "\n", "{": "}", "((": ")"}
_OPENED_IN_QUOTES = (("$((", ["((", "(("]), ("$(", ["("]), ("${", ["{"]), ("`", ["`"]), ('"', ['"']))
# $'...' has rules of its own, and not every /bin/sh knows it.
_OPENED = (
    *_OPENED_IN_QUOTES,
    ("$'", ["<<"]),
    ("'", ["'"]),
    ("((", ["((", "(("]),
    ("(", ["("]),
    ("<<", ["<<"]),
    ("#", ["#"]),
    ("case", ["<<"]),
)
