"""One run as a Python program holds it: kinds and tasks go in, outcomes come back to those who wait.

Beneath both :class:`ParallelExecutor` and :class:`TaskPipeline`; it knows neither futures nor task names.
"""

import itertools
import logging
import pickle
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import cloudpickle
import msgspec
import pydantic

from mpiexec_runner.api.futures import Waiting
from mpiexec_runner.api.gate import Gate
from mpiexec_runner.api.options import ResourceLimits, TaskOptions
from mpiexec_runner.api.port import Engine, make_engine
from mpiexec_runner.api.stalls import StallWatch
from mpiexec_runner.core.metrics import RunMetrics, measure
from mpiexec_runner.core.settings import SchedulerSettings
from mpiexec_runner.core.state import RunState
from mpiexec_runner.errors import UserError
from mpiexec_runner.execute import payload
from mpiexec_runner.execute.references import reference_of
from mpiexec_runner.model.commands import RunEnd
from mpiexec_runner.model.events import (
    AnyEvent,
    CancelRequested,
    KindsRegistered,
    PauseRequested,
    TasksSubmitted,
)
from mpiexec_runner.model.tasks import (
    BlobRef,
    Mode,
    Outcome,
    PickledCall,
    TaskSpec,
    TaskState,
    Work,
)

_TASK_IDS = itertools.count(1)
"""One for all runs of a program: a result that comes late belongs to no task of the next one."""
KNOWN_FUNCTIONS = 256
"""So many functions travel once to each worker; any further ones (new closures, say) with each call."""
Scheduler = SchedulerSettings | Mapping[str, object] | None


class Setup(NamedTuple):
    """How a run is begun, as the classes that a program sees are given it."""

    initializer: Callable[..., object] | None = None
    initargs: tuple[object, ...] = ()
    run_dir: str | Path | None = None
    slots: int = 1
    isolate: bool = False
    final: bool = False
    """Whether the workers may leave at the end of this run, or wait for the next one of this process."""
    limits: ResourceLimits | None = None
    scheduler: Scheduler = None
    keep: bool = False
    """Whether tasks, and what they returned, are remembered for those that depend on them."""


class Session:
    """See the module.

    Parameters
    ----------
    setup
        How it is begun.
    """

    def __init__(self, setup: Setup) -> None:
        isolate, initializer = setup.isolate, setup.initializer
        if initializer is not None and (isolate or setup.slots > 1) and reference_of(initializer):
            raise UserError(
                "with slots or isolate, calls run in child processes, which do not run your script: put the "
                "initializer, and the functions that need it, into a module that can be imported"
            )
        self._refer, self._keep = initializer is not None, setup.keep
        self._setup = b""
        if initializer is not None:
            self._setup = cloudpickle.dumps((reference_of(initializer), initializer, setup.initargs))
        limits = setup.limits or ResourceLimits()
        self.engine: Engine = make_engine(
            run_dir=setup.run_dir,
            slots=setup.slots,
            final=setup.final,
            scheduler=_settings(setup.scheduler),
            limits=limits.settings(),
            monitoring_interval_s=limits.monitoring_interval,
        )
        self.options = limits.task_options()
        if isolate:
            self.options = self.options.changed(mode=Mode.PROCESS)
        self.gate = Gate(limits.max_queue_size, limits.on_full) if limits.max_queue_size else None
        self.lock = threading.RLock()
        """Numbers of tasks are drawn and posted under it: they must reach the hub in their order."""
        self.waiting: dict[int, Waiting] = {}
        self.broken: BaseException | None = None
        self.progress: Callable[[RunState], None] | None = None
        """Called in the hub's thread every so often."""
        self._blobs: dict[int, BlobRef] = {}
        self._added: dict[int, bytes] = {}
        self._kinds: dict[tuple[object, TaskOptions], int] = {}
        self._numbers = itertools.count(1)
        self._by_reference: dict[tuple[FunctionType, TaskOptions], int] = {}
        self._strangers = 0
        self._started_at = 0.0
        self._stalls = StallWatch()
        self._paused = False
        self.started = False
        self.closed = False

    @property
    def blobs_left(self) -> int:
        """How many large arguments are kept."""
        return len(self._blobs)

    def begin(self) -> bool:
        """Start on rank 0; anywhere else work until that is done, and return False."""
        if not self.engine.hub_here:
            self.engine.serve()
            return False
        with self.lock:
            if not self.started:
                self.engine.start(self, self._setup)
                self.started, self._started_at = True, time.monotonic()
        return True

    def post(self, event: AnyEvent) -> None:
        """Let something happen."""
        self.engine.post(event)

    def metrics(self) -> RunMetrics:
        """What is to be said of the run in numbers, now."""
        state = self.engine.state
        elapsed_s = time.monotonic() - self._started_at if self.started else 0.0
        return measure(state or RunState(), elapsed_s, self.engine.scheduling_s)

    # --- what goes in

    def kind_for_call(
        self, fn: Callable[..., Any], args: tuple[Any, ...], options: TaskOptions
    ) -> tuple[int, tuple[Any, ...]]:
        """The kind of tasks that call ``fn``, and their arguments: with ``fn`` among them for a stranger."""
        if isinstance(fn, FunctionType) and (fn, options) in self._by_reference:
            return self._by_reference[fn, options], args
        pickled = cloudpickle.dumps(fn, 5)
        # A group's function gets its communicator first: no other can stand before it.
        if (
            (pickled, options) not in self._kinds
            and self._strangers >= KNOWN_FUNCTIONS
            and options.ranks == 1
        ):
            fn, args, pickled = _apply, (fn, *args), cloudpickle.dumps(_apply, 5)
        name = getattr(fn, "__name__", type(fn).__name__)

        def work() -> Work:
            self._strangers += 1
            return PickledCall(pickled, name, reference_of(fn) if self._refer else "")

        kind = self.kind_for(pickled, name, work, options)
        if _by_reference(fn, pickled):
            self._by_reference[fn, options] = kind  # type: ignore[index]
        return kind, args

    def kind_for(self, key: object, name: str, work: Callable[[], Work], options: TaskOptions) -> int:
        """The kind of some work with some options; registered when it is new."""
        with self.lock:
            kind = self._kinds.get((key, options))
            if kind is None:
                kind = self._kinds[key, options] = next(self._numbers)
                made = options.kind(kind, name, work(), keep=self._keep, keep_result=self._keep)
                self.post(KindsRegistered((made,)))
        return kind

    def make(self, kind: int, args: tuple[Any, ...], kwargs: dict[str, Any], **more: Any) -> TaskSpec:
        """A task that calls a function that travels by value. Under :attr:`lock`, until it is submitted."""
        id_ = self.next_id()
        data, buffers = payload.encode_arguments(args, kwargs)
        if not buffers:
            return TaskSpec(id_, kind, data, **more)
        blob = self._blobs[id_] = self.engine.blobs.put(f"arguments-{id_}", buffers)
        return TaskSpec(id_, kind, data, blob=blob, **more)

    def next_id(self) -> int:
        """A number for a task. Under :attr:`lock`, until it is submitted."""
        return next(_TASK_IDS)

    def submit(self, specs: list[TaskSpec], waiting: Waiting) -> None:
        """Submit tasks whose outcomes ``waiting`` is told."""
        with self.lock:
            self.check_open()
            for spec in specs:
                self.waiting[spec.id] = waiting
                if self.gate is not None:
                    self.gate.note(spec.id)
            self.post(TasksSubmitted(specs))

    def check_open(self) -> None:
        """Raise when nothing can be submitted any more."""
        if self.broken is not None:
            raise BrokenExecutor("the run has ended") from self.broken
        if self.closed:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def pause(self, paused: bool) -> None:
        """Begin nothing new, or go on."""
        self._paused = paused
        self.post(PauseRequested(paused))

    def go_on_if_paused(self) -> None:
        """Let what was submitted come to its end: nobody is left who would end a pause."""
        if self._paused:
            self.pause(False)

    def cancel(self, *tasks: int) -> None:
        """Take tasks back."""
        self.post(CancelRequested(tasks))

    # --- as the engine's listener, in the hub's thread

    def expand(self, outcome: Outcome) -> list[AnyEvent]:
        """Tasks that a task adds are taken in with its outcome, by whoever waits for it."""
        if not self._keep:
            raise UserError("the calls of a ParallelExecutor cannot add tasks: use a TaskPipeline")
        self._added[outcome.task] = outcome.more
        return []

    def settled(self, outcomes: list[Outcome]) -> None:
        """See :class:`~mpiexec_runner.core.listener.Listener`."""
        take = self.waiting.pop
        last: Waiting | None = None
        for outcome in outcomes:
            waiting = take(outcome.task, None)
            if waiting is not last:
                if last is not None:
                    last.told()
                last = waiting
            if waiting is not None:
                if self._added and outcome.task in self._added:
                    outcome = msgspec.structs.replace(  # noqa: PLW2901
                        outcome, more=self._added.pop(outcome.task)
                    )
                waiting.settle(outcome)
            if self._blobs:
                self._drop_arguments(outcome.task)
        if last is not None:
            last.told()
        if self.gate is not None:
            self.gate.leave([outcome.task for outcome in outcomes])

    def settled_without(self, task: int, state: TaskState, why: str) -> None:
        """See :class:`~mpiexec_runner.core.listener.Listener`."""
        waiting = self.waiting.pop(task, None)
        self._drop_arguments(task)
        if waiting is not None:
            waiting.withdraw(task, state, why)
            waiting.told()
        if self.gate is not None:
            self.gate.leave([task])

    def _drop_arguments(self, task: int) -> None:
        if self._keep:  # it may be retried by hand
            return
        blob = self._blobs.pop(task, None)
        if blob is not None:
            self.engine.blobs.drop(blob)

    def worker_noted(self, worker: int, what: str) -> None:
        """See :class:`~mpiexec_runner.core.listener.Listener`."""

    def noted(self, what: str) -> None:
        """See :class:`~mpiexec_runner.core.listener.Listener`."""
        logging.getLogger("mpiexec_runner").warning(
            "%s", what
        )  # on standard error, unless arranged otherwise

    def progressed(self, state: RunState) -> None:
        """See :class:`~mpiexec_runner.core.listener.Listener`."""
        self._stalls.look(state, time.monotonic())
        if self.progress is not None:
            self.progress(state)

    def ended(self, end: RunEnd, why: str) -> None:
        """Whoever still waits will wait in vain."""
        with self.lock:
            error = self.broken = BrokenExecutor(why or f"the run has ended: {end}")
            left, self.waiting = self.waiting, {}
        for task, waiting in left.items():
            waiting.broken(task, error)
        if self.gate is not None:
            self.gate.close()


def _settings(given: Scheduler) -> SchedulerSettings:
    if isinstance(given, SchedulerSettings):
        return given
    try:
        return SchedulerSettings.model_validate(dict(given or {}))
    except pydantic.ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise UserError(f"scheduler: {told}. The keys are those of `scheduler` in a configuration") from None


def _apply(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return fn(*args, **kwargs)


def _by_reference(fn: Callable[..., Any], pickled: bytes) -> bool:
    """Whether ``pickled`` only names ``fn``, so that it can be kept: it will not change when ``fn`` does."""
    if not isinstance(fn, FunctionType) or fn.__module__ == "__main__":
        return False
    try:
        return pickle.dumps(fn, 5) == pickled
    except (pickle.PicklingError, AttributeError):
        return False
