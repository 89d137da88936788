"""``workers: {replace: true}``: a rank that is killed is replaced by a new one."""

import json
import signal
import time
from pathlib import Path

import psutil
import pytest

from mpiexec_runner.storage.owner import find_owner
from mpiexec_runner.storage.results import columns, read_results
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.storage.status import find_status
from mpiexec_runner.transport.mpi_library import find_library

pytestmark = [
    pytest.mark.launches,
    pytest.mark.skipif(not find_library().ulfm, reason="replacement needs Open MPI with ULFM"),
]

CONFIG = """
name: replaced
sweep:
  call: replaced_tasks:where
  parameters: {i: {range: [0, 60]}}
scheduler: {crash_limit: 9}
workers: {replace: true, tags: {third: {ranks: [2]}}}
"""
MODULE = """
import os, sys, time
from pathlib import Path
def where(i):
    # What was interrupted by a death is done in a child process the next time.
    rank = os.getpid() if "mpi4py.MPI" in sys.modules else os.getppid()
    Path(f"begun-{rank}").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return f"{i} {rank} {os.getcwd()}"
"""


GROUPS = """
name: groups
workflow:
  alone: {call: "replaced_tasks:where", with: {i: 0}}
  together:
    {call: "replaced_tasks:together", for_each: {i: [1, 2, 3]}, resources: {ranks: 3}, depends_on: [alone]}
  pairs:
    {call: "replaced_tasks:together", for_each: {i: [1, 2]}, resources: {ranks: 2}, depends_on: [together]}
workers: {replace: true}
"""
TOGETHER = """
def together(comm, i):
    pids = comm.allgather(os.getpid())
    assert comm.allreduce(comm.rank) == sum(range(comm.size))
    return " ".join(map(str, pids))
"""


def is_member(process: psutil.Process) -> bool:
    """Whether it is a rank of the job, of the first hour or a newcomer."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return words[1:3] == ["-m", "mpiexec_runner"] and words[3] in ("rank", "newcomer")


def begun(directory: Path) -> set[int]:
    """The workers that have begun a task."""
    return {int(path.name.removeprefix("begun-")) for path in directory.glob("begun-*")}


def test_a_worker_that_is_killed_is_replaced_again_and_again(runner, tmp_path):
    (tmp_path / "c.yaml").write_text(CONFIG)
    (tmp_path / "replaced_tasks.py").write_text(MODULE)
    job = runner("run", "c.yaml", "-n", 3, "--run-dir", "run")
    job.until(lambda: len(begun(tmp_path)) == 2)
    killed = set()
    for round_ in range(3):
        victim = max(begun(tmp_path) - killed)  # the newest, and so a newcomer in the later rounds
        killed.add(victim)
        psutil.Process(victim).send_signal(signal.SIGKILL)
        job.until(lambda: len(begun(tmp_path)) == 3 + round_)  # noqa: B023 - used in this round only
    segments = job.segments()
    (tmp_path / "go").touch()
    assert job.wait() == 0, job.output
    assert segments
    assert not [segment for segment in segments if segment.exists()]
    table = columns(read_results(RunDirectory(tmp_path / "run")))
    values = [value.split() for value in table["result"]]
    assert [int(value[0]) for value in values] == list(range(60))
    workers = {int(value[1]) for value in values}
    assert workers == begun(tmp_path) - killed
    assert len(workers) == 2
    assert {value[2] for value in values} == {str(tmp_path)}
    assert "is replaced by rank 3" in job.output
    assert not [pid for pid in begun(tmp_path) if psutil.pid_exists(pid)]


@pytest.mark.parametrize("hub_dies", [False, True])
def test_newcomers_work_in_groups_with_the_others(runner, tmp_path, hub_dies):
    (tmp_path / "c.yaml").write_text(GROUPS)
    (tmp_path / "replaced_tasks.py").write_text(MODULE + TOGETHER)
    job = runner("run", "c.yaml", "-n", 4, "--run-dir", "run")
    job.until(lambda: len(begun(tmp_path)) == 1)
    (victim,) = begun(tmp_path)
    psutil.Process(victim).kill()
    job.until(lambda: len(begun(tmp_path)) == 2)
    job.until(lambda: len(members(job)) == 4)
    if hub_dies:
        members(job)[0].kill()
        assert job.until(lambda: len(members(job)) == 4 and max(members(job)) > 4), job.output
    (tmp_path / "go").touch()
    assert job.wait() == 0, job.output
    table = columns(read_results(RunDirectory(tmp_path / "run")))
    values = [value.split() for value in table["result"][1:]]
    assert [len(set(value)) for value in values] == [3, 3, 3, 2, 2], "all of them, each once"
    assert str(victim) not in {pid for value in values for pid in value}


def test_when_all_workers_die_at_once_the_run_goes_on_with_new_ones(runner, tmp_path):
    (tmp_path / "c.yaml").write_text(CONFIG)
    (tmp_path / "replaced_tasks.py").write_text(MODULE)
    job = runner("run", "c.yaml", "-n", 3, "--run-dir", "run")
    job.until(lambda: len(begun(tmp_path)) == 2)
    for victim in begun(tmp_path):
        psutil.Process(victim).kill()
    job.until(lambda: len(begun(tmp_path)) == 4)
    (tmp_path / "go").touch()
    assert job.wait() == 0, job.output
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["counts"] == {"succeeded": 60}


def test_the_run_ends_in_order_while_a_newcomer_is_on_its_way(runner, tmp_path):
    (tmp_path / "c.yaml").write_text(CONFIG.replace("[0, 60]", "[0, 2]"))
    (tmp_path / "replaced_tasks.py").write_text(MODULE)
    job = runner("run", "c.yaml", "-n", 3, "--run-dir", "run")
    job.until(lambda: len(begun(tmp_path)) == 2)
    members = [member for member in job.family() if is_member(member)]
    psutil.Process(max(begun(tmp_path))).kill()
    (tmp_path / "go").touch()
    assert job.wait() == 0, job.output
    psutil.wait_procs(members, timeout=30)
    left = [process for process in psutil.process_iter() if is_member(process)]
    assert not [process for process in left if str(tmp_path) in " ".join(process.cmdline())]


def rank_of(process: psutil.Process) -> int:
    """The number of a rank of the job, of the first hour or a newcomer."""
    words = process.cmdline()
    if words[3] == "newcomer":
        return json.loads(words[4])["rank"]
    return int(process.environ()["OMPI_COMM_WORLD_RANK"])


def members(job) -> dict[int, psutil.Process]:
    """The ranks that are there."""
    found = {}
    for process in job.family():
        try:
            if is_member(process) and process.status() != psutil.STATUS_ZOMBIE:
                found[rank_of(process)] = process
        except psutil.Error:
            continue
    return found


def test_newcomers_outlive_the_hub_and_lead_when_they_are_what_is_left(runner, tmp_path):
    (tmp_path / "c.yaml").write_text(CONFIG.replace("crash_limit: 9", "crash_limit: 99"))
    (tmp_path / "replaced_tasks.py").write_text(MODULE)
    directory = RunDirectory(tmp_path / "run")
    job = runner("run", "c.yaml", "-n", 3, "--run-dir", "run")
    job.until(lambda: len(begun(tmp_path)) == 2)
    hubs = []
    for round_ in range(4):
        hub = find_owner(directory.path).rank
        hubs.append(hub)
        before = begun(tmp_path)
        members(job)[hub].kill()
        # A new one works in the place of the hub, or of the rank that leads now.
        assert job.until(lambda: len(begun(tmp_path) - before) == 1), job.output  # noqa: B023
        began = time.monotonic()
        job.until(lambda: hub_of(directory) not in {None, *hubs})
        print(f"round {round_}: hub {hub} is dead, {hub_of(directory)} leads", time.monotonic() - began)
        assert job.until(lambda: len(members(job)) == 3), job.output
    segments = job.segments()
    (tmp_path / "go").touch()
    assert job.wait() == 0, job.output
    assert hubs[:3] == [0, 1, 2]
    assert max(hubs) > 2, "no newcomer has ever led"
    assert not [segment for segment in segments if segment.exists()]
    table = columns(read_results(directory))
    assert [int(value.split()[0]) for value in table["result"]] == list(range(60))


def hub_of(directory: RunDirectory) -> int | None:
    """The rank that leads, once it has said so."""
    status, owner = find_status(directory.status), find_owner(directory.path)
    ready = status is not None and owner is not None and status.epoch == owner.epoch
    return owner.rank if ready else None
