"""The onlooker: whose processes it looks at, and when what it saw is news."""

import os
from pathlib import Path

from mpiexec_runner.core.tasks import Worker
from mpiexec_runner.execute.machine import host_name
from mpiexec_runner.model.events import WorkersSeenWorking
from mpiexec_runner.model.workers import WorkerInfo
from mpiexec_runner.runtime.onlooker import Onlooker, watcher_path


def worker(id_: int, host: str, pid: int = 1) -> Worker:
    return Worker(id_, WorkerInfo(host, pid))


def left_by_watcher(run_dir: Path, host: str, text: str) -> None:
    path = watcher_path(str(run_dir), host)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_what_a_watcher_left_before_is_no_news(tmp_path: Path) -> None:
    onlooker, silent = Onlooker(str(tmp_path), 1.0), [worker(3, "far"), worker(4, "far"), worker(5, "away")]
    left_by_watcher(tmp_path, "far", "7/1 3 .")
    assert onlooker.look(silent, 10.0) is None
    assert onlooker.look(silent, 11.0) is None
    left_by_watcher(tmp_path, "far", "7/2 2 3 .")
    assert onlooker.look(silent, 12.0) == WorkersSeenWorking((3,))
    assert onlooker.look(silent, 13.0) is None


def test_it_looks_no_more_often_than_it_is_to(tmp_path: Path) -> None:
    onlooker, silent = Onlooker(str(tmp_path), 5.0), [worker(3, "far")]
    left_by_watcher(tmp_path, "far", "7/1 3 .")
    onlooker.look(silent, 10.0)
    left_by_watcher(tmp_path, "far", "7/2 3 .")
    assert onlooker.look(silent, 14.0) is None
    assert onlooker.look(silent, 15.0) == WorkersSeenWorking((3,))


def test_on_its_own_host_it_looks_itself() -> None:
    onlooker, mine = Onlooker("", 1.0), [worker(3, host_name(), os.getpid()), worker(4, "far")]
    assert onlooker.look(mine, 10.0) is None, "nothing is known at the first look"
    sum(range(10**7))
    seen = onlooker.look(mine, 11.0)  # as if that had taken a second
    assert seen in (None, WorkersSeenWorking((3,)))
