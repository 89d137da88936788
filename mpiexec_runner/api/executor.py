"""ParallelExecutor: a ``concurrent.futures.Executor`` whose workers are the ranks of an MPI job.

It turns calls into tasks (``session.py``); scheduling, transport and record are the engine's (``port.py``).
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from typing_extensions import override

from mpiexec_runner.api.control import RunControl
from mpiexec_runner.api.futures import MapResults, TaskFuture, value_of
from mpiexec_runner.api.options import ResourceLimits, TaskOptions, check_priority
from mpiexec_runner.api.session import Scheduler, Session, Setup
from mpiexec_runner.errors import UserError
from mpiexec_runner.model.events import CancelRequested, MoveRequested, PriorityRequested, SubmissionsClosed
from mpiexec_runner.model.tasks import Mode, Outcome, RetryRule

T = TypeVar("T")
BUFFERSIZE = 16_384
"""How many tasks of one ``map`` may be under way or waiting to be fetched."""
PORTION = 512
"""``map`` submits this many tasks at a time."""


class Calls(Executor):
    """What submits calls with certain options: an executor, or a view of one.

    Parameters
    ----------
    session
        The run.
    options
        Of every task that is submitted here.
    leave
        Whether a rank that has only worked ends its program.
    """

    def __init__(self, session: Session, options: TaskOptions, leave: bool) -> None:
        self._session, self._options, self._leave = session, options, leave

    def options(
        self,
        *,
        priority: int | None = None,
        timeout_s: float | None = None,
        cpus: int | None = None,
        memory: int | None = None,
        gpus: int | None = None,
        tags: Sequence[str] | None = None,
        ranks: int | None = None,
        retries: int | RetryRule | None = None,
        labels: Sequence[str] | None = None,
        site: str | None = None,
        speculate: bool | None = None,
        mode: Mode | str | None = None,
    ) -> "Calls":
        """A view of this executor whose ``submit`` and ``map`` treat tasks so; what is left out stays.

        Parameters
        ----------
        priority
            1 to 10; 10 goes first. 5 unless given.
        timeout_s
            Seconds after which a running task is ended and has failed. It then runs in a child process.
        cpus, memory, gpus, tags
            What its worker must have to spare: cores, bytes, devices; and the worker's tags.
        ranks
            More than 1: it runs on so many workers at once, and is called with their communicator first.
        retries
            How often it is tried again after a failure, or a :class:`RetryRule`.
        labels
            Your words for such tasks, to cancel them by.
        site
            What it is best run near to: tasks of one site follow one another on the same worker.
        speculate
            Whether a second attempt may run beside one that takes far longer than others do. Say False for
            tasks with effects outside.
        mode
            How it is executed: ``"inline"``, ``"thread"``, ``"process"``, ``"asyncio"``; by itself unless
            given.

        Raises
        ------
        UserError
            When there is no such thing.

        Examples
        --------
        >>> urgent = executor.options(priority=10, timeout_s=60)  # doctest: +SKIP
        >>> urgent.submit(check, data)  # doctest: +SKIP
        """
        options = self._options.changed(
            priority=priority,
            timeout_s=timeout_s,
            cpus=cpus,
            memory=memory,
            gpus=gpus,
            tags=tags,
            ranks=ranks,
            retries=retries,
            labels=labels,
            site=site,
            speculate=speculate,
            mode=mode,
        )
        return Calls(self._session, options, self._leave)

    @override
    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See ``concurrent.futures.Executor.submit``. What ``fn`` closes over is sent as it is now."""
        self._begin()
        session = self._session
        kind, args = session.kind_for_call(fn, args, self._options)
        if session.gate is not None:
            session.gate.enter()
        try:
            with session.lock:
                spec = session.make(kind, args, kwargs, site=self._options.site)
                future = TaskFuture(spec.id, session.cancel, session.engine.blobs)
                session.submit([spec], future)
        except BaseException:
            if session.gate is not None:
                session.gate.give_back()
            raise
        return future

    @override
    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int = BUFFERSIZE,
    ) -> Iterator[T]:
        """See ``concurrent.futures.Executor.map``; the iterables are read as results are fetched.

        Parameters
        ----------
        fn, iterables
            ``fn`` is called with one item of each.
        timeout
            Seconds until ``TimeoutError``, counted from this call.
        chunksize
            Calls per task. The engine batches small tasks by itself; more than 1 only saves bookkeeping.
        buffersize
            How many tasks may be under way or waiting to be fetched: the bound of the hub's memory.
        """
        if chunksize < 1 or buffersize < 1:
            raise ValueError("chunksize and buffersize must be at least 1")
        self._begin()
        deadline = None if timeout is None else time.monotonic() + timeout
        items = zip(*iterables)  # noqa: B905 - as the standard library: the shortest ends it
        if chunksize == 1:
            results = self._stream(fn, items, deadline, buffersize)
        else:
            chunks = iter(lambda: (list(itertools.islice(items, chunksize)),), ([],))
            streamed = self._stream(_Chunk(fn), chunks, deadline, buffersize)
            results = _flattened(streamed)
        return results

    @override
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See ``concurrent.futures.Executor.shutdown``."""
        session = self._session
        if not session.engine.hub_here:
            return
        with session.lock:
            first, session.closed = not session.closed, True
        self._begin()
        if cancel_futures:
            session.post(CancelRequested(None))
        if first:
            session.go_on_if_paused()
            session.post(SubmissionsClosed())
        if wait:
            session.engine.join()

    def _begin(self) -> bool:
        """Start on rank 0; anywhere else work, and leave when that is done."""
        if self._session.begin():
            return True
        if self._leave:
            raise SystemExit(0)
        return False

    def _stream(
        self, fn: Callable[..., T], items: Iterator[tuple[Any, ...]], deadline: float | None, buffersize: int
    ) -> Iterator[T]:
        """Submit the first tasks now, and the others as results are fetched."""
        session, site = self._session, self._options.site
        gate = session.gate
        if gate is not None:
            buffersize = min(buffersize, gate.size)
        kind, prefix = session.kind_for_call(fn, (), self._options)
        results, pending = MapResults(), deque[int]()
        portion = max(1, min(PORTION, buffersize // 2))

        def submit_more() -> None:
            batch = list(itertools.islice(items, portion))  # the user's generator may submit, too
            if not batch:
                return
            if gate is not None:
                gate.enter(len(batch), wait=True)
            try:
                with session.lock:
                    specs = [session.make(kind, prefix + args, {}, site=site) for args in batch]
                    session.submit(specs, results)
            except BaseException:
                if gate is not None:
                    gate.give_back(len(batch))
                raise
            pending.extend(spec.id for spec in specs)

        while len(pending) + portion <= buffersize:
            before = len(pending)
            submit_more()
            if len(pending) == before:
                break
        return self._fetch(results, pending, submit_more, deadline, max(0, buffersize - portion))

    def _fetch(
        self,
        results: MapResults,
        pending: deque[int],
        submit_more: Callable[[], None],
        deadline: float | None,
        refill_at: int,
    ) -> Iterator[Any]:
        session, take_if_here = self._session, results.take_if_here
        blobs = session.engine.blobs
        try:
            while pending:
                task = pending.popleft()
                found = take_if_here(task, None)
                if not isinstance(found, Outcome):
                    found = results.fetch(task, deadline, found)
                yield value_of(found, blobs)
                if len(pending) <= refill_at:
                    submit_more()
        finally:
            left = tuple(pending)
            if left:
                with session.lock:
                    for id_ in left:
                        session.waiting.pop(id_, None)
                session.cancel(*left)


class ParallelExecutor(Calls, RunControl):
    """Runs calls on the ranks of an MPI job, as in ``mpiexec -n 4 python script.py``.

    Used with ``with``: rank 0 gets the executor and goes on; every other rank works until rank 0 has ended,
    and leaves. Started without ``mpiexec`` it runs the calls in a thread of the one process.

    Parameters
    ----------
    initializer, initargs
        A call that each worker makes first. When it fails, every future raises ``BrokenExecutor``. With an
        initializer, functions of the script are looked up in the script as each worker runs it, so that they
        see the globals that the initializer set; without one they bring the values that they use along.
    run_dir
        Keep a record in this new directory: journal, ``results.h5``. Left out: nothing is kept.
    slots
        Calls that one rank runs at the same time; with more than one they run in child processes.
    isolate
        Run every call in a child process, so that one that crashes harms nothing else.
    limits
        What all tasks together may take, and how many may be under way: :class:`ResourceLimits`.
    scheduler
        How tasks find workers: the keys of ``scheduler`` in a configuration, as a mapping.
    workers
        What the other ranks do at the end of the ``with`` block: ``"exit"`` the program when rank 0 does,
        or ``"return"`` at once, with ``None`` in place of the executor, as with ``MPICommExecutor``.

    Examples
    --------
    >>> with ParallelExecutor() as executor:  # doctest: +SKIP
    ...     squares = list(executor.map(lambda x: x * x, range(1000)))
    """

    def __init__(
        self,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[object, ...] = (),
        run_dir: str | Path | None = None,
        slots: int = 1,
        isolate: bool = False,
        limits: ResourceLimits | None = None,
        scheduler: Scheduler = None,
        workers: Literal["exit", "return"] = "exit",
    ) -> None:
        final = workers == "return"
        setup = Setup(initializer, initargs, run_dir, slots, isolate, final, limits, scheduler)
        session = Session(setup)
        super().__init__(session, session.options, leave=not final)

    @override
    def __enter__(self) -> Self:
        """On rank 0, the executor; on the others, work. See the class."""
        return self if self._begin() else None  # type: ignore[return-value]

    @override
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if self._session.engine.hub_here:
            self.shutdown(wait=True)

    def set_priority(self, futures: Iterable[Future[Any]], priority: int) -> None:
        """Make tasks that have not begun as urgent as that: 1 to 10.

        Parameters
        ----------
        futures
            Of this executor; those that are done are passed over.
        priority
            10 goes first.
        """
        check_priority(priority)
        self._session.post(PriorityRequested(tuple(map(_task_of, futures)), priority))

    def move(self, future: Future[Any], worker: int) -> None:
        """Let a task run on the worker of this rank, if it has not begun elsewhere."""
        self._session.post(MoveRequested(_task_of(future), worker))


def _task_of(future: Future[Any]) -> int:
    if isinstance(future, TaskFuture):
        return future.task
    raise UserError(f"{future!r} was not made by submit of a ParallelExecutor")


class _Chunk:
    """Calls a function for each item of a chunk."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn

    def __call__(self, chunk: list[tuple[Any, ...]]) -> list[Any]:
        return [self._fn(*args) for args in chunk]


def _flattened(chunks: Iterator[list[T]]) -> Iterator[T]:
    for chunk in chunks:
        yield from chunk
