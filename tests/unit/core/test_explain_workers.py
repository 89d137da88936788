"""Why a task that is ready goes to no worker: the rule of the scheduler that says no, in words."""

from core_env import began, died, failed, finished, info, kind, ok, returned, submitted
from msgspec.structs import replace
from test_explain import Story

from mpiexec_runner.core.settings import LimitSettings
from mpiexec_runner.model.events import MoveRequested, Tick, WorkerBeat, WorkerSwitched
from mpiexec_runner.model.tasks import Needs
from mpiexec_runner.model.workers import Load, WorkerInfo

PAIR = Needs(ranks=2)


def test_other_tasks_leave_too_little_of_what_it_claims():
    told = Story(kind(1, needs=Needs(cpus=3)), kind(2, needs=Needs(cpus=2)))
    told.arrive(1, replace(info(slots=4), cores=4))
    told.on(submitted(1), submitted(2, kind=2))
    assert told.tell(2) == [
        "t2 is ready",
        "rank 1: its tasks leave too little free: 2 cpus (it has 1)",
    ]


def test_the_free_are_kept_for_a_group_that_comes_first():
    told = Story(kind(1, expected_s=50.0), kind(2, needs=PAIR))
    told.join(1, 2)
    told.on(submitted(1))
    told.on(submitted(2, kind=2))
    assert told.tell(2) == [
        "t2 is ready",
        "it is a group of 2, and 1 of 2 that can take part are free now",
        "rank 1, 2 are kept for it, expected to be free in 50.0 s",
    ]
    told.on(submitted(3))  # it ends when the group begins
    told.on(submitted(4, kind=2))
    assert told.tell(3)[0] == "t3 is assigned"
    assert told.tell(4) == [
        "t4 is ready",
        "it is a group of 2, and 0 of 2 that can take part are free now",
        "rank 1, 2: it has work, and a group wants it idle",
        "it is queued with priority 5 behind 1 that came before it",
    ]


def test_a_task_of_unknown_length_does_not_go_where_a_group_is_to_begin():
    told = Story(kind(1, expected_s=60.0), kind(2, needs=PAIR), kind(3))
    told.join(1, 2)
    told.on(submitted(1))
    told.on(submitted(2, kind=2))
    told.on(submitted(3, kind=3))
    kept = "rank 2: kept for the group t2, which is to begin in 50.0 s: only what ends before that goes there"
    assert told.tell(3, after_s=10.0) == [
        "t3 is ready",
        "rank 1: every slot has a task",
        kept,
        "it is queued with priority 5 behind 1 that came before it",
    ]


def test_a_group_is_one_task_however_many_hold_it():
    told = Story(kind(1), kind(2, needs=PAIR))
    told.join(1, 2, 3)
    told.on(submitted(1, kind=2))
    told.on(submitted(2, 3))
    assert told.tell(1) == ["t1 is assigned", "it was sent to ranks 1, 2 as a group (attempt 1)"]
    assert told.tell(3) == ["t3 is ready", "rank 1, 2: in the group t1", "rank 3: every slot has a task"]


def test_all_have_work_counts_the_task_of_a_group_once():
    told = Story(kind(1), kind(2, needs=PAIR), limits=LimitSettings(concurrent=1))
    told.join(1, 2)
    told.on(submitted(1, kind=2))
    told.on(submitted(2))
    assert told.tell(2) == [
        "t2 is ready",
        "limits.concurrent: 1 tasks are held",
        "rank 1, 2: in the group t1",
    ]


def test_a_host_that_is_excluded_and_then_probed():
    told = Story(exclude_after=2, probe_after_s=60.0)
    told.arrive(1, WorkerInfo("a", 1, slots=2))
    told.arrive(2, WorkerInfo("b", 2))
    told.on(submitted(*range(1, 9)))
    for worker, outcome in ((1, failed(1)), (2, ok(3)), (2, ok(5)), (1, failed(2))):
        told.on(finished(worker, outcome))
    told.on(returned(1, (4, 1)))
    assert told.tell(7, after_s=20.0)[1:] == [
        "rank 1: excluded: 2 tasks in a row failed on a; one task probes it in 40.0 s",
        "rank 2: every slot has a task",
        "it is queued with priority 5 behind 1 that came before it",
    ]
    told.on(Tick(), after_s=60.0)
    assert told.tell(7)[1:] == [
        "rank 1: a, where tasks kept failing, is probed with t4 alone",
        "rank 2: every slot has a task",
    ]


def test_somebody_moved_it():
    told = Story()
    told.join(1, 2)
    told.on(submitted(1, 2, 3))
    told.on(MoveRequested(3, 2))
    assert told.tell(3) == [
        "t3 is ready",
        "it is to run on rank 2 (node), where it was moved",
        "rank 1: it was moved to rank 2",
        "rank 2: every slot has a task",
    ]
    told.on(WorkerSwitched(2, False))
    assert told.tell(3)[1:3] == [
        "it was moved to rank 2 (node), which takes no new work (disabled by hand): it may go elsewhere",
        "rank 1: every slot has a task",
    ]


def test_it_failed_there_and_waits_for_another():
    told = Story(kind(retries=2, backoff_s=0.0))
    told.join(1, 2)
    told.on(submitted(1, 2))
    told.on(finished(1, failed(1)))
    told.on(Tick())
    assert told.tell(1)[1:3] == [
        "rank 1: it failed there, and others can run it",
        "rank 2: every slot has a task",
    ]


def test_a_worker_that_is_throttled():
    told = Story(limits=LimitSettings(max_cpu_percent=90.0))
    told.join(1)
    told.on(WorkerBeat(1, 1, Load(cpu_percent=95.0)))
    told.on(submitted(1))
    throttled = "throttled: its host is 95 % busy (limit 90 %)"
    assert told.tell(1)[1] == f"no worker takes new work: {throttled} (rank 1)"


def test_hosts_have_no_room_for_all_of_a_group():
    told = Story(kind(1, needs=PAIR), kind(2), limits=LimitSettings(per_host=1))
    told.join(1, 2)
    told.on(submitted(1))
    short = "it needs 2 workers at once, and 1 of the 2 that fit may work at once: limits.per_host is 1"
    assert told.tell(1)[1] == f"no worker can run it: {short}"


def test_hosts_have_no_room_for_all_of_a_group_now():
    told = Story(kind(1, needs=PAIR), kind(2), limits=LimitSettings(per_host=1))
    told.arrive(3, WorkerInfo("other", 3))
    told.on(submitted(1, kind=2))
    told.join(1, 2)
    told.on(submitted(2))
    assert told.tell(2)[1] == "limits.per_host: it is a group of 2, and hosts have room for 1 of 2"


def test_what_needs_other_workers_is_not_before_it():
    told = Story(kind(1), kind(2, needs=Needs(gpus=1)))
    told.join(1)
    told.arrive(2, replace(info(), gpus=1))
    told.on(submitted(1, kind=2))
    told.on(submitted(2, 3, kind=2))
    told.on(submitted(4, 5))
    told.on(submitted(6, kind=2))
    # Tasks 2 and 3 wait for the device as it does; 5 might take its worker.
    assert told.tell(6)[-1] == "it is queued with priority 5 behind 3 that came before it"
    # What wants a device may go to rank 2 only, where task 5 could go, too.
    assert told.tell(5)[-1] == "it is queued with priority 5 behind 2 that came before it"
    told.on(died(2))
    assert told.tell(5)[1:] == ["all 1 worker that are there have work (1 task)"]


def test_its_turn_is_told_across_kinds_and_priorities():
    told = Story(kind(1), kind(2, priority=6), ageing_s=100.0)
    told.join(1)
    told.on(submitted(1))
    told.on(began(1, (1, 1)))
    told.on(submitted(2), after_s=1.0)
    told.on(submitted(3, kind=2), after_s=50.0)
    told.on(submitted(4), after_s=10.0)
    told.on(submitted(5, kind=2), after_s=60.0)
    # A priority is worth 100 s: 3 goes before 2, and 4, and 5 comes 40 s before 4 was there.
    assert told.tell(2)[-1] == "it is queued with priority 5 behind 1 of higher priority"
    assert (
        told.tell(4)[-1]
        == "it is queued with priority 5 behind 2 of higher priority and 1 that came before it"
    )
    assert told.tell(5)[-1] == "it is queued with priority 6 behind 2 that came before it"
