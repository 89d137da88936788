"""How a callable is found and one attempt of it made, in a rank or in a child process of one.

It knows nothing of queues, transports or files.
"""

import asyncio
import importlib
import inspect
import math
import os
import pickle
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cloudpickle
from typing_extensions import Buffer

from mpiexec_runner.errors import UserError
from mpiexec_runner.execute import additions, guard, payload
from mpiexec_runner.execute.disk import is_full
from mpiexec_runner.execute.port import Result
from mpiexec_runner.execute.references import find_reference
from mpiexec_runner.model.tasks import (
    CallByName,
    Failure,
    FailureClass,
    Outcome,
    PickledCall,
    TaskSpec,
    Verdict,
)

LONG_S = 0.01
"""From this duration on a task's peak memory is looked up; for a shorter one the look-up would cost more."""
BRIEF_S = 100e-6
"""Where the last call of a kind took less than this, the next one's processor time is not measured: to ask
for it takes as long as such a call."""
NOT_MEASURED = math.nan
_NONE: list[Buffer] = []


def resolve(work: CallByName | PickledCall) -> Callable[..., Any]:
    """The function that ``work`` names or holds.

    Raises
    ------
    UserError
        When there is no such module or function.
    """
    if isinstance(work, PickledCall):
        function: Callable[..., Any] = find_reference(work.reference) or cloudpickle.loads(work.pickle)
        return function
    return find(work.target)


def is_coroutine(function: Callable[..., Any]) -> bool:
    """Whether calling it gives something to be awaited."""
    return inspect.iscoroutinefunction(function)


def blocking(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that returns when it is done: itself, or one that runs a coroutine function to its end."""
    if not inspect.iscoroutinefunction(function):
        return function
    coroutine = function
    return lambda *args, **kwargs: asyncio.run(coroutine(*args, **kwargs))


def search_first(directories: Iterable[str]) -> None:
    """Look for modules in ``directories`` before anywhere else."""
    sys.path[:0] = [directory for directory in directories if directory not in sys.path]


def find(target: str) -> Callable[..., Any]:
    """Import ``package.module:function``, looking in the working directory too.

    Raises
    ------
    UserError
        With what is missing and where it was looked for.
    """
    module_name, _, path = target.partition(":")
    here = str(Path.cwd())
    if "" not in sys.path and here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(
            f"call {target}: module {module_name} cannot be imported ({error}); it must be installed or lie "
            f"in {here} or on PYTHONPATH"
        ) from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise UserError(f"call {target}: {module_name} has no {path}") from error
    if not callable(found):
        raise UserError(f"call {target}: that is a {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]


def attempt(
    function: Callable[..., Any],
    spec: TaskSpec,
    number: int,
    buffers: list[memoryview],
    *,
    pickled: bool,
    brief: bool = False,
    process_time: Callable[[], float] = time.process_time,
) -> Result:
    """Make one attempt of a call; whatever the user's code raises becomes part of the outcome.

    Parameters
    ----------
    function
        What :func:`resolve` gave.
    spec, number
        The task and the number of the attempt.
    buffers
        Large buffers of the arguments.
    pickled
        Whether results and exceptions travel as pickles (the Python interface) or as plain data.
    brief
        Whether it will probably take less than :data:`BRIEF_S`.
    process_time
        The clock of its processor time, in seconds.

    Returns
    -------
    (Outcome, buffers)
        The buffers are the large ones of the result.
    """
    failure: Failure | None
    forks = guard.forks()
    started, cpu = time.time(), NOT_MEASURED if brief else process_time()
    clock = time.perf_counter()
    try:
        args, kwargs = payload.decode_arguments(spec.payload, buffers)
        value = function(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - SystemExit of a task ends the task, not its worker
        verdict, failure, data, parts = Verdict.FAILED, describe(error, pickled=pickled), b"", _NONE
        elapsed_s, cpu_s = time.perf_counter() - clock, process_time() - cpu
    else:
        elapsed_s = time.perf_counter() - clock
        cpu_s = NOT_MEASURED if brief else process_time() - cpu
        verdict, failure, data, parts = _encoded(value, pickled=pickled)
    guard.leave_if_forked(forks)
    peak = peak_memory_bytes() if elapsed_s > LONG_S else 0
    more = additions.take()
    if more and verdict is not Verdict.SUCCEEDED:
        more = b""
    outcome = Outcome(
        spec.id, number, verdict, started, elapsed_s, data, cpu_s, peak, failure=failure, more=more
    )
    return outcome, parts


async def attempt_coroutine(
    function: Callable[..., Any],
    spec: TaskSpec,
    number: int,
    buffers: list[memoryview],
    *,
    pickled: bool,
) -> Result:
    """Make one attempt of a coroutine function in the event loop at hand. See :func:`attempt`.

    Raises
    ------
    asyncio.CancelledError
        When it was cancelled from outside. Nothing else that the user's code raises leaves this.
    """
    failure: Failure | None
    forks = guard.forks()
    started, clock = time.time(), time.perf_counter()
    additions.begin()
    try:
        args, kwargs = payload.decode_arguments(spec.payload, buffers)
        value = await function(*args, **kwargs)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        error: BaseException = RuntimeError("it was cancelled by something that it awaited")
        verdict, failure, data, parts = Verdict.FAILED, describe(error, pickled=pickled), b"", _NONE
    except BaseException as raised:  # noqa: BLE001 - SystemExit of a task ends the task, not the event loop
        verdict, failure, data, parts = Verdict.FAILED, describe(raised, pickled=pickled), b"", _NONE
    else:
        verdict, failure, data, parts = _encoded(value, pickled=pickled)
    guard.leave_if_forked(forks)
    elapsed_s = time.perf_counter() - clock
    more = additions.take() if verdict is Verdict.SUCCEEDED else b""
    outcome = Outcome(
        spec.id, number, verdict, started, elapsed_s, data, NOT_MEASURED, failure=failure, more=more
    )
    return outcome, parts


def _encoded(value: object, *, pickled: bool) -> tuple[Verdict, Failure | None, bytes, list[Buffer]]:
    try:
        data, parts = payload.encode_pickle(value) if pickled else payload.encode_plain(value)
    except Exception as error:  # noqa: BLE001 - pickling runs the user's code, which may raise anything
        what = f"the result, a {type(value).__name__}, cannot be sent: {_said(error)}"
        failure = Failure(FailureClass.RESULT, what, _sendable(traceback.format_exc()))
        return Verdict.FAILED, failure, b"", _NONE
    # The buffers may be the user's own arrays, which the next task may write to before they are sent.
    return Verdict.SUCCEEDED, None, data, [part if type(part) is bytes else bytes(part) for part in parts]


def plain_fields(spec: TaskSpec) -> dict[str, object]:
    """The named arguments of a task that came from a configuration."""
    return payload.decode_arguments(spec.payload, None)[1]


def describe(error: BaseException, *, pickled: bool = False) -> Failure:
    """An exception of the user's code as a failure record, without this package's frames above it."""
    inner = error.__traceback__.tb_next if error.__traceback__ else None
    text = _sendable("".join(traceback.format_exception(type(error), error, inner)))
    data = b""
    if pickled:
        try:
            data = pickle.dumps(error)
            pickle.loads(data)
        except Exception:  # noqa: BLE001 - an exception that cannot travel is told by its text
            data = b""
    kind = FailureClass.MEMORY if isinstance(error, MemoryError) else FailureClass.EXCEPTION
    kind = FailureClass.STORAGE if is_full(error) else kind
    return Failure(kind, f"{type(error).__name__}: {_said(error)}", text, data, name_of(error))


def name_of(error: BaseException) -> str:
    """The type of an exception with its module, for retry rules to match."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _said(error: BaseException) -> str:
    try:
        return _sendable(str(error))
    except Exception:  # noqa: BLE001 - __str__ is the user's code, too
        return "(its __str__ failed)"


def _sendable(text: str) -> str:
    """Text without what UTF-8 cannot hold, as file names may."""
    return text.encode("utf-8", "backslashreplace").decode()


def set_up(pickled: bytes) -> Failure | None:
    """Make the call that a rank or child process is given to begin with; its failure, if it fails."""
    try:
        reference, function, args = pickle.loads(pickled)
        (find_reference(reference) or function)(*args)
    except BaseException as error:  # noqa: BLE001 - told as the failure of every call that follows
        failure = describe(error, pickled=True)
        return Failure(FailureClass.SETUP, f"the initializer failed: {failure.message}", failure.traceback)
    return None


class Surroundings:
    """The environment variables of this process that belong to the task at hand."""

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}

    def enter(self, variables: dict[str, str]) -> None:
        """Set the variables of one task, and put back what those of the last one displaced."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)


def peak_memory_bytes() -> int:
    """The largest resident size that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
