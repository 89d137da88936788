"""Progress on rank 0: a live line where there is a terminal, plain lines where there is none.

It listens to a run and prints; it changes nothing.
"""

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

from mpiexec_runner.app.wording import counted
from mpiexec_runner.core.state import RunState
from mpiexec_runner.model.commands import RunEnd
from mpiexec_runner.model.events import DrainRequested, StopReason
from mpiexec_runner.model.tasks import Outcome, TaskState, Verdict
from mpiexec_runner.model.workers import WorkerState
from mpiexec_runner.storage.rundir import default_name

PLAIN_EVERY_S = 5.0
SHOWN_FAILURES = 10
"""The first failures are shown as they come; all are in the results."""


class Reporter:
    """Tells of a run as it goes on. See :class:`~mpiexec_runner.core.listener.Listener`."""

    def __init__(self, console: Console, run_dir: Path) -> None:
        self._console, self._run_dir = console, run_dir
        self._pace = _Pace()
        self._next_line = time.monotonic() + PLAIN_EVERY_S
        self._failures = 0
        self._state: RunState | None = None
        self._begun = False
        self._stop: DrainRequested | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        console.print(f"run directory: {run_dir}", markup=False)
        if console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rest]}"),
                console=console,
                refresh_per_second=4,
            )
            self._task = self._bar.add_task("run", total=None, rest="starting")
            self._bar.start()

    def settled(self, outcomes: list[Outcome]) -> None:
        """See the class."""
        for outcome in outcomes:
            if outcome.verdict is Verdict.FAILED:
                self._say_failure(outcome)

    def settled_without(self, task: int, state: TaskState, why: str) -> None:
        """See the class."""
        if state is TaskState.FAILED:
            self._console.print(f"task {self._name(task)} failed: {why}", markup=False)

    def worker_noted(self, worker: int, what: str) -> None:
        """See the class; that workers join is no news."""
        if not what.startswith("joined"):
            self._console.print(f"rank {worker}: {what}", markup=False)

    def noted(self, what: str) -> None:
        """See the class."""
        self._console.print(f"note: {what}", markup=False)

    def progressed(self, state: RunState) -> None:
        """See the class."""
        self._state = state
        done, total = _done(state), sum(state.counts)
        if not self._begun and (total or state.closed):
            self._begun = True
            self._console.print(_plan(state), markup=False)
        self._say_stop(state)
        self._pace.note(done)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total or None, rest=self._rest(state))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + PLAIN_EVERY_S
            self._console.print(f"{done}/{total} done, {self._rest(state)}", markup=False)

    def ended(self, end: RunEnd, why: str) -> None:
        """See the class."""
        if self._bar is not None:
            self._bar.stop()
        counts = self._state.counts if self._state is not None else [0] * len(TaskState)
        told = [f"{counts[state]} {state.name.lower()}" for state in TaskState if counts[state]]
        took = f"{', '.join(told) or 'no tasks'}; {self._pace.elapsed_s:.1f} s"
        if self._state is not None and self._state.drain is not None and why.startswith("stopped by"):
            why = _stopped(self._state, self._state.drain.reason)
        self._console.print(f"{end}{': ' + why if why else ''} ({took})", markup=False)
        if end is not RunEnd.COMPLETE:
            self._console.print(f"go on with: mpiexec-runner resume {self._run_dir}", markup=False)
        self._console.print(f"results: mpiexec-runner results {self._run_dir}", markup=False)

    def _say_stop(self, state: RunState) -> None:
        if state.drain is None or state.drain == self._stop:
            return
        self._stop = state.drain
        if state.drain.abandon:
            self._console.print("ending what runs")
        else:
            again = "control stop" if state.drain.reason is StopReason.REQUEST else "once more"
            self._console.print(f"finishing what runs; {again} to end that too")

    def _name(self, id_: int) -> str:
        task = self._state.tasks.get(id_) if self._state is not None else None
        return (task.spec.name if task is not None else "") or default_name(id_)

    def _rest(self, state: RunState) -> str:
        alive = sum(worker.state is WorkerState.ALIVE for worker in state.workers.values())
        parts = [f"{self._pace.per_s:.3g}/s", f"eta {_clock(self._pace.left_s(state.unfinished))}"]
        parts.append(f"{state.counts[TaskState.FAILED]} failed")
        parts.append(f"{alive}/{len(state.workers)} workers")
        return ", ".join(parts)

    def _say_failure(self, outcome: Outcome) -> None:
        self._failures += 1
        if self._failures <= SHOWN_FAILURES:
            message = outcome.failure.message if outcome.failure else "no reason given"
            self._console.print(f"task {self._name(outcome.task)} failed: {message}", markup=False)
        elif self._failures == SHOWN_FAILURES + 1:
            self._console.print("further failures are not shown here; see the results", markup=False)


class _Pace:
    """How fast tasks are done, over about the last minute."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._marks: list[tuple[float, int]] = []

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    @property
    def per_s(self) -> float:
        if len(self._marks) < 2:
            return 0.0
        (begin, before), (end, after) = self._marks[0], self._marks[-1]
        return (after - before) / (end - begin) if end > begin else 0.0

    def note(self, done: int) -> None:
        now = time.monotonic()
        self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[0][0] > 60.0:
            self._marks.pop(0)

    def left_s(self, unfinished: int) -> float | None:
        return unfinished / self.per_s if self.per_s > 0 else None


def _done(state: RunState) -> int:
    return sum(state.counts[s] for s in TaskState if s.terminal)


def _plan(state: RunState) -> str:
    """How much is done at the start, and how much is left to do."""
    done, total = _done(state), sum(state.counts)
    if not done:
        return f"{counted(total, 'task')} to run" if total else "no tasks to run"
    bad = done - state.counts[TaskState.SUCCEEDED]
    without = f" ({bad} without success)" if bad else ""
    if not state.unfinished:
        all_are = "the one task is" if total == 1 else f"all {total} tasks are"
        return f"{all_are} done{without}; nothing to run"
    return f"{done} of {total} tasks are done{without}; {state.unfinished} to run"


def _stopped(state: RunState, reason: StopReason) -> str:
    """The core's word for a stop, as its readers would say it."""
    left = state.unfinished
    are_left = f"{counted(left, 'task')} {'is' if left == 1 else 'are'} left"
    return f"stopped by {reason.words}; {are_left}"


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{left:02d}"
