"""Classes of failure as a configuration names them: ``timeout``, ``exit_code:75``, ``signal:SIGSEGV``.

Knows how they are written, not what is done about them.
"""

import difflib
import re
import signal
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from mpiexec_runner.model.settings import refuse, shown
from mpiexec_runner.model.tasks import FailureClass

_OTHER_WORDS = {"out_of_memory": FailureClass.MEMORY}
_WORDS = {**{str(kind): kind for kind in FailureClass}, **_OTHER_WORDS}
_DETAILED = (FailureClass.EXIT_CODE, FailureClass.SIGNAL, FailureClass.EXCEPTION)
_FACTOR = re.compile(r"[xX]\s*(\d+(?:\.\d*)?|\.\d+)")


def _match(value: object) -> str:
    """Return what the rest of the package calls this class of failure."""
    if not isinstance(value, str):
        raise refuse(f"must name a class of failure, not {shown(value)}")
    word, colon, detail = value.partition(":")
    kind = _WORDS.get(word.strip())
    if kind is None:
        close = difflib.get_close_matches(word.strip().lower(), _WORDS, n=1, cutoff=0.6)
        guess = f" Did you mean {close[0]}?" if close else ""
        raise refuse(f"{shown(word)} is no class of failure. They are {', '.join(_WORDS)}.{guess}")
    if not colon:
        return str(kind)
    return f"{kind}:{_detail(kind, detail.strip())}"


def _detail(kind: FailureClass, detail: str) -> str:
    match kind:
        case FailureClass.EXIT_CODE:
            if detail.isdecimal() and 1 <= int(detail) <= 255:
                return str(int(detail))
            raise refuse(f"an exit code of a failure is 1 to 255, as in exit_code:75, not {shown(detail)}")
        case FailureClass.SIGNAL:
            name = detail.upper() if detail.upper().startswith("SIG") else f"SIG{detail.upper()}"
            if name in signal.Signals.__members__:
                return name
            raise refuse(f"{shown(detail)} is no signal. Write it as in signal:SIGSEGV")
        case FailureClass.EXCEPTION:
            if detail and all(part.isidentifier() for part in detail.split(".")):
                return detail
            raise refuse(
                f"{shown(detail)} names no type of exception. Write it as in exception:ConnectionError"
            )
        case _:
            told = ", ".join(_DETAILED)
            raise refuse(f"{kind} has nothing after a colon; only {told} have. Write {kind}")


def _factor(value: object) -> object:
    """Return the number that a memory limit is multiplied by."""
    if isinstance(value, str) and (found := _FACTOR.fullmatch(value.strip())):
        value = float(found[1])
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= 1024:
        return float(value)
    raise refuse(f"must be how many times as much memory, 1 to 1024, such as x2 or 1.5, not {shown(value)}")


FailureMatch = Annotated[str, BeforeValidator(_match)]
"""``CLASS`` or ``CLASS:DETAIL``, as in :class:`mpiexec_runner.model.tasks.FailureRule`."""
MemoryFactor = Annotated[
    float,
    BeforeValidator(_factor),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 1, "maximum": 1024},
                {"type": "string", "pattern": r"^\s*[xX]\s*(\d+(\.\d*)?|\.\d+)\s*$"},
            ]
        }
    ),
]
