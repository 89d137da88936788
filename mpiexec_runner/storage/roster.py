"""Which ranks joined a run later, and where they are waiting for a hub: small files in the run directory.

Nothing here knows MPI: a door is a piece of text. Files decide what hubs that follow one another could not
tell each other: which numbers were given, in whose place.

``newcomers/LIFE.RANK`` is made by the hub that starts a rank, before it does so; each number is given once.
``newcomers/door.EPOCH.RANK`` is made by a rank to which the hub of that epoch has no other way.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from mpiexec_runner.errors import StorageError
from mpiexec_runner.storage.atomic import create_exclusively, remove_quietly, storage_error, write_bytes

FOLDER = "newcomers"
_T = TypeVar("_T")


class Newcomer(msgspec.Struct, frozen=True):
    """A rank that was started, or was to be: the first rank whose share it takes over, and its host."""

    rank: int
    place: int
    host: str


class Roster:
    """The newcomers of one job.

    Parameters
    ----------
    directory
        The run directory.
    life
        The epoch of the job's first hub.
    """

    def __init__(self, directory: Path, life: int) -> None:
        self._folder, self._life = directory / FOLDER, life

    def begin(self) -> None:
        """Forget the newcomers of earlier jobs."""
        try:
            if self._folder.exists():
                shutil.rmtree(self._folder)
        except OSError as error:
            raise storage_error("remove", self._folder, error) from error

    def enter(self, newcomer: Newcomer) -> bool:
        """Give a number away; ``False`` when it was given before.

        Raises
        ------
        StorageError
            The disk refused.
        """
        _make(self._folder)
        return create_exclusively(self._path(newcomer.rank), msgspec.json.encode(newcomer))

    def read(self) -> list[Newcomer]:
        """All that were entered, in the order of their numbers.

        Raises
        ------
        StorageError
            The disk refused.
        """
        found = [_read(path, Newcomer) for path in _list(self._folder, f"{self._life}.*")]
        return sorted((one for one in found if one is not None), key=lambda one: one.rank)

    def _path(self, rank: int) -> Path:
        return self._folder / f"{self._life}.{rank}"


class Door(msgspec.Struct, frozen=True):
    """Where a rank waits for a hub; ``port`` is the transport's word."""

    rank: int
    port: str


def open_door(directory: Path, epoch: int, door: Door) -> None:
    """Tell the hub of an epoch where a rank waits for it.

    Raises
    ------
    StorageError
        The disk refused.
    """
    _make(directory / FOLDER)
    write_bytes(directory / FOLDER / f"door.{epoch}.{door.rank}", msgspec.json.encode(door))


def take_doors(directory: Path, epoch: int) -> Iterator[Door]:
    """The doors for the hub of an epoch that are new since the last look.

    Raises
    ------
    StorageError
        The disk refused.
    """
    for path in _list(directory / FOLDER, f"door.{epoch}.*"):
        door = _read(path, Door)
        remove_quietly(path)
        if door is not None:
            yield door


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise storage_error("create", folder, error) from error


def _list(folder: Path, pattern: str) -> list[Path]:
    try:
        return [path for path in sorted(folder.glob(pattern)) if path.suffix[1:].isdecimal()]
    except OSError as error:
        raise storage_error("read", folder, error) from error


def _read(path: Path, type_: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=type_)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error("read", path, error) from error
    except msgspec.MsgspecError as error:
        raise StorageError(f"{path} is damaged ({error})") from error
