"""The control box, from both sides, and what its requests come to."""

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpiexec_runner.core.state import Kind, RunState, Task, Worker
from mpiexec_runner.errors import StorageError, UserError
from mpiexec_runner.model.events import (
    CancelRequested,
    DrainRequested,
    MoveRequested,
    PauseRequested,
    PriorityRequested,
    RebalanceRequested,
    RetryRequested,
    StopReason,
    WorkerSwitched,
)
from mpiexec_runner.model.tasks import CallByName, TaskKind, TaskSpec, TaskState
from mpiexec_runner.model.workers import WorkerInfo, WorkerState
from mpiexec_runner.runtime import control, requests
from mpiexec_runner.runtime.control import (
    Answer,
    Cancel,
    Continue,
    ControlBox,
    Drain,
    Move,
    Pause,
    Rebalance,
    Reprioritise,
    Retry,
    Switch,
    Taken,
)
from mpiexec_runner.runtime.keeper import MemoryKeeper
from mpiexec_runner.runtime.requests import RequestDesk, find_tasks, resolve


@pytest.fixture
def box(tmp_path: Path) -> ControlBox:
    return ControlBox(tmp_path)


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != "answers")


# --- the box

ASKS = [
    Pause(),
    Continue(),
    Cancel(("a", "b*")),
    Cancel(label="long"),
    Drain(StopReason.SIGNAL, abandon=True),
    Reprioritise(("a",), 10),
    Retry(everything=True),
    Move("a", 2),
    Rebalance(),
    Switch(2, enabled=False, why="noisy"),
]


def test_requests_are_taken_once_in_the_order_in_which_they_were_dropped(box, tmp_path):
    ids = [box.drop(ask, epoch=3) for ask in ASKS]
    taken = box.take()
    assert [one.id for one in taken] == ids
    assert [one.request.ask for one in taken] == ASKS
    assert {one.request.epoch for one in taken} == {3}
    assert left(tmp_path) == []
    assert box.take() == []


def test_what_was_withdrawn_is_not_taken_and_what_was_taken_cannot_be_withdrawn(box, tmp_path):
    kept, withdrawn = box.drop(Pause()), box.drop(Continue())
    assert box.withdraw(withdrawn)
    assert not box.withdraw(withdrawn)
    assert [one.id for one in box.take()] == [kept]
    assert not box.withdraw(kept)
    assert left(tmp_path) == []


def test_an_answer_is_found_by_the_id_and_only_the_newest_are_kept(box, tmp_path, monkeypatch):
    monkeypatch.setattr(control, "KEPT_ANSWERS", 3)
    for number in range(5):
        box.answer(Answer(id=f"r{number}", ok=True, tasks=number))
        os.utime(tmp_path / "answers" / f"r{number}.json", ns=(number, number))
    assert box.find_answer("r4") == Answer(id="r4", ok=True, tasks=4)
    assert box.find_answer("r1") is None
    assert left(tmp_path / "answers") == ["r2.json", "r3.json", "r4.json"]


def test_one_look_takes_a_bounded_number(box, monkeypatch):
    monkeypatch.setattr(control, "MAX_TAKEN", 2)
    ids = [box.drop(Pause()) for _ in range(3)]
    assert [one.id for one in box.take()] == ids[:2]
    assert [one.id for one in box.take()] == ids[2:]


def test_too_large_a_request_is_not_even_dropped(box, tmp_path):
    with pytest.raises(StorageError, match=r"use name\*"):
        box.drop(Cancel(("x" * control.MAX_BYTES,)))
    assert left(tmp_path) == []


def encoded(**changes: object) -> bytes:
    whole = {"version": 1, "id": "bad", "epoch": 0, "ask": {"do": "pause"}}
    return msgspec.json.encode(whole | changes)


BAD = {
    "empty": b"",
    "no JSON": b"pause",
    "no object": b"[]",
    "not UTF-8": b'{"id": "\xff"}',
    "too deep": b'{"id":"bad","ask":' + b'{"do":' * 100_000,
    "unknown action": encoded(ask={"do": "explode"}),
    "unknown key": encoded(ask={"do": "pause", "for": 3}),
    "no action": encoded(ask={}),
    "priority out of range": encoded(ask={"do": "reprioritise", "tasks": ["a"], "priority": 11}),
    "wrong type": encoded(ask={"do": "cancel", "tasks": "a"}),
    "long reason": encoded(ask={"do": "switch", "worker": 1, "enabled": True, "why": "x" * 1001}),
    "of a newer version": encoded(version=2, ask={"do": "teleport"}),
    "another id": encoded(id="other"),
    "too large": b" " * (control.MAX_BYTES + 1),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_is_no_request_is_taken_out_with_what_is_wrong(box, tmp_path, data):
    (tmp_path / "bad.json").write_bytes(data)
    (taken,) = box.take()
    assert (taken.id, taken.request) == ("bad", None)
    assert taken.why.startswith("bad.json is no request")
    assert left(tmp_path) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(data=st.binary(max_size=200))
def test_no_bytes_bring_the_box_down(box, tmp_path, data):
    (tmp_path / "x.json").write_bytes(data)
    assert [one.request for one in box.take()] == [None]


def test_things_that_are_no_files_do_not_block_it(box, tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "dangling.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / ".hidden.json.1-2.tmp").write_bytes(b"")
    assert [one.id for one in box.take()] == ["pipe"]


def test_a_name_that_is_no_id_gets_no_answer(box, tmp_path):
    (tmp_path / "spaces and \n lines").write_bytes(b"")
    assert [(one.id, one.request) for one in box.take()] == [("", None)]


def test_a_box_that_cannot_be_read_is_told_of_once(tmp_path):
    box = ControlBox(tmp_path / "gone")
    (taken,) = box.take()
    assert taken.id == ""
    assert taken.why.startswith(f"cannot read {tmp_path / 'gone'}: No such file")
    assert box.take() == []
    (tmp_path / "gone").mkdir()
    box.drop(Pause())
    assert len(box.take()) == 1


# --- what it comes to


def run_of(*names: str, labels: tuple[str, ...] = ()) -> RunState:
    """A run with these tasks, ids from 1, all ready, and two workers."""
    state = RunState()
    state.epoch = 3
    kind = Kind(TaskKind(id=1, name="k", work=CallByName("m:f"), labels=labels))
    state.kinds[1] = kind
    for id_, name in enumerate(names, 1):
        task = state.tasks[id_] = Task(TaskSpec(id_, 1, b"", name), kind)
        state.counts[TaskState.READY] += 1
        state.ready.push(task)
    for rank in (1, 2):
        info = WorkerInfo("node", 1)
        state.workers[rank] = Worker(rank, info, state=WorkerState.ALIVE, tasks={})
    return state


def at_end(state: RunState, id_: int, how: TaskState) -> None:
    state.move(state.tasks[id_], TaskState.ASSIGNED)
    state.move(state.tasks[id_], how)


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (("mesh",), [1]),
        (("solve*",), [2, 3]),
        (("solve-b", "mesh"), [1, 3]),
        (("2",), [2]),
        (("task_0004",), [4]),
        (("task_*",), [4]),
        (("*",), [1, 2, 3, 4, 5]),
        (("7",), [5]),  # a name goes before an id
        (("mesh", "me*", "1"), [1]),
    ],
)
def test_words_mean_names_beginnings_and_ids(words, ids):
    state = run_of("mesh", "solve-a", "solve-b", "", "7")
    assert [task.spec.id for task in find_tasks(state, words)] == ids


@pytest.mark.parametrize("word", ["task_0001", "task_2", "nope", "nope*", "9", "9" * 5000, "-1", "", "²"])
def test_one_unknown_word_refuses_all(word):
    with pytest.raises(UserError, match="there is no task"):
        find_tasks(run_of("mesh"), ("mesh", word))


def test_what_each_request_comes_to():
    state = run_of("a", "b", "c", "d", labels=("long",))
    at_end(state, 3, TaskState.FAILED)
    at_end(state, 4, TaskState.SUCCEEDED)
    means = {
        Pause(): ([PauseRequested(True)], 0),
        Continue(): ([PauseRequested(False)], 0),
        Drain(): ([DrainRequested(StopReason.REQUEST)], 2),
        Drain(StopReason.SIGNAL, abandon=True): ([DrainRequested(StopReason.SIGNAL, True)], 2),
        Cancel(("*",)): ([CancelRequested((1, 2))], 2),
        Cancel(("d",)): ([], 0),
        Cancel(label="long"): ([CancelRequested((1, 2))], 2),
        Cancel(("b", "c"), label="long"): ([CancelRequested((2,))], 1),
        Cancel(everything=True): ([CancelRequested(None)], 2),
        Reprioritise(("*",), 9): ([PriorityRequested((1, 2), 9)], 2),
        Retry(("c", "d")): ([RetryRequested((3,))], 1),
        Retry(everything=True): ([RetryRequested(None)], 1),
        Move("a", 2): ([MoveRequested(1, 2)], 1),
        Rebalance(): ([RebalanceRequested()], 0),
        Switch(2, enabled=False, why="noisy"): ([WorkerSwitched(2, False, "noisy")], 0),
    }
    assert {ask: resolve(ask, state) for ask in means} == means


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (Cancel(), "which tasks"),
        (Cancel(("a",), everything=True), "which tasks"),
        (Cancel(label="nope"), "no such task has the label nope"),
        (Retry(), "which tasks"),
        (Move("*", 2), r"\* means 2 tasks"),
        (Move("a", 3), "no worker has rank 3; there are 1, 2"),
        (Move("b", 2), "b is succeeded: only what has not begun moves"),
        (Switch(0, enabled=True), "no worker has rank 0"),
    ],
)
def test_what_makes_no_sense_is_refused(ask, why):
    state = run_of("a", "b")
    at_end(state, 2, TaskState.SUCCEEDED)
    with pytest.raises(UserError, match=why):
        resolve(ask, state)


def a_chain() -> RunState:
    """``a`` failed, and so ``b`` and ``c`` were skipped; ``d``, which was for a failure of ``e``, too."""
    state = run_of("a", "b", "c", "d", "e")
    afters = {2: (1,), 3: (2,), 4: (5,)}
    states = dict(zip(range(1, 6), "FSSSs", strict=True))
    words = {"F": TaskState.FAILED, "S": TaskState.SKIPPED, "s": TaskState.SUCCEEDED}
    for id_, task in state.tasks.items():
        task.spec = msgspec.structs.replace(task.spec, after=afters.get(id_, ()))
        task.state = words[states[id_]]
    state.whys[4] = TaskState.SKIPPED, "it was to run only after a failure, and nothing failed"
    return state


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("c",), "c was skipped because of a: retry that, and c comes along"),
        (("a", "d"), "d was skipped, and would be again: it was to run only after a failure"),
        (("3",), "c was skipped because of a"),
        (("b*",), "b was skipped because of a"),
    ],
)
def test_a_skipped_task_is_not_tried_in_vain(words, why):
    with pytest.raises(UserError, match=why):
        resolve(Retry(words), a_chain())


@pytest.mark.parametrize(("words", "ids"), [(("a", "c"), (1, 3)), (("a",), (1,)), (("*",), (1, 2, 3))])
def test_a_skipped_task_is_tried_with_what_it_was_skipped_for(words, ids):
    assert resolve(Retry(words), a_chain()).events == [RetryRequested(ids)]


def test_no_event_names_too_many_tasks(monkeypatch):
    monkeypatch.setattr(requests, "CHUNK", 2)
    meant = resolve(Cancel(("*",)), run_of("a", "b", "c"))
    assert meant == ([CancelRequested((1, 2)), CancelRequested((3,))], 3)


# --- the desk


class BoxKeeper(MemoryKeeper):
    """A record in memory, with a control box."""

    def __init__(self, box: ControlBox) -> None:
        super().__init__()
        self._box = box

    def requests(self) -> list[Taken]:
        return self._box.take()

    def answer(self, answer: Answer) -> None:
        self._box.answer(answer)


def test_what_is_accepted_is_answered_once_it_is_on_record(box):
    noted: list[str] = []
    desk = RequestDesk(BoxKeeper(box), noted.append)
    id_ = box.drop(Cancel(("a",)), epoch=3)
    assert desk.take(run_of("a")) == [CancelRequested((1,))]
    assert box.find_answer(id_) is None
    desk.settle()
    assert box.find_answer(id_) == Answer(id=id_, ok=True, tasks=1)
    assert noted == []


def test_what_is_refused_or_concerns_nothing_is_answered_at_once(box, tmp_path):
    noted: list[str] = []
    desk = RequestDesk(BoxKeeper(box), noted.append)
    state = run_of("a")
    at_end(state, 1, TaskState.SUCCEEDED)
    unknown, ended = box.drop(Cancel(("nope",))), box.drop(Cancel(("a",)))
    of_before = box.drop(Pause(), epoch=2)
    (tmp_path / "drain").touch()
    assert desk.take(state) == []
    assert "no task nope" in box.find_answer(unknown).why
    assert box.find_answer(ended) == Answer(id=ended, ok=True)
    assert box.find_answer(of_before).why == "it was made to life 2 of the run; this is life 3"
    assert not box.find_answer("drain").ok
    assert [note.split(" (")[0] for note in noted] == ["drain is no request that this version knows"]


def test_what_comes_too_late_is_refused(box, tmp_path):
    desk = RequestDesk(BoxKeeper(box), pytest.fail)
    id_ = box.drop(Pause())
    desk.close()
    assert box.find_answer(id_).why == "the run has come to its end"
    assert left(tmp_path) == []


def test_an_answer_that_cannot_be_written_is_noted_and_harms_nothing(box, tmp_path):
    noted: list[str] = []
    desk = RequestDesk(BoxKeeper(box), noted.append)
    (tmp_path / "answers").symlink_to(tmp_path / "nowhere")
    box.drop(Pause())
    assert desk.take(run_of("a")) == [PauseRequested(True)]
    desk.settle()
    assert len(noted) == 1
    assert noted[0].startswith("a request could not be answered: cannot create")
