"""The promise: kill -9 rank 0, or stop it, and the run goes on under another; and once more, and again."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from job import Job
from started import Started

from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.app.world import launched_ranks
from mpiexec_runner.storage.owner import find_owner
from mpiexec_runner.transport.mpi_library import find_library

pytestmark = [
    pytest.mark.launches,
    pytest.mark.skipif(launched_ranks(os.environ) is not None, reason="a rank cannot launch ranks"),
    pytest.mark.timeout(300),
]

MODULE = """
import os, time

def _mark(i):
    with open(f"marks/{i}", "a") as file:
        file.write(os.environ.get("OMPI_COMM_WORLD_RANK", "?") + "\\n")

def _await_go():
    deadline = time.monotonic() + 100
    while not os.path.exists("go") and time.monotonic() < deadline:
        time.sleep(0.01)

def held(i):
    _mark(i)
    _await_go()
    return i * i

def brief(i):
    _mark(i)
    time.sleep(0.001 * (i % 4))
    return i * i
"""
SCRIPT = """
cd "$HOME_OF_TEST"
echo run >> marks/$1
while [ ! -e go ]; do sleep 0.02; done
"""
COMMAND = 'command: sh "$HOME_OF_TEST/held.sh" {i}'


@pytest.fixture(autouse=True)
def needs_ulfm() -> None:
    if not find_launcher(find_library(), "auto", os.environ).ulfm:
        pytest.skip(f"{find_library().label} has no ULFM: the death of a rank ends the job")


class HeldJob(Job):
    """A run of tasks that wait until they may end."""

    def __init__(self, place: Path, runner: Callable[..., Started]) -> None:
        super().__init__(place, runner)
        (place / "held_tasks.py").write_text(MODULE)
        (place / "held.sh").write_text(SCRIPT)

    def sweep(self, ranks: int, tasks: int, what: str = "call: held_tasks:held", more: str = "") -> None:
        """Start a sweep of so many tasks."""
        self.start(
            f"name: held\nsweep:\n  {what}\n  parameters: {{i: {{range: [0, {tasks}]}}}}\n{more}\n", ranks
        )

    def until_epoch(self, epoch: int) -> None:
        """Wait for a hub."""
        began = time.monotonic()
        self.until(lambda: self.epoch() >= epoch)
        print(f"epoch {epoch} began after {time.monotonic() - began:.2f} s")


@pytest.fixture
def job(tmp_path: Path, runner) -> HeldJob:
    return HeldJob(tmp_path, runner)


@pytest.mark.parametrize("what", ["call: held_tasks:held", COMMAND], ids=["call", "command"])
def test_what_runs_when_the_hub_dies_goes_on_and_is_not_run_again(job: HeldJob, what: str) -> None:
    job.sweep(4, 12, what)
    job.until(lambda: len(job.marks()) == 3)
    job.kill(0)
    job.until_epoch(2)
    job.go()
    job.ends_well(12)
    assert {len(ran) for ran in job.marks().values()} == {1}, job.marks()
    assert job.hubs() == [2]


def test_three_hubs_die_one_after_the_other_and_no_result_is_lost(job: HeldJob) -> None:
    tasks = 3000
    job.sweep(5, tasks, "call: held_tasks:brief")
    for epoch in (1, 2, 3):
        job.until_epoch(epoch)
        seen = len(job.marks())
        job.until(lambda: len(job.marks()) > seen + 20)  # noqa: B023 - used in this round only
        job.kill(epoch - 1)
    job.ends_well(tasks)
    assert job.table()["result"] == [i * i for i in range(tasks)]
    assert job.hubs()[-1] == 4


@pytest.mark.parametrize(("ranks", "dead"), [(6, (0, 1, 2)), (4, (0, 1, 2)), (4, (0, 2, 3)), (2, (0,))])
def test_many_die_at_once(job: HeldJob, ranks: int, dead: tuple[int, ...]) -> None:
    job.sweep(ranks, 10)
    job.until(lambda: len(job.marks()) == ranks - 1)
    at_work = {name for name, ran in job.marks().items() if int(ran[0]) not in dead}
    job.kill(*dead)
    job.until_epoch(2)
    job.go()
    job.ends_well(10)
    assert {len(job.marks()[name]) for name in at_work} == {1}, "what a survivor ran was run again"


def test_a_hub_that_was_only_stopped_is_fenced_when_it_wakes(job: HeldJob) -> None:
    job.sweep(4, 12, more="heartbeat: {interval_s: 0.2, timeout_s: 1.5}")
    job.until(lambda: len(job.marks()) == 3)
    old = job.process(0)
    old.suspend()
    try:
        job.until_epoch(2)
    finally:
        old.resume()
    job.until(lambda: "fenced:" in job.started.output)
    job.until(lambda: not old.is_running() or old.status() == psutil.STATUS_ZOMBIE)
    job.go()
    job.ends_well(12)
    assert {len(ran) for ran in job.marks().values()} == {1}
    assert job.hubs() == [2]


def test_a_rank_that_should_follow_and_hangs_is_passed_and_obeys_when_it_wakes(job: HeldJob) -> None:
    job.sweep(4, 9)
    job.until(lambda: len(job.marks()) == 3)
    hung = job.process(1)
    hung.suspend()
    try:
        job.kill(0)
        job.until_epoch(2)
    finally:
        hung.resume()
    owner = find_owner(job.directory.path)
    assert owner is not None
    assert owner.rank == 2
    job.go()
    job.ends_well(9)
    assert {len(ran) for ran in job.marks().values()} == {1}


def test_the_hub_dies_at_the_very_beginning(job: HeldJob) -> None:
    job.sweep(3, 6)
    job.until(lambda: (job.directory.path / "owner").exists())
    job.kill(0)
    job.go()
    job.ends_well(6)


def test_the_hub_dies_when_all_is_done(job: HeldJob) -> None:
    job.go()
    job.sweep(3, 6)
    job.until(lambda: any(job.directory.checkpoints.glob("checkpoint-*")))
    try:
        job.kill(0)
    except AssertionError:
        print("it had ended already")
    job.ends_well(6)


def test_ctrl_c_stops_a_run_under_its_second_hub_and_it_can_be_resumed(job: HeldJob) -> None:
    job.sweep(3, 6)
    job.until(lambda: len(job.marks()) == 2)
    job.kill(0)
    job.until_epoch(2)
    job.started.process.send_signal(signal.SIGINT)
    job.until(lambda: "finishing what runs" in job.started.output)
    job.go()
    assert job.started.wait() == 4, job.started.output
    assert json.loads(job.directory.status.read_text())["epoch"] == 2
    job.resume(3)
    job.ends_well(6)
    assert {len(ran) for ran in job.marks().values()} == {1}


def test_a_python_program_cannot_be_followed_and_its_workers_end(job: HeldJob, environ) -> None:
    (job.place / "program.py").write_text(
        "from mpiexec_runner import ParallelExecutor\n"
        "from held_tasks import held\n"
        "with ParallelExecutor() as pool:\n"
        "    print(list(pool.map(held, range(4))))\n"
    )
    launcher = find_launcher(find_library(), "mpiexec", os.environ)
    options = ["--oversubscribe", "--with-ft", "ulfm", "-n", "3"]
    argv = [str(launcher.path), *options, sys.executable, "program.py"]
    job.started = Started(argv, job.place, environ | {"PYTHONPATH": f"{environ['PYTHONPATH']}:{job.place}"})
    job.until(lambda: len(job.marks()) == 2)
    hub = next(p for p in job.started.family() if _is_rank(p, 0))
    hub.kill()
    job.started.wait()
    assert "the hub, rank 0, is gone" in job.started.output
    assert "ends with it: run that again" in job.started.output


def _is_rank(process: psutil.Process, rank: int) -> bool:
    try:
        return process.environ().get("OMPI_COMM_WORLD_RANK") == str(rank)
    except psutil.Error:
        return False
