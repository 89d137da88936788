"""The watch sees what it is there to see: here it is shown what must not be."""

from types import SimpleNamespace

import pytest
from sim_env import kind
from sim_watch import Watch

from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.settings import HeartbeatSettings, LimitSettings, SchedulerSettings
from mpiexec_runner.core.state import Worker
from mpiexec_runner.model.commands import SettleTasks, SettleWithout
from mpiexec_runner.model.tasks import Needs, Outcome, TaskSpec, TaskState, Verdict, When
from mpiexec_runner.model.workers import WorkerState
from mpiexec_runner.policies.placement import LeastLoaded
from mpiexec_runner.policies.retry import ExponentialBackoff
from mpiexec_runner.sim.settings import ClusterShape

KINDS = (
    kind(1, needs=Needs(cpus=2, memory_bytes=100), labels=("licence",)),
    kind(2, needs=Needs(gpus=1)),
    kind(3, needs=Needs(tags=("ssd",))),
    kind(4, speculate=False),
    kind(5),
)


class Scene:
    """Two workers on one host that the hub counts on, and a watch."""

    def __init__(self, **limits):
        shape = ClusterShape(workers=2, slots=3, cores=4, memory_bytes=200, gpus=1)
        self.workers = shape.make()
        core = TaskScheduler(SchedulerSettings(), HeartbeatSettings(), LeastLoaded(), ExponentialBackoff())
        for worker in self.workers:
            worker.incarnation = 1
            known = Worker(worker.id, worker.info, state=WorkerState.ALIVE, tasks={})
            known.set_free()
            core.state.workers[worker.id] = known
        self.core = core
        self.watch = Watch(KINDS, LimitSettings(**limits))
        self.say()

    def say(self, *commands):
        self.watch.after_batch(self.core, [], commands, 0.0)

    def begin(self, task, kind, *, worker=1, attempt=1, **spec):
        self.watch.begun(self.workers[worker - 1], TaskSpec(task, kind, b"", **spec), attempt, 0.0)

    def settle(self, task, verdict=Verdict.SUCCEEDED):
        self.say(SettleTasks([Outcome(task, 1, verdict, 0.0, 0.0)]))


def test_a_task_ends_once():
    scene = Scene()
    scene.settle(1)
    with pytest.raises(AssertionError, match="task 1 ended SUCCEEDED, and then CANCELLED"):
        scene.say(SettleWithout(1, TaskState.CANCELLED, ""))


@pytest.mark.parametrize(
    ("kinds", "broken"),
    [
        ((5, 5, 5, 5), "3 slots, runs 4"),
        ((1, 1, 1), "more cores"),
        ((2, 2), "more devices"),
        ((3,), "without its tags"),
    ],
)
def test_tasks_fit_their_worker(kinds, broken):
    scene = Scene()
    for task, of in enumerate(kinds[:-1], 1):
        scene.begin(task, of)
    with pytest.raises(AssertionError, match=broken):
        scene.begin(99, kinds[-1])


@pytest.mark.parametrize(
    ("limits", "broken"),
    [
        ({"concurrent": 1}, "2 tasks run at once, the limit is 1"),
        ({"per_host": 1}, "2 tasks run on node0001"),
        ({"per_label": {"licence": 1}}, "2 tasks run with label licence"),
    ],
)
def test_limits_hold(limits, broken):
    scene = Scene(**limits)
    scene.begin(1, 1)
    with pytest.raises(AssertionError, match=broken):
        scene.begin(2, 1, worker=2)


def test_members_of_a_group_are_one_task():
    scene = Scene(concurrent=1, per_host=1)
    scene.begin(1, 5, worker=1)
    scene.begin(1, 5, worker=2)


def test_what_the_hub_has_given_up_does_not_count():
    scene = Scene(concurrent=1)
    scene.begin(1, 5, worker=1)
    scene.core.state.workers[1].state = WorkerState.LOST
    scene.begin(1, 5, worker=2, attempt=2)
    scene.settle(1)
    scene.begin(2, 5, worker=2)


SUCCEEDED, FAILED, CANCELLED = Verdict


@pytest.mark.parametrize(
    ("when", "ends", "good"),
    [
        (When.SUCCESS, (SUCCEEDED, SUCCEEDED), True),
        (When.SUCCESS, (SUCCEEDED, FAILED), False),
        (When.SUCCESS, (SUCCEEDED,), False),
        (When.ANY, (FAILED, CANCELLED), True),
        (When.ANY, (FAILED,), False),
        (When.FAILURE, (SUCCEEDED, FAILED), True),
        (When.FAILURE, (SUCCEEDED, SUCCEEDED), False),
    ],
)
def test_tasks_wait_for_those_that_they_depend_on(when, ends, good):
    scene = Scene()
    for task, verdict in enumerate(ends, 1):
        scene.settle(task, verdict)
    if good:
        scene.begin(3, 5, after=(1, 2), when=when)
        return
    with pytest.raises(AssertionError, match="task 3 began"):
        scene.begin(3, 5, after=(1, 2), when=when)


@pytest.mark.parametrize(("of", "most"), [(4, 1), (5, 2)])
def test_no_task_has_more_attempts_than_it_may(of, most):
    scene = Scene()
    for attempt in range(1, most + 1):
        scene.begin(1, of, attempt=attempt)
    with pytest.raises(AssertionError, match=f"{most + 1} attempts at once"):
        scene.begin(1, of, worker=2, attempt=most + 1)


def test_all_tasks_are_accounted_for():
    scene = Scene()
    scene.settle(1)
    counts = {"succeeded": 1, "failed": 0, "cancelled": 0, "skipped": 0}
    report = SimpleNamespace(**counts, end="complete", bound_s=1.0, oracle_s=1.0)
    scene.watch.check_end(report, [1])
    with pytest.raises(AssertionError, match="every task ends"):
        scene.watch.check_end(report, [1, 2])
