"""One row per task, folded from the journal: what became of it, where, when and at what cost.

Nothing here reads files. Columns are flat arrays, so that a million tasks fit into memory.

The fold knows no retry rules: that a failure is final is known to the scheduler alone, whose word
:meth:`ResultTable.finalise` takes.
"""

import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mpiexec_runner.errors import StorageError
from mpiexec_runner.model.events import (
    AnyEvent,
    CancelRequested,
    KindsRegistered,
    RunOpened,
    TasksFinished,
    TasksStarted,
    TasksSubmitted,
    WorkerJoined,
    WorkerLeft,
)
from mpiexec_runner.model.tasks import (
    BlobRef,
    CommandLine,
    Outcome,
    TaskKind,
    TaskSpec,
    TaskState,
    Verdict,
    When,
)
from mpiexec_runner.storage.port import Record
from mpiexec_runner.storage.rundir import default_name


class TaskRow(NamedTuple):
    """What the table says of one task.

    Times are seconds since the epoch; what is not known is NaN, -1 or empty. ``submitted`` is by the hub's
    clock, ``started`` and ``ended`` by the worker's. ``error`` is the message of the last failure.
    """

    id: int
    name: str
    state: TaskState
    attempts: int
    rank: int
    host: str
    submitted: float
    started: float
    ended: float
    elapsed_s: float
    exit_code: int
    cpu_s: float
    peak_memory_bytes: int
    error: str


class ResultTable:
    """The table; :meth:`apply` it to each record of a journal, in order.

    Attributes
    ----------
    superseded : int
        Outcomes that came when their task had been done already, or was being tried again.
    notes : list[str]
        What reading the journal had to say, for the user.
    """

    def __init__(self) -> None:
        self.superseded = 0
        self.notes: list[str] = []
        self._kinds: dict[int, TaskKind] = {}
        self._ids = array("q")
        self._names: list[str] = []
        self._payloads: list[bytes] = []
        self._states = bytearray()
        self._cancelling = bytearray()
        self._attempts = array("i")
        self._ranks = array("i")
        self._hosts: list[str] = []
        self._submitted = array("d")
        self._retries = array("i")
        self._started = array("d")
        self._elapsed = array("d")
        self._exit_codes = array("q")
        self._cpu = array("d")
        self._memory = array("q")
        self._values: list[bytes] = []
        self._errors: list[str] = []
        self._blobs: dict[int, BlobRef] = {}
        self._dependent: dict[int, TaskSpec] = {}
        self._ranks_of: dict[int, int] = {}
        self._told: dict[int, tuple[int, int]] = {}
        self._host_of: dict[int, str] = {}
        self._running: dict[int, set[int]] = {}
        self._columns: dict[str, Sequence[Any]] = {
            "id": self._ids,
            "attempts": self._attempts,
            "rank": self._ranks,
            "host": self._hosts,
            "submitted": self._submitted,
            "started": self._started,
            "elapsed_s": self._elapsed,
            "exit_code": self._exit_codes,
            "cpu_s": self._cpu,
            "peak_memory_bytes": self._memory,
            "error": self._errors,
        }

    def __len__(self) -> int:
        return len(self._ids)

    def apply(self, record: Record) -> None:
        """Take in one record.

        Raises
        ------
        StorageError
            A task was submitted whose id does not grow.
        """
        for event in record.events:
            match event:
                case KindsRegistered(kinds):
                    self._kinds.update((kind.id, kind) for kind in kinds)
                case TasksSubmitted(tasks):
                    for spec in tasks:
                        self._add(spec, record.now)
                case TasksStarted(worker, attempts):
                    for task, attempt in attempts:
                        self._start(task, attempt, worker, record.now)
                case TasksFinished(worker, outcomes):
                    for outcome in outcomes:
                        self._finish(outcome, worker)
                case CancelRequested(tasks):
                    self._cancel(tasks)
                case _:
                    self._note_worker(event)

    def take_word(self, ends: Mapping[int, tuple[TaskState, str]]) -> None:
        """Take the scheduler's word for how tasks ended without an attempt that counts, and why."""
        for task, (state, why) in ends.items():
            row = self.find_row(task)
            if row is not None and self._states[row] < TaskState.SUCCEEDED:
                self._states[row], self._errors[row] = state, why

    def settle_dependents(self) -> None:
        """Tell, when all records are in, which tasks wait for others, and which were skipped and why."""
        for row, spec in self._dependent.items():
            if self._states[row] != TaskState.READY:
                continue
            before = [self._after(id_) for id_ in spec.after]
            ended = [(name, state) for name, state in before if state.terminal]
            bad = [(name, state) for name, state in ended if state is not TaskState.SUCCEEDED]
            if spec.when is When.SUCCESS and bad:
                self._skip(row, f"it depends on {bad[0][0]}, which was {_ENDED[bad[0][1]]}")
            elif len(ended) < len(before):
                self._states[row] = TaskState.WAITING
            elif spec.when is When.FAILURE and all(state is TaskState.CANCELLED for _, state in bad):
                self._skip(row, "it was to run only after a failure, and nothing failed")

    def _after(self, task: int) -> tuple[str, TaskState]:
        """The name and state of a task that others depend on; a failure that is tried again is no end."""
        row = self.find_row(task)
        if row is None:
            return default_name(task), TaskState.CANCELLED
        state = TaskState(self._states[row])
        again = state is TaskState.FAILED and self._attempts[row] <= self._retries[row]
        return self.name(row), TaskState.WAITING if again else state

    def _skip(self, row: int, why: str) -> None:
        self._states[row], self._errors[row] = TaskState.SKIPPED, why

    def finalise(self, states: Mapping[int, TaskState]) -> None:
        """Take the scheduler's word for the states of these tasks, by id."""
        for task, state in states.items():
            row = self.find_row(task)
            if row is not None:
                self._states[row] = state

    def find_row(self, task: int) -> int | None:
        """The number of the row of a task, ``None`` if it was never submitted."""
        if not self._ids:
            return None
        # Ids grow, and mostly without gaps.
        row = task - self._ids[0]
        if not (0 <= row < len(self._ids) and self._ids[row] == task):
            row = bisect_left(self._ids, task)
        return row if row < len(self._ids) and self._ids[row] == task else None

    def row(self, row: int) -> TaskRow:
        """What is known of the task in row ``row``."""
        started, elapsed = self._started[row], self._elapsed[row]
        return TaskRow(
            self._ids[row],
            self.name(row),
            TaskState(self._states[row]),
            self._attempts[row],
            self._ranks[row],
            self._hosts[row],
            self._submitted[row],
            started,
            started + elapsed,
            elapsed,
            self._exit_codes[row],
            self._cpu[row],
            self._memory[row],
            self._errors[row],
        )

    def __iter__(self) -> Iterator[TaskRow]:
        return map(self.row, range(len(self)))

    def name(self, row: int) -> str:
        """The name of the task in row ``row``."""
        return self._names[row] or default_name(self._ids[row])

    def payload(self, row: int) -> bytes:
        """The plain arguments of the task in row ``row``, encoded; empty for a pickled call."""
        return self._payloads[row]

    def value(self, row: int) -> tuple[bytes, BlobRef | None]:
        """The result of the task in row ``row``, encoded, and the blob with its large parts."""
        return self._values[row], self._blobs.get(row)

    def counts(self) -> dict[str, int]:
        """Tasks by state, as ``{"succeeded": 3}``; states without tasks are left out."""
        return {
            TaskState(state).name.lower(): count for state, count in sorted(Counter(self._states).items())
        }

    def column(self, name: str) -> list[Any]:
        """The column that :class:`TaskRow` calls ``name``, for all tasks; states as lower-case words."""
        match name:
            case "name":
                return [self.name(row) for row in range(len(self))]
            case "state":
                words = [state.name.lower() for state in TaskState]
                return [words[state] for state in self._states]
            case "ended":
                return [start + took for start, took in zip(self._started, self._elapsed, strict=True)]
            case _:
                return list(self._columns[name])

    # --- what events do

    def _note_worker(self, event: AnyEvent) -> None:
        match event:
            case RunOpened():
                self._host_of.clear()
                for worker in list(self._running):
                    self._abandon(worker)
            case WorkerJoined(worker, _, info):
                self._host_of[worker] = info.host
            case WorkerLeft(worker):
                self._abandon(worker)
            case _:
                pass  # the others move no task, or say nothing that the table shows

    def _add(self, spec: TaskSpec, now: float) -> None:
        if self._ids and spec.id <= self._ids[-1]:
            raise StorageError(
                f"the journal submits task {spec.id} behind task {self._ids[-1]}: ids must grow"
            )
        plain = spec.payload[:1] not in (b"p", b"P")  # see execute/payload.py
        self._ids.append(spec.id)
        self._names.append(spec.name)
        self._payloads.append(spec.payload if plain else b"")
        self._states.append(TaskState.READY)
        self._cancelling.append(0)
        self._attempts.append(0)
        self._ranks.append(-1)
        self._hosts.append("")
        self._submitted.append(now)
        kind = self._kinds.get(spec.kind)
        self._retries.append(kind.retry.max if kind is not None else 0)
        if kind is not None and kind.needs.ranks > 1 and not isinstance(kind.work, CommandLine):
            self._ranks_of[len(self._ids) - 1] = kind.needs.ranks
        if spec.after:
            self._dependent[len(self._ids) - 1] = spec
        self._started.append(math.nan)
        self._elapsed.append(math.nan)
        self._exit_codes.append(-1)
        self._cpu.append(math.nan)
        self._memory.append(-1)
        self._values.append(b"")
        self._errors.append("")

    def _start(self, task: int, attempt: int, worker: int, now: float) -> None:
        row = self.find_row(task)
        if row is None or self._states[row] == TaskState.SUCCEEDED or attempt < self._attempts[row]:
            return
        self._states[row] = TaskState.RUNNING
        self._attempts[row] = attempt
        self._place(row, worker)
        self._started[row], self._elapsed[row] = now, math.nan
        self._running.setdefault(worker, set()).add(row)

    def _finish(self, outcome: Outcome, worker: int) -> None:
        row = self.find_row(outcome.task)
        if row is None:
            self.superseded += 1
            return
        self._running.get(worker, set()).discard(row)
        if row in self._ranks_of and not self._is_last_of_group(row, outcome):
            return
        won = outcome.verdict is Verdict.SUCCEEDED
        if self._states[row] == TaskState.SUCCEEDED or (not won and outcome.attempt < self._attempts[row]):
            self.superseded += 1
            return
        self._states[row] = self._state_after(row, outcome.verdict)
        self._attempts[row] = max(self._attempts[row], outcome.attempt)
        self._place(row, worker)
        self._started[row], self._elapsed[row] = outcome.started, outcome.elapsed_s
        self._exit_codes[row] = -1 if outcome.exit_code is None else outcome.exit_code
        self._cpu[row] = outcome.cpu_s
        self._memory[row] = outcome.peak_memory_bytes or -1
        self._errors[row] = outcome.failure.message if outcome.failure is not None else ""
        if outcome.value or row not in self._ranks_of:
            self._keep_value(row, outcome)

    def _is_last_of_group(self, row: int, outcome: Outcome) -> bool:
        """Whether all ranks of a group have told how it ended, or one of them that it failed.

        Only its first rank has a value; that of an earlier rank to end is kept until all have.
        """
        attempt, told = self._told.get(row, (0, 0))
        told = told + 1 if attempt == outcome.attempt else 1
        self._told[row] = (outcome.attempt, told)
        if outcome.verdict is not Verdict.SUCCEEDED or told >= self._ranks_of[row]:
            return True
        if outcome.value:
            self._keep_value(row, outcome)
        return False

    def _keep_value(self, row: int, outcome: Outcome) -> None:
        self._values[row] = outcome.value
        if outcome.blob is not None:
            self._blobs[row] = outcome.blob

    def _state_after(self, row: int, verdict: Verdict) -> TaskState:
        if verdict is Verdict.SUCCEEDED:
            return TaskState.SUCCEEDED
        if self._cancelling[row]:
            return TaskState.CANCELLED
        # Ended though nobody wanted this task cancelled: the run was stopped, the task is still to be done.
        return TaskState.READY if verdict is Verdict.CANCELLED else TaskState.FAILED

    def _cancel(self, tasks: tuple[int, ...] | None) -> None:
        found = range(len(self)) if tasks is None else map(self.find_row, tasks)
        for row in found:
            if row is None or self._states[row] >= TaskState.SUCCEEDED:
                continue
            self._cancelling[row] = 1
            if self._states[row] != TaskState.RUNNING:
                self._states[row] = TaskState.CANCELLED

    def _abandon(self, worker: int) -> None:
        for row in self._running.pop(worker, ()):
            if self._states[row] == TaskState.RUNNING and self._ranks[row] == worker:
                self._states[row] = TaskState.CANCELLED if self._cancelling[row] else TaskState.READY

    def _place(self, row: int, worker: int) -> None:
        self._ranks[row] = worker
        self._hosts[row] = self._host_of.get(worker, "")


_ENDED = {
    TaskState.FAILED: "not successful",
    TaskState.CANCELLED: "cancelled",
    TaskState.SKIPPED: "skipped",
}
