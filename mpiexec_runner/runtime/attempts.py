"""How a worker makes attempts: with which function, where, in which environment, with how much of its host.

It knows how each mode is executed (``execute/``), and neither queues nor the hub.
"""

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from mpiexec_runner.errors import UserError
from mpiexec_runner.execute import additions, aside, bound, calls, command, payload
from mpiexec_runner.execute.allowance import Allowance, on_cores, with_threads
from mpiexec_runner.execute.bindings import Found, bind
from mpiexec_runner.execute.coroutines import CoroutineAttempt, EventLoop
from mpiexec_runner.execute.disk import class_of
from mpiexec_runner.execute.environment import TaskIdentity, task_environment
from mpiexec_runner.execute.port import Result, Running
from mpiexec_runner.execute.process import Children, Order
from mpiexec_runner.execute.threads import ThreadAttempt
from mpiexec_runner.model.messages import Welcome
from mpiexec_runner.model.tasks import (
    CallByName,
    Failure,
    FailureClass,
    Mode,
    Outcome,
    PickledCall,
    Verdict,
)
from mpiexec_runner.model.workers import Load
from mpiexec_runner.runtime.claims import Claim, Claims
from mpiexec_runner.runtime.group import call_together
from mpiexec_runner.runtime.holdings import Beside, Held, KnownKind, choose_mode, mode_of
from mpiexec_runner.runtime.load import LoadMeter
from mpiexec_runner.storage.rundir import RunDirectory, default_name
from mpiexec_runner.transport.port import Transport

Launcher = Callable[[], tuple[str, ...]]
"""Finds the words by which a command is started as several MPI ranks; ``{ranks}`` stands for how many."""


def no_launcher() -> tuple[str, ...]:
    """Of a worker that was not told of any.

    Raises
    ------
    UserError
        Always.
    """
    raise UserError("no launcher is known here for a command with several ranks: set workers: mpi_command")


class Maker(Protocol):
    """Makes attempts of tasks."""

    def welcome(self, message: Welcome, hub: int) -> None:
        """A run begins, or goes on, under the hub of this rank."""

    def close(self) -> None:
        """End what waits for work."""

    def know(self, kind: KnownKind) -> None:
        """See whether tasks of a kind could ever run here."""

    def decide(self, kind: KnownKind) -> None:
        """Look at the function of a kind to see how it is run. In the main thread, and without its lock."""

    def call(self, held: Held, kind: KnownKind, claim: Claim, stopped: Callable[[], bool]) -> Result:
        """Make one attempt of a call in this thread; with others, where it is a group's."""

    def begin(self, held: Held, kind: KnownKind, claim: Claim) -> Running | Result:
        """Begin an attempt that runs beside the main thread."""

    def load(self, held: int, running: int) -> Load:
        """What this rank and its attempts use now; it holds so many tasks, and so many of them run."""


class Attempts:
    """Makes attempts of tasks. See :class:`Maker`.

    Parameters
    ----------
    transport
        For this rank's number, and for groups.
    environment
        What commands and child processes inherit: this rank's, without the launcher's variables.
    claims
        Says what a claim lets an attempt use.
    inline
        Whether this rank can afford to run calls in its main thread.
    alone
        Whether no two tasks ever run at the same time.
    launcher
        For commands of several ranks.
    """

    def __init__(
        self,
        transport: Transport,
        environment: dict[str, str],
        claims: Claims,
        launcher: Launcher,
        *,
        inline: bool,
        alone: bool,
    ) -> None:
        self._transport, self._environment, self._claims = transport, environment, claims
        self._launcher, self._inline, self._alone = launcher, inline, alone
        self._children = Children(environment)
        self._loop = EventLoop()
        self._surroundings = calls.Surroundings()
        self._welcome: Welcome | None = None
        self._run_directory: RunDirectory | None = None
        self._setup_due = False
        self._setup_failure: Failure | None = None
        self._load, self._has_begun_processes = LoadMeter(), False

    def welcome(self, message: Welcome, hub: int) -> None:
        """A run begins, or goes on, under the hub of this rank."""
        before, self._welcome = self._welcome, message
        self._load.welcome(message, self._transport, hub)
        self._run_directory = RunDirectory(Path(message.run_dir)) if message.run_dir else None
        if before is None or (before.setup, before.python_path) != (message.setup, message.python_path):
            self._setup_due, self._setup_failure = bool(message.setup), None
            calls.search_first(message.python_path)
            self._children.close()
            self._children = Children(self._environment, message.setup)

    def close(self) -> None:
        """End what waits for work."""
        self._children.close()
        self._loop.close()
        self._load.close()

    def load(self, held: int, running: int) -> Load:
        """See :class:`Maker`."""
        return self._load.measure(held, running, alone=not self._has_begun_processes)

    def know(self, kind: KnownKind) -> None:
        """See whether tasks of a kind could ever run here."""
        problem = self._claims.problem(kind.spec.needs)
        if problem:
            kind.failure = Failure(FailureClass.NOT_FOUND, f"{kind.spec.name} cannot run here: {problem}")
            kind.claims, kind.decided = False, True

    def decide(self, kind: KnownKind) -> None:
        """Look at the function of a kind to see how it is run. In the main thread, and without its lock."""
        kind.decided = True
        failure = self._prepare(kind, set_up=self._inline or kind.mode is not Mode.AUTO)
        coroutine = failure is None and kind.function is not None and calls.is_coroutine(kind.function)
        kind.mode = choose_mode(kind.spec, inline=self._inline, coroutine=coroutine)
        if kind.mode is Mode.ASYNCIO:
            if not coroutine and failure is None:
                text = f"{kind.spec.name}: mode asyncio is for coroutine functions (async def). Write thread"
                kind.failure = Failure(FailureClass.NOT_FOUND, text)
            self._prepare(kind)
        elif kind.function is not None:
            kind.function = calls.blocking(kind.function)

    # --- in the main thread

    def call(self, held: Held, kind: KnownKind, claim: Claim, stopped: Callable[[], bool]) -> Result:
        """Make one attempt of a call in this thread; with others, where it is a group's."""
        spec, number, buffers, beside = held
        failure = self._prepare(kind)
        if failure is not None or kind.function is None:
            return failed(held, failure or Failure(FailureClass.NOT_FOUND, "nothing to call"))
        pickled = isinstance(kind.spec.work, PickledCall)
        if beside is None and not kind.claims and pickled:  # most calls: nothing to arrange
            result = calls.attempt(kind.function, spec, number, buffers, pickled=True, brief=kind.brief)
            kind.brief = result[0].elapsed_s < calls.BRIEF_S
            return result
        try:
            held = self._bound(held, kind)
            spec, _, buffers, _ = held
            allowance = self._claims.allowance(kind.spec.needs, claim)
            self._surroundings.enter(self._variables(held, kind, allowance))
        except (OSError, ValueError, UserError) as error:  # ValueError: a NUL character in a variable
            return failed(held, _not_begun(error))
        make = functools.partial(
            calls.attempt, spec=spec, number=number, buffers=buffers, pickled=pickled, brief=kind.brief
        )
        with on_cores(allowance.mask), with_threads(allowance.threads):
            if beside is not None and beside.group:
                result = call_together(self._transport, held, kind.function, make, stopped)
            else:
                result = make(kind.function)
        if pickled:  # the next one may not arrange anything, and so must find nothing
            self._surroundings.enter({})
        kind.brief = result[0].elapsed_s < calls.BRIEF_S
        return result

    def _prepare(self, kind: KnownKind, *, set_up: bool = True) -> Failure | None:
        """Run the initializer and find the function, once."""
        if set_up and self._setup_due and self._welcome is not None:
            self._setup_due = False
            additions.begin()
            self._setup_failure = calls.set_up(self._welcome.setup)
        if self._setup_failure is not None:
            return self._setup_failure
        if (
            kind.function is None
            and kind.failure is None
            and isinstance(kind.spec.work, CallByName | PickledCall)
        ):
            try:
                function = calls.resolve(kind.spec.work)
                # How an undecided kind is run depends on what this is.
                undecided = kind.mode in (Mode.AUTO, Mode.ASYNCIO)
                kind.function = function if undecided else calls.blocking(function)
            except BaseException as error:  # noqa: BLE001 - importing runs the user's code, which may exit
                failure = calls.describe(error)
                kind.failure = Failure(FailureClass.NOT_FOUND, failure.message, failure.traceback)
        return kind.failure

    # --- beside the main thread

    def begin(self, held: Held, kind: KnownKind, claim: Claim) -> Running | Result:
        """Begin an attempt that runs beside the main thread."""
        spec, number, buffers, _ = held
        if kind.failure is not None:
            return failed(held, kind.failure)
        try:
            held = self._bound(held, kind)
            spec, _, buffers, _ = held
            allowance = self._claims.allowance(kind.spec.needs, claim)
            mode = mode_of(held, kind)
            if mode is Mode.COMMAND:
                self._has_begun_processes = True
                return command.start(spec, number, kind.spec, self._place(held, kind), allowance)
            if mode is Mode.PROCESS:
                self._has_begun_processes = True
                order = Order(kind.spec, spec, number, self._variables(held, kind, allowance), allowance)
                return self._children.start(order, buffers)
            if self._setup_failure is not None:
                return failed(held, self._setup_failure)
            if self._alone:
                self._surroundings.enter(self._variables(held, kind, allowance))
            return self._begin_here(held, kind, allowance)
        except (OSError, ValueError, UserError) as error:
            return failed(held, _not_begun(error))

    def _begin_here(self, held: Held, kind: KnownKind, allowance: Allowance) -> Running | Result:
        """Begin a call in a thread, or in the event loop."""
        spec, number, buffers, _ = held
        function, pickled = kind.function, isinstance(kind.spec.work, PickledCall)
        if function is None:
            return failed(held, Failure(FailureClass.NOT_FOUND, "nothing to call"))
        if kind.mode is Mode.THREAD:
            return ThreadAttempt(function, spec, number, buffers, allowance, pickled=pickled)
        timeout_s = kind.spec.timeout_s
        return CoroutineAttempt(
            self._loop, function, spec, number, buffers, pickled=pickled, timeout_s=timeout_s
        )

    # --- what an attempt is told

    def _bound(self, held: Held, kind: KnownKind) -> Held:
        """The task with the results that its arguments refer to."""
        spec, number, buffers, beside = held
        if beside is None or not beside.results:
            return held
        if isinstance(kind.spec.work, PickledCall):
            data, parts = bound.bind(spec.payload, buffers, self._found(beside))
            return msgspec.structs.replace(spec, payload=data), number, parts, beside
        arguments = payload.find_references(spec.payload)
        if arguments is None:
            return held
        data = payload.encode_bound(bind(arguments, self._found(beside)))
        return msgspec.structs.replace(spec, payload=data), number, buffers, beside

    def _found(self, beside: Beside) -> list[Found]:
        found = []
        for result, parts in beside.results:
            directory = ""
            if self._run_directory is not None:
                directory = aside.place_of(str(self._run_directory.task_dir(result.task, result.name)))
            name = result.name or default_name(result.task)
            value = payload.decode(result.value, parts)
            found.append(Found(name, result.state.name.lower(), directory, value))
        return found

    def _variables(self, held: Held, kind: KnownKind, allowance: Allowance) -> dict[str, str]:
        """What a call is told of itself in the environment; a task from Python hears of its cores alone."""
        asked = allowance.variables | kind.spec.environment
        if isinstance(kind.spec.work, PickledCall):
            return asked
        place = self._place(held, kind)
        fields = calls.plain_fields(held[0])
        identity = TaskIdentity(place.name, held[1], place.directory, place.run_dir, place.rank, fields)
        return task_environment({}, identity, asked)

    def _place(self, held: Held, kind: KnownKind) -> command.Place:
        """Where an attempt runs; its directory is made."""
        spec = held[0]
        name, directory, run_dir = spec.name or default_name(spec.id), "", ""
        if self._run_directory is not None:
            run_dir = str(self._run_directory.path)
            if self._welcome is not None and self._welcome.task_dirs:
                directory = str(self._run_directory.task_dir(spec.id, spec.name))
                if held[3] is not None and held[3].aside:
                    directory = aside.aside_of(directory, held[1])
                _make_directory(directory)
        launcher: tuple[str, ...] = ()
        if kind.mode is Mode.COMMAND and kind.spec.needs.ranks > 1:
            ranks = str(kind.spec.needs.ranks)
            launcher = tuple(word.replace("{ranks}", ranks) for word in self._launcher())
        return command.Place(name, self._transport.rank, run_dir, directory, self._environment, launcher)


def failed(held: Held, failure: Failure) -> Result:
    """An attempt that could not be begun."""
    return Outcome(held[0].id, held[1], Verdict.FAILED, time.time(), 0.0, failure=failure), []


def _not_begun(error: Exception) -> Failure:
    return Failure(class_of(error, FailureClass.NOT_FOUND), f"it cannot be begun: {error}")


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, 0o700)  # noqa: PTH102 - mostly the shard is there, and one call does it
    except FileExistsError:
        return
    except FileNotFoundError:
        Path(path).mkdir(0o700, parents=True, exist_ok=True)
