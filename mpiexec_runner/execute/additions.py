"""Tasks that a running task adds to the run: :func:`add_tasks`, and where what it was given waits.

It knows nothing of what a task looks like in a configuration; whoever takes them in checks that.
"""

from collections.abc import Iterable, Mapping
from contextvars import ContextVar

import msgspec

from mpiexec_runner.errors import UserError

_added: ContextVar[list[msgspec.Raw] | None] = ContextVar("added", default=None)


def add_tasks(tasks: Iterable[Mapping[str, object]]) -> None:
    """Add tasks to the run, from inside one of its tasks.

    They join the run when the task succeeds; those of a failed attempt are forgotten, since the next attempt
    adds them again. In a command, write them to ``add_tasks.jsonl`` in the task's directory instead.

    Parameters
    ----------
    tasks
        Each with the keys of a task in a configuration: ``command`` or ``call``, ``with``, ``id``,
        ``depends_on`` and so on.

    Raises
    ------
    UserError
        Outside of a task, or in a thread that the task started itself.
    TypeError
        When one of them is no mapping, or holds what is no plain data.
    """
    added = _added.get()
    if added is None:
        raise UserError(
            "add_tasks was called outside of a task: it works in the function that a task calls, in the "
            "thread in which that was called"
        )
    new = []
    for task in tasks:
        if not isinstance(task, Mapping):
            raise TypeError(f"add_tasks takes mappings with the keys of a task, not a {type(task).__name__}")
        new.append(msgspec.Raw(msgspec.msgpack.encode(dict(task))))
    added += new


def begin() -> None:
    """From here on this thread or coroutine is that of tasks."""
    _added.set([])


def take() -> bytes:
    """What was added since the last call, as in :attr:`Outcome.more`; forgotten here."""
    added = _added.get()
    if not added:
        return b""
    data = msgspec.msgpack.encode(added)
    added.clear()
    return data
