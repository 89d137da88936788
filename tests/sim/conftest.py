"""Seeded virtual clusters: how to write a test with them.

``simulate(work, ...)`` runs the real scheduler on a virtual cluster and returns a ``Report``. It is a fixture
here, and a function in ``sim_env.py``::

    def test_nothing_is_lost_with_a_worker(simulate):
        work = jobs([1.0] * 40, retries=2)                    # from sim_env; or make a VirtualWork yourself
        report = simulate(work, workers=4, faults="kill=1,fail=0.1", seed=7)
        assert report.succeeded == 40

``web`` makes tasks that depend on one another. All that ``simulate`` takes (see ``sim_env.watched``):
``workers``, ``faults`` (text as for the command, or a FaultPlan), ``seed``, ``slots``, ``hosts``, ``slow``
("1/8:10"), or a whole ``shape``; ``scheduler`` and
``heartbeat`` settings, ``limits`` (what the watch holds the run to), ``requests`` (events that people send,
with the second in which they do), ``patience_turns``, ``make`` (another way to make the scheduler), and
``end`` (how the run has to end: "complete").

Each run is watched (``sim_watch.py``): after every batch the invariants of the core hold; every task ends
exactly once; none begins before those that it depends on ended as it wants; slots, resources of workers and
limits are never exceeded; and the run ends. What the workers really did is in ``watched(...).trace``.

A run that fails says its seed and everything else it was made from, so that it can be made again.
"""

import pytest
import sim_env


@pytest.fixture(scope="session")
def simulate():
    """``sim_env.simulate``."""
    return sim_env.simulate
