"""A run that a test started, under any MPI: its ranks, how it stands, and what it left when it was over."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from started import LOOK_EVERY_S, Started

from mpiexec_runner.model.events import AnyEvent, HubReplaced, TasksFinished, WorkerJoined
from mpiexec_runner.model.tasks import Verdict
from mpiexec_runner.storage.blobs import DirectoryBlobs
from mpiexec_runner.storage.journal_reader import read_journal
from mpiexec_runner.storage.owner import find_owner
from mpiexec_runner.storage.results import columns, read_results
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.storage.status import RunPhase, find_status

LEAVES_WITHIN_S = 30.0
_RANK = ("OMPI_COMM_WORLD_RANK", "PMI_RANK")


class Job:
    """A run in a directory of its own, ``run``, below the test's.

    Tasks leave marks, in the folder ``marks``: a file for each, with a line for each time that it began,
    which is the rank on which it did.
    """

    def __init__(self, place: Path, runner: Callable[..., Started]) -> None:
        self.place, self._runner = place, runner
        self.directory = RunDirectory(place / "run")
        (place / "marks").mkdir()
        self._family: set[psutil.Process] = set()
        self._segments: set[Path] = set()

    def start(self, config: str, ranks: int) -> None:
        """Start a run of this configuration."""
        (self.place / "c.yaml").write_text(config)
        self._start("run", "c.yaml", "--run-dir", self.directory.path, "-n", ranks)

    def resume(self, ranks: int) -> None:
        """Go on with it after its end."""
        self._start("resume", self.directory.path, "-n", ranks)

    def _start(self, *arguments: object) -> None:
        self.started = self._runner(*arguments, HOME_OF_TEST=str(self.place))

    def until(self, what: Callable[[], object]) -> None:
        """Poll a condition, which has to come true before the job ends."""
        assert self.started.until(lambda: bool(what())), self.output

    @property
    def output(self) -> str:
        """What it has said so far."""
        return self.started.output

    def look(self) -> None:
        """Remember what there is of it now, and should be gone when it is over."""
        self._family.update(self.started.family())
        self._segments |= self.started.segments()

    def go(self) -> None:
        """Let tasks end that wait for it."""
        (self.place / "go").touch()

    # --- ranks

    def ranks(self) -> dict[int, psutil.Process]:
        """The processes of its first ranks, by number."""
        found = {}
        for process in self.started.family():
            with contextlib.suppress(psutil.Error):
                environ, words = process.environ(), process.cmdline()
                rank = next((environ[name] for name in _RANK if name in environ), "")
                if rank and words[1:4] == ["-m", "mpiexec_runner", "rank"]:
                    found[int(rank)] = process
        return found

    def members(self) -> dict[int, psutil.Process]:
        """All that work or lead now, newcomers too, by process id; who is on the way is not among them."""
        joined = {event.info.pid for event in self.events() if isinstance(event, WorkerJoined)}
        owner = find_owner(self.directory.path)
        joined |= {owner.pid} if owner is not None else set()
        return {process.pid: process for process in self.started.family() if process.pid in joined}

    def process(self, rank: int) -> psutil.Process:
        """One of them."""
        found = self.ranks().get(rank)
        assert found is not None, f"there is no rank {rank}:\n{self.output}"
        return found

    def kill(self, *ranks: int) -> None:
        """SIGKILL, to all of them at once."""
        self.look()
        known = self.ranks()
        for process in [known[rank] for rank in ranks]:
            process.kill()

    # --- how it stands

    def marks(self) -> dict[str, list[str]]:
        """The ranks on which each task began."""
        return {path.name: path.read_text().split() for path in (self.place / "marks").iterdir()}

    def events(self) -> list[AnyEvent]:
        """All that is on record by now."""
        if not self.directory.journal.is_dir():
            return []
        return [event for record in read_journal(self.directory.journal) for event in record.events]

    def succeeded(self) -> set[int]:
        """The tasks of which it is on record that they did, by number from 1."""
        return {
            outcome.task
            for event in self.events()
            if isinstance(event, TasksFinished)
            for outcome in event.outcomes
            if outcome.verdict is Verdict.SUCCEEDED
        }

    def epoch(self) -> int:
        """Of the hub that leads now and has said so."""
        status, owner = find_status(self.directory.status), find_owner(self.directory.path)
        if status is None or owner is None or status.state is not RunPhase.RUNNING:
            return 0
        return status.epoch if status.epoch == owner.epoch else 0

    def hubs(self) -> list[int]:
        """The epochs of hubs that followed another, as the journal has them."""
        return [event.epoch for event in self.events() if isinstance(event, HubReplaced)]

    # --- its end

    def table(self) -> dict[str, list[Any]]:
        """Its results, by its record, with large ones."""
        return columns(read_results(self.directory), DirectoryBlobs(self.directory.blobs))

    def ends_well(self, tasks: int) -> dict[str, list[Any]]:
        """All tasks succeeded, each counted once, by the run's own word; the table."""
        assert self.started.wait() == 0, self.output
        status = json.loads(self.directory.status.read_text())
        assert (status["state"], status["counts"]) == ("complete", {"succeeded": tasks}), self.output
        table = self.table()
        assert table["id"] == list(range(1, tasks + 1))
        assert set(table["state"]) == {"succeeded"}
        assert f"complete ({tasks} succeeded" in self.output
        self.left_nothing()
        return table

    def left_nothing(self) -> None:
        """Nothing is left of what was seen of it: no process, and nothing in the memory of this host."""
        give_up = time.monotonic() + LEAVES_WITHIN_S
        while left := [process for process in self._family if _is_there(process)]:
            assert time.monotonic() < give_up, f"still there: {left}"
            time.sleep(LOOK_EVERY_S)
        assert not [segment for segment in self._segments if segment.exists()]


def _is_there(process: psutil.Process) -> bool:
    """Whether it is more than an entry that nobody has asked for."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
