"""Virtual workers do what real ones do, as far as a hub can tell. Here the test is the hub."""

import pytest
from sim_env import jobs, kind

from mpiexec_runner.model.commands import CancelAttempts, RetractTasks, RunGroup, RunTasks, WelcomeWorker
from mpiexec_runner.model.events import (
    TasksFinished,
    TasksReturned,
    TasksStarted,
    WorkerBeat,
    WorkerJoined,
    WorkerLeft,
)
from mpiexec_runner.model.tasks import FailureClass, TaskSpec, Verdict
from mpiexec_runner.sim.cluster import VirtualCluster
from mpiexec_runner.sim.faults import Fault, FaultPlan, Misfortune
from mpiexec_runner.sim.settings import ClusterSettings, ClusterShape, Slow
from mpiexec_runner.sim.work import VirtualWork

SUCCEEDED, FAILED, CANCELLED = Verdict
BARE = ClusterSettings(latency_s=0.0, overhead_s=0.0, beat_s=5.0)


class Stage:
    """A cluster, and all that it has said to the hub: (time, event), heartbeats left out."""

    def __init__(self, work, workers=1, *, slots=1, plan=None, slow=(), settings=BARE):
        shape = ClusterShape(workers=workers, slots=slots, slow=slow)
        self.work, self.now, self.said, self.beats = work, 0.0, [], []
        self.cluster = VirtualCluster(shape.make(), work, plan or FaultPlan(), settings)
        self.cluster.start(0.0)
        self.until(settings.latency_s)
        assert [type(event) for _, event in self.said] == [WorkerJoined] * workers
        self.send(*(WelcomeWorker(worker, 1) for worker in range(1, workers + 1)))
        self.said.clear()

    def send(self, *commands):
        self.cluster.calendar.send(list(commands), self.now)
        self.until(self.now)

    def run(self, worker, *tasks, urgent=False, attempt=1):
        specs = [self.work.tasks[task - 1] for task in tasks]
        self.send(RunTasks(worker, specs, [attempt] * len(specs), urgent))

    def until(self, when):
        while (turn := self.cluster.calendar.advance(self.cluster, 0.0, when)) <= when:
            self.now = turn
            events = self.cluster.calendar.arrived(turn)
            for event in events:
                (self.beats if isinstance(event, WorkerBeat) else self.said).append((turn, event))
            if not events:
                break
        self.now = when

    def outcomes(self):
        """(time, worker, task, verdict) of what ended."""
        return [
            (pytest.approx(now), event.worker, outcome.task, outcome.verdict)
            for now, event in self.said
            if isinstance(event, TasksFinished)
            for outcome in event.outcomes
        ]

    def told(self, type_):
        return [(pytest.approx(now), event) for now, event in self.said if isinstance(event, type_)]


def test_tasks_run_one_after_the_other_in_each_slot():
    stage = Stage(jobs([2.0, 3.0, 1.0]), slots=2)
    stage.run(1, 1, 2, 3)
    stage.until(10)
    assert stage.outcomes() == [(2, 1, 1, SUCCEEDED), (3, 1, 2, SUCCEEDED), (3, 1, 3, SUCCEEDED)]


def test_only_what_lasts_is_told_to_have_begun():
    stage = Stage(jobs([0.015, 0.03]))
    stage.run(1, 1, 2)
    stage.until(1)
    assert stage.told(TasksStarted) == [(0.035, TasksStarted(1, [(2, 1)]))]


def test_short_tasks_are_reported_together():
    stage = Stage(jobs([1e-4] * 15))
    stage.run(1, *range(1, 16))
    stage.until(1)
    assert [len(event.outcomes) for _, event in stage.told(TasksFinished)] == [10, 5]


def test_urgent_tasks_pass_those_in_line():
    stage = Stage(jobs([1.0] * 5))
    stage.run(1, 1, 2, 3)
    stage.run(1, 4, 5, urgent=True)
    stage.until(10)
    assert [task for _, _, task, _ in stage.outcomes()] == [1, 4, 5, 2, 3]


def test_only_what_has_not_begun_is_given_back():
    stage = Stage(jobs([1.0] * 3))
    stage.run(1, 1, 2, 3)
    stage.send(RetractTasks(1, [(1, 1), (3, 1), (3, 2), (9, 1)]))
    stage.until(5)
    assert stage.told(TasksReturned) == [(0, TasksReturned(1, [(3, 1)]))]
    assert [task for _, _, task, _ in stage.outcomes()] == [1, 2]


@pytest.mark.parametrize(("overdue", "verdict"), [(False, CANCELLED), (True, FAILED)])
def test_attempts_are_ended_begun_or_not(overdue, verdict):
    stage = Stage(jobs([5.0] * 3))
    stage.run(1, 1, 2, 3)
    stage.until(1)
    stage.send(CancelAttempts(1, [(2, 1), (1, 1)], overdue))
    stage.until(10)
    assert stage.outcomes() == [(1, 1, 2, verdict), (1, 1, 1, verdict), (6, 1, 3, SUCCEEDED)]
    failures = {outcome.failure for outcome in stage.told(TasksFinished)[0][1].outcomes}
    assert {failure and failure.kind for failure in failures} == {FailureClass.TIMEOUT if overdue else None}


def test_a_new_welcome_voids_what_is_held():
    stage = Stage(jobs([5.0] * 2))
    stage.run(1, 1, 2)
    stage.until(1)
    stage.send(WelcomeWorker(1, 2))
    stage.until(4)
    assert stage.outcomes() == [(1, 1, 1, CANCELLED)]
    assert stage.beats[-1] == (1, WorkerBeat(1, 2))


def test_a_time_limit_ends_an_attempt():
    stage = Stage(jobs([5.0], timeout_s=2.0))
    stage.run(1, 1)
    stage.until(10)
    assert stage.outcomes() == [(2, 1, 1, FAILED)]


def test_workers_beat_unless_they_have_said_something():
    settings = ClusterSettings(latency_s=0.0, overhead_s=0.0, beat_s=5.0, silence_s=5.0)
    stage = Stage(jobs([6.0]), 2, settings=settings)
    stage.run(1, 1)
    stage.until(16)
    assert [(now, event.worker) for now, event in stage.beats if now] == [(5, 2), (10, 2), (15, 1), (15, 2)]


def test_messages_take_their_time():
    stage = Stage(jobs([1.0]), settings=ClusterSettings(latency_s=0.25, overhead_s=0.5))
    stage.until(3)
    stage.said.clear()
    stage.run(1, 1)
    stage.until(6)
    assert stage.outcomes() == [(5.0, 1, 1, SUCCEEDED)]


# --- misfortune


def struck(what, at_s=1.0, **how):
    return FaultPlan((Fault(at_s, 1, what, **how),))


@pytest.mark.parametrize(("what", "told"), [(Misfortune.KILL, 1), (Misfortune.VANISH, 0)])
def test_the_dead_do_nothing_more(what, told):
    stage = Stage(jobs([2.0] * 2), plan=struck(what))
    stage.run(1, 1, 2)
    stage.until(20)
    assert stage.outcomes() == []
    assert len(stage.told(WorkerLeft)) == told
    assert not [now for now, _ in stage.beats if now > 1]


def test_a_worker_that_hung_goes_on_where_it_was():
    stage = Stage(jobs([2.0] * 3), plan=struck(Misfortune.HANG, lasts_s=10.0))
    stage.run(1, 1)
    stage.until(5)
    stage.run(1, 2, 3)
    stage.send(RetractTasks(1, [(2, 1)]))
    stage.until(30)
    assert stage.told(TasksReturned) == [(11, TasksReturned(1, [(2, 1)]))]
    assert stage.outcomes() == [(12, 1, 1, SUCCEEDED), (14, 1, 3, SUCCEEDED)]
    assert not [now for now, _ in stage.beats if 1 < now < 11]


def test_a_worker_is_slow_for_a_while():
    stage = Stage(jobs([2.0] * 3), plan=struck(Misfortune.SLOW, lasts_s=4.0, factor=4.0))
    stage.run(1, 1, 2)
    stage.until(30)
    assert stage.outcomes() == [(5, 1, 1, SUCCEEDED), (7, 1, 2, SUCCEEDED)]


def test_slow_workers_take_longer_always():
    stage = Stage(jobs([2.0] * 2), 2, slow=(Slow(1, 2, 3.0),))
    stage.run(1, 1)
    stage.run(2, 2)
    stage.until(30)
    assert stage.outcomes() == [(2, 1, 1, SUCCEEDED), (6, 2, 2, SUCCEEDED)]


def test_poison_kills_whoever_runs_it():
    stage = Stage(jobs([2.0] * 2), 2, plan=FaultPlan(poison=frozenset([1])))
    stage.run(1, 1)
    stage.run(2, 2)
    stage.until(3)
    stage.run(2, 1, attempt=2)
    stage.until(30)
    assert stage.outcomes() == [(2, 2, 2, SUCCEEDED)]
    assert [event.worker for _, event in stage.told(WorkerLeft)] == [1, 2]


# --- groups


def group(*workers, task=1, attempt=1):
    return RunGroup(workers, TaskSpec(task, 1, b""), attempt)


def team(lasts_s):
    return VirtualWork((kind(),), [TaskSpec(id_, 1, b"") for id_ in range(1, len(lasts_s) + 1)], lasts_s)


def test_a_group_begins_when_all_are_free_and_goes_at_the_pace_of_the_slowest():
    stage = Stage(team([2.0, 1.0]), 4, slow=(Slow(1, 4, 3.0),))
    stage.run(2, 2)
    stage.send(group(1, 2, 4))
    stage.until(30)
    ends = [(7, worker, 1, SUCCEEDED) for worker in (1, 4, 2)]
    assert sorted(stage.outcomes()[1:], key=lambda end: end[1]) == sorted(ends, key=lambda end: end[1])
    assert stage.cluster.attempts == 2
    assert {event.worker for _, event in stage.told(TasksStarted)} >= {1, 4}


def test_a_group_that_loses_a_member_waits_until_it_is_cancelled():
    stage = Stage(team([5.0]), 3, plan=struck(Misfortune.KILL))
    stage.send(group(1, 2, 3))
    stage.until(20)
    assert stage.outcomes() == []
    stage.send(CancelAttempts(2, [(1, 1)]), CancelAttempts(3, [(1, 1)]))
    assert stage.outcomes() == [(20, 2, 1, CANCELLED), (20, 3, 1, CANCELLED)]
    stage.send(group(2, 3, attempt=2))
    stage.until(30)
    assert stage.outcomes()[2:] == [(25, 2, 1, SUCCEEDED), (25, 3, 1, SUCCEEDED)]


def test_a_group_waits_for_a_member_that_hangs():
    stage = Stage(team([5.0]), 2, plan=struck(Misfortune.HANG, lasts_s=10.0))
    stage.send(group(1, 2))
    stage.until(30)
    assert stage.outcomes() == [(15, 1, 1, SUCCEEDED), (15, 2, 1, SUCCEEDED)]


def test_a_member_that_hangs_when_it_is_called_comes_later():
    stage = Stage(team([5.0]), 2, plan=struck(Misfortune.HANG, lasts_s=10.0))
    stage.until(2)
    stage.send(group(1, 2))
    stage.until(30)
    assert stage.outcomes() == [(16, 2, 1, SUCCEEDED), (16, 1, 1, SUCCEEDED)]
