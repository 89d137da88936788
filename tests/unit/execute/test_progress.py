"""Processes that work, wait, are stopped or gone, as the operating system shows them."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpiexec_runner.execute.progress import Progress, Watcher, read_watcher

GIVE_UP_S = 60.0
LOOK_EVERY_S = 0.3

Start = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process with this program, which says a line when it has begun."""
    made: list[subprocess.Popen[bytes]] = []

    def make(program: str) -> subprocess.Popen[bytes]:
        program = f"print('begun', flush=True)\n{program}"
        made.append(subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE))
        assert made[-1].stdout is not None
        assert made[-1].stdout.readline() == b"begun\n"
        return made[-1]

    yield make
    for one in made:
        one.kill()
        one.wait()
        if one.stdout is not None:
            one.stdout.close()


def looks(progress: Progress, pid: int, count: int) -> Iterator[bool]:
    """Look some times, with a pause before each."""
    for _ in range(count):
        time.sleep(LOOK_EVERY_S)  # what is looked at is what happens in this time
        yield progress.works(pid, time.monotonic())


def test_one_that_works_works_also_with_the_lock_in_its_hands(start: Start) -> None:
    pid = start("sum(range(10**12))").pid
    progress = Progress()
    assert not progress.works(pid, time.monotonic()), "nothing is known at the first look"
    assert any(looks(progress, pid, 20))


def test_one_that_sleeps_with_the_lock_in_its_hands_does_not(start: Start) -> None:
    """Its other threads wake all the time to ask for the lock: that is no work."""
    program = """
import ctypes, threading, time
def other():
    while True: time.sleep(0.001)
threading.Thread(target=other, daemon=True).start()
threading.Thread(target=other, daemon=True).start()
ctypes.PyDLL(None).sleep(600)
"""
    pid = start(program).pid
    progress = Progress()
    list(looks(progress, pid, 3))  # it may still be on its way there
    assert not any(looks(progress, pid, 5))


def test_one_that_is_stopped_does_not(start: Start) -> None:
    process = start("sum(range(10**12))")
    progress = Progress()
    process.send_signal(signal.SIGSTOP)
    assert not any(looks(progress, process.pid, 4))


def test_one_that_is_gone_does_not(start: Start) -> None:
    process = start("")
    progress = Progress()
    progress.works(process.pid, time.monotonic())
    process.wait()
    assert not progress.works(process.pid, time.monotonic())
    assert not progress.works(2**22 + 1, time.monotonic())


def test_a_watcher_tells_who_works_and_ends_with_its_parent(start: Start, tmp_path: Path) -> None:
    working, idle = start("sum(range(10**12))"), start("import time; time.sleep(600)")
    path = tmp_path / "hosts" / "node1"
    watcher = Watcher(path, {3: working.pid, 4: idle.pid}, LOOK_EVERY_S)
    give_up_at, numbers = time.monotonic() + GIVE_UP_S, set()
    try:
        while len(numbers) < 3:
            number, ranks = read_watcher(path)
            assert 4 not in ranks
            if 3 in ranks:
                numbers.add(number)
            assert time.monotonic() < give_up_at
            time.sleep(0.01)
    finally:
        watcher.stop()


def test_a_watcher_ends_when_its_parent_is_gone(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "hosts" / "node1"
    program = f"""
from pathlib import Path
from mpiexec_runner.execute.progress import Watcher
watcher = Watcher(Path({str(path)!r}), {{}}, 0.1)
print(watcher._process.pid, flush=True)
import time; time.sleep(600)
"""
    parent = start(program)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    give_up_at = time.monotonic() + GIVE_UP_S
    while Path(f"/proc/{pid}").exists():
        if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


@pytest.mark.parametrize("text", ["", "1/2", "1/2 3", "1/2 3 4"], ids=["nothing", "cut", "cut off", "no end"])
def test_half_of_what_a_watcher_wrote_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "node").write_text(text)
    assert read_watcher(tmp_path / "node") == ("", frozenset())
    (tmp_path / "node").write_text("1/2 3 4 .")
    assert read_watcher(tmp_path / "node") == ("1/2", frozenset({3, 4}))
    assert read_watcher(tmp_path / "none")[0] == ""
