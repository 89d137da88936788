"""The books of one life of a run: how it stands, and at the end its checkpoint, results and verdict.

It knows what is written and in which order; the files themselves are ``storage/``'s.
"""

from collections.abc import Collection
from pathlib import Path

from mpiexec_runner.core.state import RunState
from mpiexec_runner.errors import ExitCode, StorageError
from mpiexec_runner.model.commands import EndRun, RunEnd
from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.runtime.keeper import DirectoryKeeper
from mpiexec_runner.storage.results import read_results
from mpiexec_runner.storage.results_file import write_results
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.storage.status import RunPhase, RunStatus, find_status, utc_now, write_status

ENDS = {
    RunEnd.COMPLETE: (RunPhase.COMPLETE, ExitCode.DONE),
    RunEnd.INTERRUPTED: (RunPhase.INTERRUPTED, ExitCode.INTERRUPTED),
    RunEnd.STOPPED: (RunPhase.STOPPED, ExitCode.STOPPED),
    RunEnd.STARVED: (RunPhase.STARVED, ExitCode.INTERNAL),
}
_BAD = (TaskState.FAILED, TaskState.CANCELLED)
"""What is skipped follows from these, or from a failure that was provided for and did not happen."""


def count_bad(state: RunState) -> int:
    """How many tasks ended in a way that their run is to be called failed for."""
    return sum(state.counts[one] for one in _BAD)


class Books:
    """What is written beside the journal, for one life.

    Parameters
    ----------
    keeper
        The record of the run; closed with the books.
    epoch, ranks
        Number of this life, and of its ranks.
    life
        The epoch of the first hub of this job, where another one has followed it.
    """

    def __init__(self, keeper: DirectoryKeeper, epoch: int, ranks: int, life: int = 0) -> None:
        self._keeper, self.epoch, self._ranks = keeper, epoch, ranks
        self._directory = RunDirectory(Path(keeper.run_dir))
        before = find_status(self._directory.status) if life else None
        self._started = before.started if before is not None and before.epoch >= life else utc_now()

    def open(self, state: RunState) -> list[str]:
        """Say that the run goes on; notes, when that could not be written."""
        try:
            self._write(RunPhase.RUNNING, state, None)
        except StorageError as error:
            return [f"{error}. The run goes on; until its end {self._directory.status} is not up to date"]
        return []

    def close(
        self, state: RunState, end: EndRun, dropped: Collection[int] = ()
    ) -> tuple[ExitCode, list[str]]:
        """Write checkpoint, results and status, in this order; give the directory back.

        The journal holds all of the run by now: what cannot be written beside it is told, and can be made
        again.

        Parameters
        ----------
        state
            Of the run, at its end.
        end
            How it ended.
        dropped
            Tasks that nobody asks for any more: how they ended does not matter.

        Returns
        -------
        (ExitCode, notes)
            The verdict, and what could not be written, or put into the results.
        """
        status, code = ENDS[end.end]
        bad = count_bad(state)
        bad -= sum(state.tasks[id_].state in _BAD for id_ in dropped if id_ in state.tasks)
        if end.end is RunEnd.COMPLETE and bad:
            status, code = RunPhase.FAILED, ExitCode.SOME_FAILED
        notes, why = [], end.why
        try:
            self._keeper.checkpoint(state)
        except StorageError as error:
            notes.append(f"{error}. The journal is whole, so this costs a resume some time and nothing else")
        try:
            notes += self._write_results(state)
        except StorageError as error:
            code = ExitCode.INTERNAL
            why = (
                f"{error}. All results are on record: with that remedied, mpiexec-runner resume "
                f"{self._directory.path} writes {self._directory.results.name} and runs nothing again"
            )
            notes.append(why)
        try:
            self._write(status, state, code, why)
        except StorageError as error:
            code = ExitCode.INTERNAL
            notes.append(f"{error}. All results are on record, and that the run has ended is not: resume it")
        try:
            self._keeper.close()
        except StorageError as error:
            notes.append(f"the run directory could not be given back: {error}")
        return code, notes

    def _write_results(self, state: RunState) -> list[str]:
        table = read_results(self._directory)
        table.finalise({id_: task.state for id_, task in state.tasks.items()})
        self._keeper.confirm()  # reading takes its time
        return write_results(table, self._directory.results, self._keeper.blobs)

    def note_broken(self, state: RunState, error: BaseException) -> None:
        """Write how this life ended; where that fails too, ``error`` stays the one that is told."""
        try:
            self._write(RunPhase.BROKEN, state, ExitCode.INTERNAL, str(error))
        except Exception as second:  # noqa: BLE001 - raised as part of the first
            error.add_note(f"nor could {self._directory.status} be written: {second}")

    def _write(self, status: RunPhase, state: RunState, code: ExitCode | None, why: str = "") -> None:
        counts = {one.name.lower(): n for one, n in zip(TaskState, state.counts, strict=True) if n}
        record = RunStatus(
            state=status,
            epoch=self.epoch,
            ranks=self._ranks,
            exit_code=None if code is None else int(code),
            counts=counts,
            started=self._started,
            ended="" if code is None else utc_now(),
            why=why,
        )
        self._keeper.confirm()
        write_status(self._directory.status, record)
