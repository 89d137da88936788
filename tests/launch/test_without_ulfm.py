"""Where the MPI ends the job when a rank dies: at once, with a message, and nothing finished is lost."""

import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from started import Started

from mpiexec_runner.app.launch import LOOK_EVERY_S
from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.model.events import TasksFinished, WorkerJoined
from mpiexec_runner.storage.journal_reader import read_journal
from mpiexec_runner.storage.results import columns, read_results
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.transport.mpi_library import Vendor, find_library

pytestmark = pytest.mark.launches

ENDS_WITHIN_S = 15.0
CONFIG = """
name: fragile
tasks:
  - {{id: done, command: "echo x >> {here}/done"}}
  - id: long
    command: "sh -c 'echo $$ > {here}/below; while ! test -e {here}/go; do sleep 0.1; done' & wait $!"
  - id: other
    command: "echo $$ > {here}/other; while ! test -e {here}/go; do sleep 0.1; done"
"""


class Job:
    """A run on three ranks, started so that it does not survive a death."""

    def __init__(self, here: Path, environ: dict[str, str]) -> None:
        (here / "c.yaml").write_text(CONFIG.format(here=here))
        self.here, self.run_dir = here, here / "run"
        library = find_library()
        launcher = find_launcher(library, "auto", environ)
        program = [sys.executable, "-m", "mpiexec_runner", "run", "c.yaml", "--run-dir", "run"]
        if launcher.ulfm:  # it would be used: started by hand, it is not asked for
            options = ["--oversubscribe", "--bind-to", "none"]
            program = [str(launcher.path), *options, "-n", "3", *program]
        else:
            program += ["-n", "3"]
        self.by_hand = launcher.ulfm
        self.vendor = library.vendor
        self.started = Started(program, here, environ)

    def pid(self, name: str) -> int:
        """The process that wrote its number into a file."""
        text = (self.here / name).read_text() if (self.here / name).exists() else ""
        return int(text) if text.endswith("\n") else 0

    def is_under_way(self) -> bool:
        return bool(self.pid("below") and self.pid("other") and self.has_finished_one())

    def has_finished_one(self) -> bool:
        return any(
            isinstance(event, TasksFinished)
            for record in read_journal(self.run_dir / "journal")
            for event in record.events
        )

    def workers(self) -> dict[int, int]:
        """Process ids by rank."""
        return {
            event.worker: event.info.pid
            for record in read_journal(self.run_dir / "journal")
            for event in record.events
            if isinstance(event, WorkerJoined)
        }


@pytest.fixture
def job(tmp_path, environ):
    job = Job(tmp_path, environ)
    yield job
    if job.started.process.poll() is None:
        job.started.kill()


@pytest.mark.parametrize("who", [0, 2])
def test_a_death_ends_the_job_and_nothing_finished_is_lost(job, runner, who):
    job.started.until(lambda: (job.run_dir / "journal").exists() and job.is_under_way())
    seen = time.monotonic() + 3 * LOOK_EVERY_S  # by then, the launching process has had a look at the ranks
    job.started.until(lambda: time.monotonic() > seen)
    family, segments = job.started.family(), job.started.segments()
    workers = job.workers()
    if who:
        victim = workers[who]
    else:
        parent = psutil.Process(workers[1]).ppid()
        (victim,) = {child.pid for child in psutil.Process(parent).children()} - {*workers.values()}
    psutil.Process(victim).kill()
    began = time.monotonic()
    assert job.started.wait() != 0
    assert time.monotonic() - began < ENDS_WITHIN_S
    output = job.started.output
    if job.vendor is Vendor.OPEN_MPI:
        assert re.search(rf"rank {who} with PID .* on node \S+ exited on\s+signal 9", output), output
    else:
        assert re.search(rf"error: rank {who} on host \S+ was ended by SIGKILL", output)
        assert "mpiexec-runner resume" in output
    _, left = psutil.wait_procs(family, timeout=ENDS_WITHIN_S)
    assert not left, f"still there: {left}"
    if not job.by_hand:
        assert not [segment for segment in segments if segment.exists()]
    for name in ("below", "other"):
        assert not psutil.pid_exists(job.pid(name)), f"the command {name} has outlived its rank"

    (job.here / "go").touch()
    again = runner("resume", "run", "-n", 2)
    assert again.wait() == 0, again.output
    table = columns(read_results(RunDirectory(job.run_dir)))
    assert set(table["state"]) == {"succeeded"}
    assert (job.here / "done").read_text() == "x\n", "what had finished was run again"


def test_replacement_is_refused_with_a_warning(tmp_path, environ):
    library = find_library()
    launcher = find_launcher(library, "auto", environ)
    config = "name: r\nworkers: {replace: true}\ntasks:\n  - {id: a, command: 'true'}\n"
    (tmp_path / "c.yaml").write_text(config)
    program = [sys.executable, "-m", "mpiexec_runner", "run", "c.yaml"]
    options = ["--oversubscribe"] if library.vendor is Vendor.OPEN_MPI else []
    program = [str(launcher.path), *options, "-n", "2", *program]
    ended = subprocess.run(
        program, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=90, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "workers.replace: a rank that dies will not be replaced" in ended.stderr + ended.stdout
