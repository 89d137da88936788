"""Directories of attempts that run beside another one of the same task, and how one takes the task's place.

It knows names of directories and nothing of who runs there.

The attempt N that runs *aside* of another one has ``TASK~N``, which it keeps: paths that it writes down stay
right. When it is the one that counts, the link ``TASK~`` says so at once, for all who ask (:func:`place_of`).
Only when nobody writes into ``TASK`` any more (:func:`put_in_place`), that directory becomes ``TASK~lost``,
and the link gets its name. No task can be called so: names have no ``~``.

Every step is one rename or one link, and what was cut short is found by its ``TASK~`` and done again.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_SIGN, _LOST = "~", "~lost"


def aside_of(directory: str, attempt: int) -> str:
    """The directory of an attempt that runs beside another one."""
    return f"{directory}{_SIGN}{attempt}"


def place_of(directory: str) -> str:
    """Where the attempt of a task ran that counts, given the directory of the task."""
    with contextlib.suppress(OSError):  # mostly there is none
        return str(Path(directory).with_name(os.readlink(directory + _SIGN)))  # noqa: PTH115 - as short
    return directory


def note_winner(directory: str, attempt: int) -> bool:
    """Let an attempt count, if it ran aside; whether it did.

    Raises
    ------
    OSError
        When it did and that cannot be written down.
    """
    aside = Path(aside_of(directory, attempt))
    if not aside.is_dir():
        return False
    with contextlib.suppress(FileExistsError):
        Path(directory + _SIGN).symlink_to(aside.name)
    return True


def put_in_place(directory: str) -> None:
    """Give the attempt that counts the name of its task, if it has run aside.

    Raises
    ------
    OSError
        When that does not work; it can be tried again.
    """
    place, link = Path(directory), Path(directory + _SIGN)
    if not link.is_symlink():
        return
    if place.is_dir() and not place.is_symlink():
        place.rename(directory + _LOST)
    link.rename(place)


def unfinished(tasks: Path) -> Iterator[str]:
    """The directories of tasks that were not put in place, below the directory of all tasks."""
    for shard in tasks.iterdir():
        with os.scandir(shard) as entries:
            yield from (entry.path[: -len(_SIGN)] for entry in entries if entry.name.endswith(_SIGN))
