"""An edited task list runs what changed and nothing else."""

import random
from collections import Counter
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiexec_runner.app.workload import PORTION, compare, find_dropped
from mpiexec_runner.config.kinds import Workload
from mpiexec_runner.core import invariants
from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.settings import HeartbeatSettings, SchedulerSettings
from mpiexec_runner.core.state import RunState
from mpiexec_runner.model.events import (
    AnyEvent,
    CancelRequested,
    KindsRegistered,
    RunOpened,
    SubmissionsClosed,
    TasksFinished,
    TasksSubmitted,
)
from mpiexec_runner.model.tasks import (
    CallByName,
    CommandLine,
    Outcome,
    TaskKind,
    TaskSpec,
    TaskState,
    Verdict,
)
from mpiexec_runner.policies.placement import PLACEMENTS
from mpiexec_runner.policies.retry import ExponentialBackoff

Item = tuple[str, str]
"""A task's own name (may be empty) and its content."""


def kind(id_: int = 1, **settings: object) -> TaskKind:
    return TaskKind(**{"id": id_, "name": "work", "work": CallByName("module:work"), **settings})


def asked(*items: Item, kinds: tuple[TaskKind, ...] = (), kind_of: Iterable[int] = ()) -> Workload:
    numbers = [*kind_of] or [1] * len(items)
    tasks = [
        TaskSpec(id_, number, content.encode(), name=name, digest=content.encode())
        for id_, ((name, content), number) in enumerate(zip(items, numbers, strict=True), start=1)
    ]
    return Workload(kinds or (kind(),), tasks)


class Run:
    """A run over several lives."""

    def __init__(self) -> None:
        placement = PLACEMENTS["least_loaded"](0, random.Random)
        self._core = TaskScheduler(SchedulerSettings(), HeartbeatSettings(), placement, ExponentialBackoff())
        self._lives = 0

    @property
    def state(self) -> RunState:
        return self._core.state

    def live(self, workload: Workload) -> list[AnyEvent]:
        """Begin a life with what the configuration says now."""
        events = list(compare(workload, self.state).events())
        self._lives += 1
        self._core.handle([RunOpened(self._lives), *events], float(self._lives))
        invariants.check(self.state)
        return events

    def finish(self, *ids: int, verdict: Verdict = Verdict.SUCCEEDED) -> None:
        outcomes = [Outcome(id_, 1, verdict, 0.0, 1.0) for id_ in ids]
        self._core.handle([TasksFinished(1, outcomes)], float(self._lives))

    def cancel(self, *ids: int) -> None:
        self._core.handle([CancelRequested(ids)], float(self._lives))

    def contents(self, *states: TaskState) -> list[str]:
        """The contents of the tasks in these states, in order of their numbers."""
        tasks = sorted(self.state.tasks.values(), key=lambda task: task.spec.id)
        return [task.spec.digest.decode() for task in tasks if task.state in states]


@pytest.fixture
def run() -> Run:
    """A run of a, b and c, of which a is done."""
    made = Run()
    made.live(asked(("", "a"), ("", "b"), ("", "c")))
    made.finish(1)
    return made


def submitted(events: list[AnyEvent]) -> list[TaskSpec]:
    return [spec for event in events if isinstance(event, TasksSubmitted) for spec in event.tasks]


def test_a_new_run_is_told_of_everything() -> None:
    work = asked(("", "a"), ("", "b"))
    assert list(compare(work, RunState()).events()) == [
        KindsRegistered((kind(),)),
        TasksSubmitted(work.tasks),
        SubmissionsClosed(),
    ]


def test_an_unchanged_list_adds_nothing(run: Run) -> None:
    events = run.live(asked(("", "a"), ("", "b"), ("", "c")))
    assert events == [KindsRegistered((kind(),)), SubmissionsClosed()]
    assert run.contents(TaskState.SUCCEEDED) == ["a"]
    assert run.contents(TaskState.READY) == ["b", "c"]


def test_what_was_cancelled_in_this_life_counts_and_what_nobody_asks_for_does_not(run: Run) -> None:
    run.finish(2, verdict=Verdict.FAILED)
    run.live(asked(("", "a"), ("", "c")))
    run.cancel(3)
    assert find_dropped(asked(("", "a"), ("", "c")), run.state) == {2}


def test_changed_content_is_another_task(run: Run) -> None:
    events = run.live(asked(("", "A"), ("", "b"), ("", "C")))
    assert events[1] == CancelRequested((3,))
    assert [(spec.id, spec.digest) for spec in submitted(events)] == [(4, b"A"), (5, b"C")]
    assert run.contents(TaskState.READY) == ["b", "A", "C"]
    assert run.contents(TaskState.SUCCEEDED) == ["a"]


def test_removed_tasks_are_cancelled_unless_they_are_at_their_end(run: Run) -> None:
    events = run.live(asked(("", "c")))
    assert events == [KindsRegistered((kind(),)), CancelRequested((2,)), SubmissionsClosed()]
    assert run.contents(TaskState.CANCELLED) == ["b"]


def test_another_order_and_other_numbers_are_no_change(run: Run) -> None:
    events = run.live(asked(("", "c"), ("", "x"), ("", "a"), ("", "b")))
    assert [(spec.id, spec.digest) for spec in submitted(events)] == [(4, b"x")]
    assert not any(isinstance(event, CancelRequested) for event in events)


def test_equal_unnamed_tasks_are_counted() -> None:
    run = Run()
    run.live(asked(*[("", "a")] * 3))
    run.finish(2)
    assert submitted(run.live(asked(*[("", "a")] * 3))) == []
    assert len(submitted(run.live(asked(*[("", "a")] * 5)))) == 2
    assert len(run.state.tasks) == 5


def test_of_equal_tasks_too_many_the_last_are_cancelled() -> None:
    run = Run()
    run.live(asked(*[("", "a")] * 4))
    assert run.live(asked(*[("", "a")] * 2))[1] == CancelRequested((3, 4))


def test_of_equal_tasks_the_finished_ones_are_kept_first() -> None:
    run = Run()
    run.live(asked(("", "a"), ("", "a")))
    run.finish(2)
    run.live(asked(("", "a")))
    assert run.contents(TaskState.SUCCEEDED) == ["a"]
    assert run.contents(TaskState.READY) == []


def test_a_new_name_is_another_task() -> None:
    run = Run()
    run.live(asked(("one", "a"), ("two", "b")))
    events = run.live(asked(("one", "a"), ("three", "b")))
    assert events[1] == CancelRequested((2,))
    assert [spec.name for spec in submitted(events)] == ["three"]


def test_failed_tasks_stay_failed(run: Run) -> None:
    run.state.workers.clear()
    task = run.state.tasks[2]
    run.state.move(task, TaskState.FAILED)
    assert submitted(run.live(asked(("", "a"), ("", "b"), ("", "c")))) == []
    assert run.contents(TaskState.FAILED) == ["b"]


def test_new_settings_reach_the_tasks_on_record(run: Run) -> None:
    run.live(Workload((kind(priority=9),), asked(("", "a"), ("", "b"), ("", "c")).tasks))
    assert {task.kind.spec.priority for task in run.state.tasks.values()} == {9}
    assert list(run.state.kinds) == [1]


def test_other_work_is_another_kind(run: Run) -> None:
    other = kind(work=CommandLine("ls"), name="ls")
    events = run.live(asked(("", "b"), ("", "x"), kinds=(other,)))
    assert events[0] == KindsRegistered((msgspec.structs.replace(other, id=2),))
    assert [(spec.id, spec.kind) for spec in submitted(events)] == [(4, 2)]
    assert run.state.kinds[1].spec == kind()


def test_kinds_are_matched_by_their_work_not_by_their_place() -> None:
    one, two = kind(1, name="one"), kind(2, name="two")
    run = Run()
    run.live(asked(("", "a"), ("", "b"), kinds=(one, two), kind_of=(1, 2)))
    swapped = (kind(1, name="two"), kind(2, name="three"), kind(3, name="one"))
    events = run.live(asked(("", "b"), ("", "a"), ("", "x"), ("", "y"), kinds=swapped, kind_of=(1, 3, 2, 3)))
    assert {spec.digest: spec.kind for spec in submitted(events)} == {b"x": 3, b"y": 1}
    assert {id_: known.spec.name for id_, known in run.state.kinds.items()} == {
        1: "one",
        2: "two",
        3: "three",
    }


def test_kinds_of_the_same_work_keep_each_its_own_settings() -> None:
    kinds = (kind(1, priority=1), kind(2, priority=9))
    work = asked(("", "a"), ("", "b"), kinds=kinds, kind_of=(1, 2))
    run = Run()
    for _ in range(3):
        run.live(work)
        assert {t.spec.digest: t.kind.spec.priority for t in run.state.tasks.values()} == {b"a": 1, b"b": 9}


def test_a_task_that_was_removed_and_put_back_is_run(run: Run) -> None:
    run.live(asked(("", "a")))
    assert run.contents(TaskState.CANCELLED) == ["b", "c"]
    run.live(asked(("", "a"), ("", "b")))
    assert run.contents(TaskState.READY) == ["b"]


def test_many_tasks_come_in_portions() -> None:
    events = list(compare(asked(*[("", str(n)) for n in range(2 * PORTION + 1)]), RunState()).events())
    assert [len(event.tasks) for event in events if isinstance(event, TasksSubmitted)] == [
        PORTION,
        PORTION,
        1,
    ]


items = st.lists(st.tuples(st.sampled_from(["", "", "n"]), st.sampled_from("abcd")), max_size=8)


@settings(max_examples=100, deadline=None, print_blob=True)
@given(lists=st.lists(st.tuples(items, st.sets(st.integers(1, 20))), min_size=1, max_size=4))
def test_after_any_edits_exactly_the_list_is_done_or_to_be_done(
    lists: list[tuple[list[Item], set[int]]],
) -> None:
    run = Run()
    for wanted, finished in lists:
        run.live(asked(*wanted))
        there: Counter[Item] = Counter()
        open_: Counter[Item] = Counter()
        for task in run.state.tasks.values():
            item = (task.spec.name, task.spec.digest.decode())
            there[item] += 1
            open_[item] += not task.state.terminal
        assert all(there[item] >= count for item, count in Counter(wanted).items())
        assert all(open_[item] <= Counter(wanted)[item] for item in open_)
        run.finish(*finished)


def graph(**jobs: tuple[str, ...]) -> Workload:
    """A workload of named tasks with what each depends on and, after a colon in it, its content."""
    numbers: dict[str, int] = {}
    tasks = []
    for id_, (name, after) in enumerate(jobs.items(), start=1):
        numbers[name] = id_
        waits = tuple(numbers[other] for other in after if not other.startswith(":"))
        content = "".join([name, *after]).encode()
        tasks.append(TaskSpec(id_, 1, b"", name=name, digest=content, after=waits, uses=waits[:1]))
    return Workload((kind(),), tasks)


def end(state: RunState, id_: int, *moves: TaskState) -> None:
    for move in moves:
        state.move(state.tasks[id_], move)


class TestDependencies:
    def test_numbers_on_record_take_the_place_of_those_of_the_workload(self) -> None:
        run = Run()
        run.live(graph(a=(), b=("a",), c=("b",)))
        (x, new) = submitted(run.live(graph(x=(), a=(), b=("a",), c=("b",), d=("c", "a", "x"))))
        assert (x.id, x.name, x.after) == (4, "x", ())
        assert (new.id, new.name, new.after, new.uses) == (5, "d", (1, 3, 4), (3,))

    def test_what_follows_from_a_change_is_run_again(self) -> None:
        run = Run()
        run.live(graph(a=(), b=("a",), c=("b",)))
        changed = graph(a=(":new",), b=("a", ":new"), c=("b", ":new"))
        events = run.live(changed)
        assert [(spec.id, spec.name, spec.after) for spec in submitted(events)] == [
            (4, "a", ()),
            (5, "b", (4,)),
            (6, "c", (5,)),
        ]
        assert events[1] == CancelRequested((1, 2, 3))

    def test_a_task_that_waits_for_a_cancelled_one_is_asked_for_again(self) -> None:
        run = Run()
        run.live(graph(a=(), b=("a",), c=()))
        end(run.state, 1, TaskState.CANCELLED)
        again = compare(graph(a=(), b=("a",), c=()), run.state)
        assert [(spec.id, spec.name, spec.after) for spec in again.fresh] == [(4, "a", ()), (5, "b", (4,))]
        assert again.dropped == {1, 2}
        assert again.unfinished == (2,)

    def test_what_is_done_stays_done_though_its_past_is_run_again(self) -> None:
        run = Run()
        run.live(graph(a=(), b=("a",)))
        end(run.state, 1, TaskState.CANCELLED)
        end(run.state, 2, TaskState.SUCCEEDED)
        again = compare(graph(a=(), b=("a",)), run.state)
        assert [spec.name for spec in again.fresh] == ["a"]
        assert again.dropped == {1}


class TestAddedTasks:
    @staticmethod
    def run() -> Run:
        """A run of a and b, where a added 3, and 3 added 4."""
        run = Run()
        run.live(asked(("", "a"), ("", "b")))
        added = [TaskSpec(3, 1, b"", digest=b"x", parent=1), TaskSpec(4, 1, b"", digest=b"b", parent=3)]
        for spec in added:
            run.state.tasks[spec.id] = msgspec.structs.replace(run.state.tasks[1], spec=spec)
        run.state.next_task = 5
        return run

    def test_they_are_kept_with_what_added_them(self) -> None:
        difference = compare(asked(("", "a"), ("", "b")), self.run().state)
        assert (difference.fresh, difference.dropped) == ([], frozenset())

    def test_they_go_with_what_added_them(self) -> None:
        run = self.run()
        difference = compare(asked(("", "b")), run.state)
        assert difference.fresh == []
        assert difference.dropped == {1, 3, 4}
        assert difference.unfinished == (1, 3, 4)

    def test_they_are_not_what_a_configuration_asks_for(self) -> None:
        difference = compare(asked(("", "a"), ("", "b"), ("", "x")), self.run().state)
        assert [(spec.id, spec.digest) for spec in difference.fresh] == [(5, b"x")]
