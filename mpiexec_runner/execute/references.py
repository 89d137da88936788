"""Functions of the script itself, by reference: where every rank runs the same script, each has them.

A function that travels by value brings globals of its own and does not see what an initializer has set. One
that is found again by name does. It is taken only if its code is the very same.
"""

import hashlib
import marshal
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any


def reference_of(function: Callable[..., Any]) -> str:
    """The name under which other ranks find a function of the script, with a digest; empty if they cannot."""
    if not isinstance(function, FunctionType) or function.__module__ != "__main__" or function.__closure__:
        return ""
    if "<" in function.__qualname__:  # a lambda, or local to a function
        return ""
    return f"{function.__qualname__}:{_digest(function)}"


def find_reference(reference: str) -> Callable[..., Any] | None:
    """The function of this rank's script that ``reference`` means; ``None`` if it has no such function."""
    name, _, digest = reference.rpartition(":")
    found: Any = sys.modules.get("__main__")
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, FunctionType) and _digest(found) == digest else None


def _digest(function: FunctionType) -> str:
    return hashlib.blake2b(marshal.dumps(function.__code__), digest_size=8).hexdigest()
