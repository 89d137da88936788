"""The tasks and workflows that a pipeline knows: who waits for them, how they end, how they stand.

It submits nothing; what has to be submitted next is asked for in the thread of the callbacks.
"""

import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from mpiexec_runner.api.callbacks import Callbacks
from mpiexec_runner.api.jobs import Job, suggestion
from mpiexec_runner.api.records import Entry, ExecutionStats, Flow, TaskStatus, WorkflowStatus, statistics
from mpiexec_runner.core.skipped import why_in_vain
from mpiexec_runner.core.state import RunState
from mpiexec_runner.errors import UserError
from mpiexec_runner.model.tasks import Outcome, TaskSpec, TaskState, Verdict

_ENDS = {
    Verdict.SUCCEEDED: TaskState.SUCCEEDED,
    Verdict.FAILED: TaskState.FAILED,
    Verdict.CANCELLED: TaskState.CANCELLED,
}
TOLD_S = 10.0
"""How long it is waited at most until what the core has decided is told here."""


class Ledger:
    """See the module.

    Parameters
    ----------
    feed
        Called for a workflow whose batch is at its end, in the thread of the callbacks.
    adopt
        Called with the tasks that a task has added and with that task, in the same thread.
    state
        Gives the state of the run, which is only read.
    """

    def __init__(
        self,
        feed: Callable[[Flow], None],
        adopt: Callable[[bytes, Entry], None],
        state: Callable[[], RunState | None],
    ) -> None:
        self._feed, self._adopt, self._state = feed, adopt, state
        self.changed = threading.Condition()
        self.callbacks = Callbacks(self.told)
        self.entries: dict[str, Entry] = {}
        self._by_task: dict[int, Entry] = {}
        self._flows: dict[str, Flow] = {}
        self._flow_numbers: dict[str, int] = {}
        self._open = 0
        self._turns = itertools.count(1)
        self._broken: BaseException | None = None

    @contextlib.contextmanager
    def new_flow(self, sort: str) -> Iterator[Flow]:
        """A workflow with a name of its own; forgotten when its tasks cannot be submitted."""
        with self.changed:
            number = self._flow_numbers[sort] = self._flow_numbers.get(sort, 0) + 1
            flow = self._flows[f"{sort}-{number}"] = Flow(f"{sort}-{number}")
        try:
            yield flow
        except BaseException:
            with self.changed:
                del self._flows[flow.name]
            raise

    def add(
        self,
        jobs: Sequence[Job],
        specs: Sequence[TaskSpec],
        flow: Flow | None,
        callback: Callable[[TaskStatus], object] | None,
    ) -> list[Entry]:
        """Note tasks, before they are submitted."""
        entries = [Entry(job.id, spec.id, flow) for job, spec in zip(jobs, specs, strict=True)]
        with self.changed:
            now = time.monotonic()
            for entry, job in zip(entries, jobs, strict=True):
                entry.callback, entry.began = callback, now
                self.entries[entry.name] = self._by_task[entry.task] = entry
                for name in job.after:
                    self.entries[name].dependents.append(entry)
            self._open += len(entries)
            if flow is not None:
                if flow.left is not None:
                    flow.batch += entries
                flow.entries += entries
                flow.open += len(entries)
        return entries

    def reopen(self, entry: Entry) -> list[Entry]:
        """Note that a task is tried once more, and with it what was skipped because of it; all of these."""
        with self.changed:
            if entry.state not in (TaskState.FAILED, TaskState.CANCELLED):
                raise UserError(self._why_not_again(entry))
            line = [entry]
            for one in line:  # it grows meanwhile
                self._open_again(one)
                for other in one.dependents:
                    # In the core it is skipped with the one before it, here it is told a moment later.
                    self.changed.wait_for(functools.partial(self._is_told, other), TOLD_S)
                    if other.state is TaskState.SKIPPED and other not in line:
                        line.append(other)
        return line

    def _why_not_again(self, entry: Entry) -> str:
        state = self._state()
        task = state.tasks.get(entry.task) if state is not None else None
        if entry.state is TaskState.SKIPPED and state is not None and task is not None:
            why = why_in_vain(state, task, lambda one: one.spec.name)
            if why:
                return why
        told = state_name(entry.state) or "not at its end"
        return f"{entry.name} is {told}: only what failed or was cancelled can be tried once more"

    def _is_told(self, entry: Entry) -> bool:
        """Whether a task, if the core has skipped it, is told here to be."""
        state = self._state()
        task = state.tasks.get(entry.task) if state is not None else None
        return entry.state is not None or task is None or task.state is not TaskState.SKIPPED

    def _open_again(self, entry: Entry) -> None:
        if entry.state is None:
            return
        entry.state, entry.outcome, entry.why, entry.turn, entry.ended = None, None, "", 0, 0.0
        self._open += 1
        if entry.workflow is not None:
            entry.workflow.open += 1

    def entry(self, name: str) -> Entry:
        """A task by its name."""
        try:
            return self.entries[name]
        except KeyError:
            raise UserError(f"there is no task {name}.{suggestion(name, self.entries)}") from None

    def flow(self, name: str) -> Flow:
        """A workflow by its name."""
        try:
            return self._flows[name]
        except KeyError:
            raise UserError(f"there is no workflow {name}.{suggestion(name, self._flows)}") from None

    def all(self) -> Iterable[Entry]:
        """All tasks."""
        return list(self._by_task.values())

    # --- waiting

    def wait(self, until: Callable[[], object], timeout: float | None, what: str) -> None:
        """Wait until something is so; ``what`` says what is not when ``timeout`` seconds are over."""
        with self.changed:
            came = self.changed.wait_for(lambda: until() or self._broken is not None, timeout)
            if until():
                return
        if self._broken is not None:
            raise self._broken
        if not came:
            raise TimeoutError(f"{what} after {timeout:g} s")

    def wait_for_all(self) -> None:
        """Wait until all tasks and callbacks have ended, and what these submitted; or the run is over."""
        with self.changed:
            self.changed.wait_for(lambda: self._broken is not None or self._is_idle())

    def raise_what_broke(self) -> None:
        """Raise what a callback raised, or why the run has ended before its tasks did."""
        error = self.callbacks.error or self._broken
        if error is not None:
            raise error

    def _is_idle(self) -> bool:
        unfed = any(flow.left is not None for flow in self._flows.values())
        return not (self._open or self.callbacks.due or unfed)

    # --- how things stand

    def status(self, entry: Entry) -> TaskStatus:
        """How a task stands."""
        with self.changed:
            state, outcome = state_name(self._live_state(entry)), entry.outcome
            if outcome is None:
                return TaskStatus(id=entry.name, state=state, why=entry.why)
            return TaskStatus(
                id=entry.name,
                state=state,
                why=entry.why,
                attempt=outcome.attempt,
                started=outcome.started,
                duration_s=outcome.elapsed_s,
            )

    def _live_state(self, entry: Entry) -> TaskState:
        """The state in the core, which may be a moment ahead of what was told here."""
        state = self._state()
        task = None if state is None else state.tasks.get(entry.task)
        if entry.state is not None:
            return entry.state
        if task is None:
            return TaskState.WAITING
        return TaskState.RUNNING if task.state.terminal else task.state

    def flow_status(self, flow: Flow) -> WorkflowStatus:
        """How a workflow stands."""
        counts: dict[str, int] = {}
        with self.changed:
            for entry in flow.entries:
                name = state_name(self._live_state(entry))
                counts[name] = counts.get(name, 0) + 1
            return WorkflowStatus(
                id=flow.name, total=len(flow.entries), counts=counts, complete=flow.left is None
            )

    def statistics(self, entries: Sequence[Entry], capacity: int) -> ExecutionStats:
        """What was gained by running these tasks side by side."""
        with self.changed:
            began = min((entry.began for entry in entries), default=0.0)
            until = max((entry.ended or time.monotonic() for entry in entries), default=0.0)
            open_ = [entry for entry in entries if entry.state is None]
            running = sum(self._live_state(entry) is TaskState.RUNNING for entry in open_)
            return statistics(entries, running, until - began, capacity)

    # --- as one who waits for outcomes, in the hub's thread

    def settle(self, outcome: Outcome) -> None:
        """See :class:`~mpiexec_runner.api.futures.Waiting`."""
        why = outcome.failure.message if outcome.failure is not None else ""
        self._end(outcome.task, _ENDS[outcome.verdict], why, outcome)

    def told(self) -> None:
        """See :class:`~mpiexec_runner.api.futures.Waiting`."""
        with self.changed:
            self.changed.notify_all()

    def withdraw(self, task: int, state: TaskState, why: str) -> None:
        """See :class:`~mpiexec_runner.api.futures.Waiting`."""
        self._end(task, state, why, None)

    def broken(self, task: int, error: BaseException) -> None:  # noqa: ARG002 - all of them are
        """See :class:`~mpiexec_runner.api.futures.Waiting`."""
        with self.changed:
            self._broken = error
            self.changed.notify_all()

    def _end(self, task: int, state: TaskState, why: str, outcome: Outcome | None) -> None:
        with self.changed:
            entry = self._by_task[task]
            entry.state, entry.why, entry.outcome = state, why, outcome
            entry.turn = next(self._turns)
            entry.ended = time.monotonic()
            self._open -= 1
            if entry.callback is not None:
                status, callback = self.status(entry), entry.callback
                self.callbacks.call(functools.partial(callback, status))
            flow = entry.workflow
            more = outcome.more if outcome is not None else b""
            if more:
                self.callbacks.call(functools.partial(self._adopt, more, entry))
            if flow is None:
                return
            flow.adding += bool(more)
            flow.open -= 1
            if not flow.open and flow.left is not None:
                self.callbacks.call(functools.partial(self._feed, flow))


def state_name(state: TaskState | None) -> str:
    """As it is told: in lower case; empty while there is none."""
    return "" if state is None else state.name.lower()
