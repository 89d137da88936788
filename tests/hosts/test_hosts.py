"""Runs over several hosts of which one is lost: powered off, or behind a cut cable."""

import json
import sys
import time
from pathlib import Path

import psutil
import pytest
from fake_hosts import FakeHosts, why_not
from started import Started

from mpiexec_runner.storage.results import columns, read_results
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.transport.mpi_library import find_library

pytestmark = [
    pytest.mark.launches,
    pytest.mark.skipif(not find_library().ulfm, reason="needs Open MPI with ULFM"),
    pytest.mark.skipif(bool(why_not()), reason=f"no fake hosts here: {why_not()}"),
]

ENDS_WITHIN_S = 60.0
# Open MPI puts the first rank on the host where it is started, if that is in the file at all.
SLOTS = {"h1": {"h1": 2, "h2": 2, "h3": 2}, "h2": {"h2": 2, "h3": 4}}
"""By the host of the hub, how many ranks are on which."""
CONFIG = """
name: hosts
sweep:
  call: hosts_tasks:where
  parameters: {i: {range: [0, 60]}}
heartbeat: {interval_s: 1, timeout_s: 12}
"""
MODULE = """
import os, socket, time
from pathlib import Path
def where(i):
    Path(f"begun-{socket.gethostname()}-{os.getpid()}").touch()
    while not Path("go").exists():
        time.sleep(0.02)
    return i
"""


@pytest.fixture
def hosts(tmp_path):
    hosts = FakeHosts(3, tmp_path / "hosts")
    try:
        hosts.up()
        yield hosts
    finally:
        hosts.down()


@pytest.fixture
def job(hosts, tmp_path, environ, hub):
    """A run of six ranks, started on h1. The first rank, on the host ``hub``, leads; all others work."""
    (tmp_path / "c.yaml").write_text(CONFIG)
    (tmp_path / "hosts_tasks.py").write_text(MODULE)
    (tmp_path / "hostfile").write_text(
        "".join(f"{name} slots={ranks}\n" for name, ranks in SLOTS[hub].items())
    )
    environ |= {
        "PRTE_MCA_plm_ssh_agent": str(hosts.agent),
        "PRTE_MCA_prte_default_hostfile": str(tmp_path / "hostfile"),
    }
    program = [sys.executable, "-m", "mpiexec_runner", "run", "c.yaml", "-n", "6", "--run-dir", "run"]
    started = Started(hosts.on("h1", *program), tmp_path, environ)
    yield started
    if started.process.poll() is None:
        started.kill()


def begun(directory: Path) -> list[str]:
    """The hosts of all workers that have begun a task."""
    return sorted(path.name.split("-")[1] for path in directory.glob("begun-*"))


def is_rank(pid: int) -> bool:
    try:
        return psutil.Process(pid).cmdline()[3:4] == ["rank"]
    except psutil.Error:
        return False


def is_noticed(job: Started, lost: str, hub: str) -> bool:
    return "leads the run" in job.output if lost == hub else job.output.count("lost: ") >= 2


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("lost", "how", "hub"),
    [
        ("h3", "powered off", "h1"),
        ("h3", "cut off", "h1"),
        ("h3", "its ranks killed", "h1"),
        ("h2", "powered off", "h2"),
        ("h2", "cut off", "h2"),
    ],
)
def test_the_others_go_on_when_a_host_is_lost(hosts, job, tmp_path, lost, how, hub):
    workers = [name for name, ranks in SLOTS[hub].items() for _ in range(ranks)]
    workers.remove(hub)
    job.until(lambda: begun(tmp_path) == workers)
    match how:
        case "powered off":
            hosts.power_off(lost)
        case "cut off":
            hosts.cut(lost)
        case _:
            for pid in filter(is_rank, hosts.pids(lost)):
                psutil.Process(pid).kill()
    job.until(lambda: is_noticed(job, lost, hub))
    (tmp_path / "go").touch()
    began = time.monotonic()
    assert job.wait() == 0, job.output
    assert time.monotonic() - began < ENDS_WITHIN_S
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["counts"] == {"succeeded": 60}
    table = columns(read_results(RunDirectory(tmp_path / "run")))
    assert sorted(table["result"]) == list(range(60))
    if how == "cut off":
        give_up = time.monotonic() + ENDS_WITHIN_S
        while any(map(is_rank, hosts.pids(lost))):
            assert time.monotonic() < give_up, "a rank on the host that was cut off works on for nobody"
            time.sleep(0.1)
    for name in hosts.names:
        if name == lost:
            continue
        left = [psutil.Process(pid).cmdline() for pid in hosts.pids(name)]
        assert not left, f"still there on {name}"
        assert hosts.shared_memory(name) == []
