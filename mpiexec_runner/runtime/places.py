"""Which directory is the task's, where two attempts ran beside each other: the hub's part of it.

It knows results and ends of attempts; what is renamed is in ``execute/aside.py``.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from mpiexec_runner.core.state import RunState
from mpiexec_runner.execute import aside
from mpiexec_runner.model.tasks import Outcome, Verdict
from mpiexec_runner.storage.rundir import RunDirectory


class Places:
    """Puts attempts that won in place, once those that lost write no more.

    Parameters
    ----------
    run_dir
        The run directory; empty where tasks have no directories.
    state
        To look names up in; only read.
    note
        Says what could not be done.
    """

    def __init__(self, run_dir: str, state: RunState, note: Callable[[str], None]) -> None:
        self._directory = RunDirectory(Path(run_dir)) if run_dir else None
        self._state, self._note = state, note
        self._ending: set[int] = set()
        self._waiting: dict[int, str] = {}

    def ending(self, attempts: Iterable[tuple[int, int]]) -> None:
        """These (task, attempt) were told to end, and have not done so yet."""
        if self._directory is not None:
            self._ending.update(task for task, _ in attempts)

    def settled(self, outcomes: Iterable[Outcome]) -> None:
        """These count. Has to be said before anybody is sent what uses their files."""
        if self._directory is None:
            return
        for outcome in outcomes:
            if outcome.attempt > 1 and outcome.verdict is Verdict.SUCCEEDED:
                self._win(self._directory, outcome)
        self._ending.clear()  # what is ended and won by nobody

    def ended(self, outcomes: Iterable[Outcome]) -> None:
        """These attempts have ended, whether they count or not."""
        if self._waiting:
            for outcome in outcomes:
                if directory := self._waiting.pop(outcome.task, None):
                    self._put_in_place(directory)

    def begin(self) -> None:
        """Do what an earlier life of the run left undone."""
        if self._directory is None:
            return
        try:
            for directory in list(aside.unfinished(self._directory.tasks)):
                self._put_in_place(directory)
        except OSError as error:
            self._note(f"directories of second attempts cannot be looked for: {error}")

    def close(self) -> None:
        """Nobody writes any more."""
        while self._waiting:
            self._put_in_place(self._waiting.popitem()[1])

    def _win(self, run: RunDirectory, outcome: Outcome) -> None:
        task = self._state.tasks.get(outcome.task)
        directory = str(run.task_dir(outcome.task, "" if task is None else task.spec.name))
        try:
            if not aside.note_winner(directory, outcome.attempt):
                return
        except OSError as error:
            self._cannot(directory, error)
            return
        if outcome.task in self._ending:
            self._waiting[outcome.task] = directory
        else:
            self._put_in_place(directory)

    def _put_in_place(self, directory: str) -> None:
        try:
            aside.put_in_place(directory)
        except OSError as error:
            self._cannot(directory, error)

    def _cannot(self, directory: str, error: OSError) -> None:
        self._note(f"{directory} is not of the attempt that counts, which ran beside it: {error}")
