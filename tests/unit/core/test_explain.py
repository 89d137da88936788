"""Why a task is not running, told of runs that the real scheduler brought about."""

import pytest
from core_env import (
    START,
    Env,
    began,
    cancel,
    died,
    drain,
    ended,
    failed,
    finished,
    joined,
    kind,
    ok,
    returned,
    submitted,
)
from msgspec.structs import replace

from mpiexec_runner.core.explain import explain
from mpiexec_runner.core.limits import Usage
from mpiexec_runner.core.settings import LimitSettings
from mpiexec_runner.core.sight import History, Sight
from mpiexec_runner.core.state import Kind, RunState, Task, Worker
from mpiexec_runner.model.events import (
    AnyEvent,
    PauseRequested,
    RunOpened,
    TasksSubmitted,
    Tick,
    WorkerSwitched,
)
from mpiexec_runner.model.tasks import FailureClass, Needs, TaskSpec, TaskState, When
from mpiexec_runner.model.workers import WorkerInfo, WorkerState


class Story(Env):
    """An :class:`Env` that asks for explanations; which commands were sent is told elsewhere."""

    def sent(self, *commands: object) -> None:
        self._unclaimed = []

    def tell(self, id_: int, after_s: float = 0.0) -> list[str]:
        history = History(id_)
        for now, events in self.journal:
            history.take(now, events)
        return explain(Sight(self.state, self.task(id_), history, self.now + after_s, name_of))


def name_of(task: Task) -> str:
    return f"t{task.spec.id}"


def story(*events: AnyEvent, workers: int = 0, **settings: object) -> Story:
    told = Story(**settings)
    told.on(submitted(1, 2, 3))
    told.join(*range(1, workers + 1))
    for event in events:
        told.on(event)
    return told


def test_no_worker_has_joined():
    assert story().tell(2) == [
        "t2 is ready",
        "no worker is there to run it (none has joined)",
        "it is queued with priority 5 behind 1 that came before it",
    ]


def test_all_workers_are_gone():
    told = story(died(1), workers=1)
    assert "no worker is there to run it (1 lost)" in told.tell(1)
    assert "1 worker was lost while holding it" in told.tell(1)
    told.on(joined(2))
    assert "no worker is there to run it (1 lost, 1 joining)" in told.tell(1)


def test_it_was_sent_and_runs():
    told = story(workers=1)
    assert told.tell(1) == [
        "t1 is assigned",
        "it was sent to rank 1 (node), first in line: it begins there (attempt 1)",
    ]
    told.on(began(1, (1, 1)))
    assert told.tell(1, after_s=12.0) == [
        "t1 is running",
        "it runs on rank 1 (node), for 12.0 s (attempt 1)",
    ]


def test_the_workers_are_busy_and_others_come_first():
    told = Story(kind(1), kind(2, priority=8))
    told.join(1)
    told.on(submitted(1, 2, 3), submitted(4, kind=2), submitted(5, kind=2))
    assert told.tell(3) == [
        "t3 is ready",
        "all 1 worker that are there have work (1 task)",
        "it is queued with priority 5 behind 1 of higher priority and 2 that came before it",
    ]


def test_it_is_behind_others_on_its_worker():
    told = Story(prefetch_s=1.0)
    told.join(1)
    told.measure(0.001)
    told.on(submitted(2, 3, 4))
    told.on(began(1, (2, 1)))
    assert told.tell(4) == [
        "t4 is assigned",
        "it was sent to rank 1 (node), behind t2 (running), t3 (assigned) (attempt 1)",
    ]
    told.on(returned(1, (4, 1)))
    assert "it came back unbegun 1 time" in told.tell(4)


def test_it_backs_off_and_is_then_given_up():
    told = Story(kind(retries=1, backoff_s=20.0))
    told.join(1)
    told.on(submitted(1))
    told.on(finished(1, failed(1)))
    assert told.tell(1, after_s=5.0) == [
        "t1 is waiting",
        "its retry 1 of 1 is due in 15.0 s",
        "attempt 1 failed on rank 1: broken",
    ]
    told.on(Tick(), after_s=20.0)
    told.on(finished(1, failed(1, 2, FailureClass.TIMEOUT)))
    assert told.tell(1) == [
        "t1 is failed: broken (attempt 2, on rank 1)",
        "attempt 1 failed on rank 1: broken",
    ]


def test_how_it_ended():
    told = story(finished(1, ok(1)), workers=1)
    assert told.tell(1) == ["t1 is succeeded: attempt 1 on rank 1, in 10.0 s"]
    told.on(cancel(3))
    assert told.tell(3) == ["t3 is cancelled"]
    told.on(cancel(2))
    assert told.tell(2)[0] == "t2 is being cancelled"
    told.on(finished(1, ended(2)))
    assert told.tell(2) == ["t2 is cancelled"]


def test_poison_is_told_without_an_outcome():
    told = story(died(1), workers=1, crash_limit=1)
    assert told.tell(1) == ["t1 is failed: poison: 1 workers in a row were lost over it, the last on node"]


def test_the_run_is_stopping():
    told = story(drain(), workers=1)
    stopping = "the run is stopping, because of Ctrl-C: nothing new begins; a resume goes on with it"
    assert told.tell(2)[1] == stopping


def test_a_pause_holds_until_it_is_over_or_the_run_is_opened_again():
    paused = "the run is paused: nothing new begins until mpiexec-runner control continue"
    told = story(PauseRequested(True), workers=1)
    assert paused in told.tell(2)
    told.on(PauseRequested(False))
    assert paused not in told.tell(2)
    told.on(PauseRequested(True))
    told.on(RunOpened(2))
    assert paused not in told.tell(2)


def test_every_worker_is_disabled():
    told = story(WorkerSwitched(1, False), WorkerSwitched(2, False), workers=2)
    assert "no worker takes new work: disabled by hand (rank 1, 2)" in told.tell(3)
    told.on(WorkerSwitched(1, True))
    assert told.tell(3)[1:] == [
        "rank 1: every slot has a task",
        "rank 2: disabled by hand",
    ]


# --- states that are written down


ANY = Needs()


def state_of(*tasks: Task, workers: tuple[Worker, ...] = ()) -> RunState:
    state = RunState()
    state.now = START
    for task in tasks:
        state.tasks[task.spec.id] = task
        if task.state is TaskState.READY:
            state.ready.push(task)
    for worker in workers:
        state.workers[worker.id] = worker
    return state


def task_of(id_: int, state: TaskState = TaskState.READY, *, needs: Needs = ANY, **spec: object) -> Task:
    its_kind = Kind(replace(kind(), needs=needs, labels=("licence",)))
    return Task(replace(TaskSpec(id_, 1, b""), **spec), its_kind, state)


def worker_of(rank: int, *held: Task, **has: object) -> Worker:
    info = WorkerInfo(host=f"node{rank}", pid=1, slots=2, **has)
    tasks = {task.spec.id: task for task in held}
    worker = Worker(rank, info, state=WorkerState.ALIVE, tasks=tasks)
    worker.set_free()
    return worker


def told_of(state: RunState, id_: int, **limits: object) -> list[str]:
    state.usage = Usage(LimitSettings.model_validate(limits))
    for worker in state.workers.values():
        for task in worker.tasks.values():
            state.usage.book(worker, task.kind, 1)
    return explain(Sight(state, state.tasks[id_], History(id_), START, name_of))


def test_nothing_holds_it_back():
    state = state_of(task_of(1), workers=(worker_of(1),))
    assert told_of(state, 1) == ["t1 is ready", "nothing holds it back: it goes to a worker next"]


@pytest.mark.parametrize(
    ("when", "word"),
    [(When.SUCCESS, "succeed"), (When.ANY, "end"), (When.FAILURE, "end, at least one in failure")],
)
def test_it_waits_for_other_tasks(when, word):
    before = [task_of(1, TaskState.SUCCEEDED), task_of(2, TaskState.RUNNING), task_of(3)]
    state = state_of(*before, task_of(4, TaskState.WAITING, after=(1, 2, 3), when=when))
    assert told_of(state, 4)[:2] == ["t4 is waiting", f"it waits for t2 (running), t3 (ready) to {word}"]


def test_a_long_list_is_cut():
    before = [task_of(id_) for id_ in range(1, 9)]
    state = state_of(*before, task_of(9, TaskState.WAITING, after=tuple(range(1, 9))))
    assert told_of(state, 9)[1].endswith("t5 (ready) and 3 more to succeed")


def test_it_was_skipped():
    failed_before = task_of(1, TaskState.FAILED)
    state = state_of(
        failed_before,
        task_of(2, TaskState.SUCCEEDED),
        task_of(3, TaskState.SKIPPED, after=(1, 2)),
        task_of(4, TaskState.SKIPPED, after=(2,), when=When.FAILURE),
    )
    assert told_of(state, 3)[1] == "it needs all that it depends on to succeed: t1 (failed)"
    assert told_of(state, 4)[1] == "it is for the case that something it depends on fails, and nothing did"


@pytest.mark.parametrize(
    ("needs", "line"),
    [
        (Needs(gpus=1), "no worker can run it: no worker has 1 gpus (it has 0)"),
        (Needs(tags=("ssd",)), "no worker can run it: no worker has the tag ssd"),
        (Needs(memory_bytes=200), "no worker can run it: no worker has 200 bytes of memory (it has 100)"),
        (Needs(tags=("gpu",)), "1 of 2 workers can run it: rank 2"),
        (Needs(cpus=2), "1 of 2 workers can run it: rank 1"),
        (Needs(ranks=3), "no worker can run it: it needs 3 workers at once, and 2 fit"),
        (Needs(ranks=2, tags=("gpu",)), "no worker can run it: it needs 2 workers at once, and 1 fit"),
    ],
)
def test_what_it_needs_is_not_there(needs, line):
    workers = (worker_of(1, cores=2, memory_bytes=100), worker_of(2, cores=1, tags=("gpu",)))
    assert told_of(state_of(task_of(1, needs=needs), workers=workers), 1)[1] == line


@pytest.mark.parametrize(
    ("limits", "line"),
    [
        ({"concurrent": 1}, "limits.concurrent: 1 tasks are held"),
        ({"per_label": {"licence": 1}}, "limits.per_label: 1 tasks with licence are held"),
        ({"per_host": 1}, "rank 1: limits.per_host: node1 has as many tasks as it may"),
    ],
)
def test_a_limit_is_reached(limits, line):
    held = task_of(1, TaskState.RUNNING)
    worker = worker_of(1, held)
    state = state_of(held, task_of(2), workers=(worker,))
    assert told_of(state, 2, **limits) == ["t2 is ready", line]
    wider = {"per_label": {"licence": 2}} if "per_label" in limits else {next(iter(limits)): 99}
    assert line not in told_of(state, 2, **wider)


def test_what_waits_for_others_is_not_told_of_a_queue():
    state = state_of(task_of(1), task_of(2, TaskState.WAITING, after=(1,)), workers=(worker_of(1),))
    assert told_of(state, 2) == ["t2 is waiting", "it waits for t1 (ready) to succeed"]


def test_a_submission_says_nothing_of_its_past():
    history = History(1)
    history.take(START, [TasksSubmitted([TaskSpec(1, 1, b"")])])
    assert (history.outcomes, history.began, history.returned) == ([], {}, 0)
