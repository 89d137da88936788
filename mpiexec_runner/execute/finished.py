"""What a finished task left for references to stand for, and how its output is read.

Knows neither how references look (``bindings.py``, ``bound.py``) nor where results come from.
"""

import os
from pathlib import Path
from typing import Protocol

from mpiexec_runner.errors import UserError

STDOUT_BYTES = 64 * 1024
"""How much of the end of a command's output a reference stands for."""


class Left(Protocol):
    """What a finished task left: its name, state (in lower case), directory (empty for none), and value."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def state(self) -> str:
        """How it ended."""

    @property
    def dir(self) -> str:
        """Where it ran."""

    @property
    def value(self) -> object:
        """What it returned."""


def output_of(left: Left, text: str) -> str:
    """The end of what a command wrote, without white space around it.

    Parameters
    ----------
    left
        What the command left.
    text
        The reference, as an error is to name it.

    Raises
    ------
    UserError
        When there is no output.
    """
    # A run without task directories keeps the end of the output as the result.
    if not left.dir and isinstance(left.value, dict) and isinstance(left.value.get("stdout"), str):
        return str(left.value["stdout"])[-STDOUT_BYTES:].strip()
    path = Path(left.dir or ".", "stdout")
    try:
        if not left.dir:
            raise FileNotFoundError
        with path.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - STDOUT_BYTES))
            return stream.read().decode(errors="replace").strip()
    except OSError as error:
        why = error.strerror or "only commands write one"
        raise UserError(f"{text}: {left.name} left no output that can be read ({why})") from None
