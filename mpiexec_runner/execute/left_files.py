"""What a command may leave in its directory for the run: its result, and tasks that it adds.

``result.json`` is the value of the task. ``add_tasks.jsonl`` has one task a line, with the keys of a task in
a configuration. Nothing here knows who reads on.
"""

import contextlib
import json
from pathlib import Path
from typing import NamedTuple

import msgspec
from typing_extensions import Buffer

from mpiexec_runner.execute import payload
from mpiexec_runner.model.tasks import Failure, FailureClass

RESULT, TASKS = "result.json", "add_tasks.jsonl"
LIMIT_BYTES = 64 * 2**20
"""A larger file is refused: it is read whole, and what is that large is better passed on by its path."""


class Left(NamedTuple):
    """The encoded value with its buffers, the added tasks as in ``Outcome.more``, or what is wrong."""

    value: bytes = b""
    buffers: tuple[Buffer, ...] = ()
    more: bytes = b""
    failure: Failure | None = None


def read(directory: str) -> Left:
    """Read what a command has left in its directory."""
    value, more = b"", b""
    buffers: tuple[Buffer, ...] = ()
    name = RESULT
    try:
        if (data := _read(directory, RESULT)) is not None:
            value, parts = payload.encode_plain(json.loads(data))
            buffers = tuple(parts)
        name = TASKS
        if (data := _read(directory, TASKS)) is not None:
            more = _tasks(data)
    except (OSError, ValueError, RecursionError, msgspec.EncodeError, OverflowError) as error:
        text = f"{directory}/{name}, which the command has left, cannot be used: {error}"
        return Left(failure=Failure(FailureClass.RESULT, text))
    return Left(value, buffers, more)


def remove(directory: str) -> None:
    """Remove what an earlier attempt has left, which is not this one's."""
    for name in (RESULT, TASKS):
        with contextlib.suppress(FileNotFoundError):
            Path(directory, name).unlink()


def _read(directory: str, name: str) -> bytes | None:
    try:
        with open(f"{directory}/{name}", "rb") as file:  # noqa: PTH123 - mostly it is not there
            data = file.read(LIMIT_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(data) > LIMIT_BYTES:
        raise ValueError(f"it is larger than {LIMIT_BYTES // 2**20} MiB; leave the path of a file instead")
    return data


def _tasks(data: bytes) -> bytes:
    tasks = []
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            try:
                task = json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is no JSON: {error}") from error
            if not isinstance(task, dict):
                raise ValueError(f"line {number} is no mapping with the keys of a task")
            tasks.append(task)
    return msgspec.msgpack.encode(tasks) if tasks else b""
