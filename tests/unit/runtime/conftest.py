"""A real worker in a thread of the test, with the test as its hub."""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_hub import FakeHub

from mpiexec_runner.app.ranks import _outside_environment
from mpiexec_runner.execute.devices import Devices
from mpiexec_runner.execute.share import Share
from mpiexec_runner.model.workers import WorkerInfo
from mpiexec_runner.runtime.claims import Claims
from mpiexec_runner.runtime.worker import Worker
from mpiexec_runner.transport.loopback import loopback


@pytest.fixture
def hub_of(tmp_path: Path) -> Iterator[Callable[..., FakeHub]]:
    """Makes a worker with a share of a host, and gives its hub."""
    made: list[tuple[FakeHub, threading.Thread]] = []

    def make(share: Share | None = None, slots: int = 1, **more: object) -> FakeHub:
        hub_end, worker_end = loopback(2)
        claims = Claims(share or Share((0,), 0, Devices()), 0.02)
        info = WorkerInfo("host", 1, slots)
        worker = Worker(worker_end, info, _outside_environment(), claims, **more)
        thread = threading.Thread(target=worker.serve, daemon=True)
        thread.start()
        made.append((FakeHub(hub_end, [1], str(tmp_path)), thread))
        return made[-1][0]

    yield make
    for hub, thread in made:
        hub.dismiss()
        thread.join(30)
        assert not thread.is_alive(), "the worker did not leave"
