"""The storm: every second or two a rank is killed, whichever it is, and no result is lost or counted twice.

``make storm STORM_S=600`` has a longer one, and ``STORM_SEED`` the same one again, as far as its dice go.
"""

import os
import random
import time
from pathlib import Path

import pytest
from harmless import value_of
from job import Job

from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.app.world import launched_ranks
from mpiexec_runner.transport.mpi_library import find_library

STORM_S = float(os.environ.get("STORM_S") or 25)
pytestmark = [
    pytest.mark.launches,
    pytest.mark.skipif(launched_ranks(os.environ) is not None, reason="a rank cannot launch ranks"),
    pytest.mark.timeout(600 + 5 * STORM_S),
]

RANKS = 4
LEFT_ALONE = 2
"""So many are left when one is killed: without any the run would be over."""
CONFIG = f"""
name: storm
run: {{python_path: ['{Path(__file__).parent}']}}
scheduler: {{crash_limit: 1000, speculation: false}}
workers: {{replace: true, max_replacements: 1000}}
workflow:
  hold: {{call: "harmless:hold", with: {{i: 1}}}}
  last: {{call: "harmless:last", for_each: {{i: {{range: [2, 201]}}}}}}
"""


def test_every_result_is_there_once_after_a_storm(tmp_path, runner) -> None:
    library = find_library()
    if not find_launcher(library, "auto", os.environ).ulfm:
        pytest.skip(f"{library.label} has no ULFM: the death of a rank ends the job")
    seed = int(os.environ.get("STORM_SEED") or random.randrange(2**32))
    print(f"STORM_SEED={seed}")
    dice = random.Random(seed)
    job = Job(tmp_path, runner)
    job.start(CONFIG, RANKS)
    job.until(lambda: len(job.marks()) >= RANKS)
    over = time.monotonic() + STORM_S
    killed = 0
    while (now := time.monotonic()) < over:
        strike = now + dice.uniform(1, 2)
        job.until(lambda: time.monotonic() >= strike and len(job.members()) > LEFT_ALONE)  # noqa: B023
        job.look()
        members = job.members()
        members[dice.choice(sorted(members))].kill()
        killed += 1
    job.go()
    table = job.ends_well(200)
    assert table["result"] == list(map(value_of, range(1, 201)))
    print(f"{killed} ranks were killed, {len(job.hubs())} of them led")
