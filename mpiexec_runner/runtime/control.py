"""The control box: requests that people drop into ``RUN_DIR/control``, and the answers of the hub.

One file a request, one file an answer, each whole or not there. It does not know what a request does to a
run: that is ``requests.py``. Whoever removes a request owns it, so the hub cannot take what was withdrawn.
"""

import os
import re
import secrets
import stat
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from mpiexec_runner.errors import StorageError
from mpiexec_runner.model.events import StopReason
from mpiexec_runner.storage.atomic import remove_quietly, storage_error, temporary_name

VERSION = 1
MAX_BYTES = 2**20
"""A larger request is refused unread."""
MAX_TAKEN = 100
"""How many requests are taken at one look: the hub has other work to do."""
KEPT_ANSWERS = 100

_SUFFIX = ".json"
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class Ask(msgspec.Struct, frozen=True, tag_field="do", forbid_unknown_fields=True):
    """Base of all that can be asked for. Tasks are words: a name, an id, or ``name*``."""


class Pause(Ask, frozen=True, tag="pause"):
    """Begin nothing new until told to continue."""


class Continue(Ask, frozen=True, tag="continue"):
    """Go on after a pause."""


class Cancel(Ask, frozen=True, tag="cancel"):
    """Cancel these tasks, those with the label, or all; with tasks and label, what is in both."""

    tasks: tuple[str, ...] = ()
    label: str = ""
    everything: bool = False


class Drain(Ask, frozen=True, tag="drain"):
    """End the run so that it can be resumed: after what runs, or (``abandon``) at once."""

    reason: StopReason = StopReason.REQUEST
    abandon: bool = False


class Reprioritise(Ask, frozen=True, tag="reprioritise"):
    """These tasks are now as urgent as that."""

    tasks: tuple[str, ...]
    priority: Annotated[int, msgspec.Meta(ge=1, le=10)]


class Retry(Ask, frozen=True, tag="retry"):
    """Try these, or all that failed, once more."""

    tasks: tuple[str, ...] = ()
    everything: bool = False


class Move(Ask, frozen=True, tag="move"):
    """Run this one task on that worker."""

    task: str
    to: int


class Rebalance(Ask, frozen=True, tag="rebalance"):
    """Place anew all that has not begun."""


class Switch(Ask, frozen=True, tag="switch"):
    """Disable a worker, or enable it again."""

    worker: int
    enabled: bool
    why: Annotated[str, msgspec.Meta(max_length=1000)] = ""


AnyAsk = Pause | Continue | Cancel | Drain | Reprioritise | Retry | Move | Rebalance | Switch


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What lies in the box. ``epoch`` is the life of the run that is meant; 0 is whichever reads it."""

    version: int = VERSION
    id: str
    epoch: int = 0
    ask: AnyAsk


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub says: ``tasks`` is how many tasks the request concerned, ``why`` why it was refused."""

    version: int = VERSION
    id: str
    ok: bool
    tasks: int = 0
    why: str = ""


class Taken(NamedTuple):
    """A file that was taken out of the box: a request, or what is wrong with it. No id: no answer either."""

    id: str
    request: Request | None
    why: str = ""


class _Version(msgspec.Struct):
    version: int = VERSION


class ControlBox:
    """The box of one run directory, from both of its sides. Several may drop, one takes.

    Parameters
    ----------
    directory
        ``RUN_DIR/control``.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._answers = directory / "answers"
        self._stuck: set[str] = set()

    # --- whoever asks

    def drop(self, ask: AnyAsk, epoch: int = 0) -> str:
        """Leave a request; its id.

        Raises
        ------
        StorageError
            The disk refused, or it is too large; nothing was left.
        """
        # Names in order of time; of one moment, and of two hosts, the process and chance tell apart.
        id_ = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(3)}"
        data = msgspec.json.encode(Request(id=id_, epoch=epoch, ask=ask))
        if len(data) > MAX_BYTES:
            raise StorageError(
                f"a request of {len(data)} bytes is more than the control box takes ({MAX_BYTES}): "
                "name fewer tasks, or use name*"
            )
        _write(self._directory / (id_ + _SUFFIX), data)
        return id_

    def find_answer(self, id_: str) -> Answer | None:
        """What the hub said to a request; ``None`` when it has not yet.

        Raises
        ------
        StorageError
            The answer cannot be read.
        """
        path = self._answers / (id_ + _SUFFIX)
        try:
            return msgspec.json.decode(path.read_bytes(), type=Answer)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error("read", path, error) from error
        except msgspec.MsgspecError as error:
            raise StorageError(f"{path} is no answer of this version of mpiexec-runner: {error}") from error

    def withdraw(self, id_: str) -> bool:
        """Take a request back; False when the hub was faster.

        Raises
        ------
        StorageError
            The disk refused.
        """
        path = self._directory / (id_ + _SUFFIX)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise storage_error("remove", path, error) from error
        return True

    # --- the hub

    def take(self) -> list[Taken]:
        """Take out what was dropped, oldest first. What is wrong with the box itself is said once."""
        try:
            with os.scandir(self._directory) as entries:
                found = sorted(
                    entry.name
                    for entry in entries
                    if not entry.name.startswith(".")
                    and entry.name not in self._stuck
                    and not entry.is_dir(follow_symlinks=False)
                )
        except OSError as error:
            return self._said_once("", f"{storage_error('read', self._directory, error)}")
        self._stuck.discard("")
        return [taken for name in found[:MAX_TAKEN] for taken in self._take(name)]

    def answer(self, answer: Answer) -> None:
        """Leave an answer, and forget all but the newest.

        Raises
        ------
        StorageError
            The disk refused.
        """
        try:
            self._answers.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise storage_error("create", self._answers, error) from error
        _write(self._answers / (answer.id + _SUFFIX), msgspec.json.encode(answer))
        try:
            kept = [(entry.stat().st_mtime_ns, entry.name) for entry in os.scandir(self._answers)]
        except OSError as error:
            raise storage_error("read", self._answers, error) from error
        for _, name in sorted(kept)[:-KEPT_ANSWERS]:
            remove_quietly(self._answers / name)

    def _take(self, name: str) -> list[Taken]:
        path = self._directory / name
        try:
            data = _read(path)
            path.unlink()  # only what could be removed is carried out: it would be carried out again
        except FileNotFoundError:
            return []  # withdrawn just now
        except OSError as error:
            return self._said_once(name, f"{storage_error('take', path, error)}")
        stem = path.stem if _ID.fullmatch(path.stem) else ""
        try:
            return [Taken(stem, _decoded(stem, data))]
        except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
            return [
                Taken(
                    stem,
                    None,
                    f"{name} is no request that this version knows ({error}): use mpiexec-runner control",
                )
            ]

    def _said_once(self, name: str, why: str) -> list[Taken]:
        if name in self._stuck:
            return []
        self._stuck.add(name)
        return [Taken("", None, why)]


def _decoded(stem: str, data: bytes | None) -> Request:
    if data is None:
        raise msgspec.ValidationError(f"it is larger than {MAX_BYTES} bytes, or no file")
    if msgspec.json.decode(data, type=_Version).version > VERSION:
        raise msgspec.ValidationError("it was made by a newer version of mpiexec-runner")
    request = msgspec.json.decode(data, type=Request)
    if request.id != stem:
        raise msgspec.ValidationError(f"it says that its id is {request.id}")
    return request


def _read(path: Path) -> bytes | None:
    """The content of a file; ``None`` if it is too large, or a thing that may block whoever reads it."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        data = file.read(MAX_BYTES + 1)
    return data if len(data) <= MAX_BYTES else None


def _write(path: Path, data: bytes) -> None:
    """Make a file appear whole. Not synced: who asks waits for the answer, and asks again."""
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise storage_error("write", path, error) from error
    finally:
        remove_quietly(temporary)
