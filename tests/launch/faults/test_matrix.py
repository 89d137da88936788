"""The matrix: what strikes, and when. On real ranks, under the MPI that is installed.

Under an MPI with ULFM, or where nobody dies, the run goes on. Under any other the job ends within seconds,
and a resume does the rest. Always: each result is there once and is right, what was on record is not run
again, and nothing is left behind.
"""

import os
import re
import time
from collections.abc import Callable, Collection
from typing import NamedTuple

import pytest
from job import Job
from moments import MOMENTS, Struck

from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.app.world import launched_ranks
from mpiexec_runner.model.events import WorkerLeft
from mpiexec_runner.transport.mpi_library import find_library

pytestmark = [
    pytest.mark.launches,
    pytest.mark.skipif(launched_ranks(os.environ) is not None, reason="a rank cannot launch ranks"),
    pytest.mark.timeout(300),
]

ENDS_WITHIN_S = 15.0
HASTE = "heartbeat: {interval_s: 0.3, timeout_s: 2}\n"
"""Where somebody hangs: so that it is found out soon."""


class Fault(NamedTuple):
    """Who is hurt, and whether it is the end of them."""

    victims: Callable[[Struck], tuple[int, ...]]
    kills: bool


FAULTS = {
    "worker killed": Fault(lambda struck: (struck.victim,), kills=True),
    "worker stopped": Fault(lambda struck: (struck.victim,), kills=False),
    "rank 0 killed": Fault(lambda struck: (0,), kills=True),
    "rank 0 stopped": Fault(lambda struck: (0,), kills=False),
    "rank 0 and worker killed": Fault(lambda struck: (0, struck.victim), kills=True),
}


@pytest.fixture
def job(tmp_path, runner) -> Job:
    return Job(tmp_path, runner)


@pytest.mark.parametrize("when", MOMENTS)
@pytest.mark.parametrize("what", FAULTS)
def test_the_run_survives_or_can_be_resumed(job: Job, what: str, when: str) -> None:
    fault, moment = FAULTS[what], MOMENTS[when]
    deadly = fault.kills and not find_launcher(find_library(), "auto", os.environ).ulfm
    job.start(moment.config + ("" if fault.kills else HASTE), moment.ranks)
    struck = moment.reach(job)
    job.look()
    on_record, ranks = job.succeeded(), job.ranks()
    victims = fault.victims(struck)
    for victim in victims:
        ranks[victim].kill() if fault.kills else ranks[victim].suspend()
    for process in struck.held:
        if process not in [ranks[victim] for victim in victims]:
            process.resume()

    if deadly:
        _ends_at_once(job, victims)
        job.left_nothing()
        job.go()
        job.resume(moment.ranks - 1)
    elif when != "shutdown":
        job.until(lambda: _is_noticed(job, victims) and moment.ready(job, victims))
        job.go()
    table = job.ends_well(len(struck.expected))
    assert table.get("result", table.get("result_")) == struck.expected
    marks = job.marks()
    assert {len(marks[str(task)]) for task in on_record} <= {1 + (when == "group running")}, marks


def _is_noticed(job: Job, victims: Collection[int]) -> bool:
    """Whether the run has drawn the consequences."""
    if 0 in victims:
        return job.epoch() >= 2
    return "lost: silent" in job.output or any(
        isinstance(event, WorkerLeft) and event.worker in victims for event in job.events()
    )


def _ends_at_once(job: Job, victims: Collection[int]) -> None:
    """It names who died and where and how, and what to do about it."""
    began = time.monotonic()
    assert job.started.wait() == 5, job.output
    assert time.monotonic() - began < ENDS_WITHIN_S
    found = re.search(r"error: rank (\d+) on host \S+ was ended by SIGKILL", job.output)
    assert found, job.output
    assert int(found[1]) in victims
    assert "mpiexec-runner resume" in job.output
