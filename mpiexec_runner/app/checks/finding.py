"""What a check of ``doctor`` has to say. A record only; how it is shown is the command line's affair."""

import enum

import msgspec


class Status(enum.StrEnum):
    """How much a finding matters: nothing to do, works with a drawback, does not work."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(msgspec.Struct, frozen=True):
    """One line of the diagnosis. ``remedy`` says what to do, and is empty where nothing need be done."""

    name: str
    status: Status
    text: str
    remedy: str = ""


def ok(name: str, text: str) -> Finding:
    """Make a finding that asks for nothing."""
    return Finding(name, Status.OK, text)


def warning(name: str, text: str, remedy: str) -> Finding:
    """Make a finding of something that works with a drawback."""
    return Finding(name, Status.WARNING, text, remedy)


def error(name: str, text: str, remedy: str) -> Finding:
    """Make a finding of something that does not work."""
    return Finding(name, Status.ERROR, text, remedy)


def in_size(size_bytes: float) -> str:
    """Write a number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.4g} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.4g} TiB"
