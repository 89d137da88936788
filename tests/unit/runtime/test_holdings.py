"""What a worker holds: the line of tasks that have not begun, and what it has to say."""

import numpy as np
import pytest

from mpiexec_runner.errors import PeerError
from mpiexec_runner.execute.ending import Reason
from mpiexec_runner.model.messages import Finished, Goodbye, Returned, Run, Started
from mpiexec_runner.model.tasks import (
    BlobRef,
    CallByName,
    CommandLine,
    FailureClass,
    Mode,
    Needs,
    Outcome,
    PickledCall,
    Result,
    TaskKind,
    TaskSpec,
    TaskState,
    Verdict,
    Work,
)
from mpiexec_runner.runtime.holdings import Beside, Line, Outbox, choose_mode


def run(*attempts: tuple[int, int]) -> Run:
    return Run((), [TaskSpec(id_, 1, b"") for id_, _ in attempts], [number for _, number in attempts])


def line_of(*attempts: tuple[int, int]) -> Line:
    line = Line()
    line.add(run(*attempts), [])
    return line


def keys(line: Line) -> list[tuple[int, int]]:
    """All that is in line; it is empty after that."""
    held = [line.pop() for _ in range(len(line))]
    return [(one[0].id, one[1]) for one in held]


def done(id_: int = 1, value: bytes = b"v") -> Outcome:
    return Outcome(id_, 1, Verdict.SUCCEEDED, 0.0, 1.0, value=value)


# --- how a kind is run


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(
    ("work", "mode", "timeout_s", "where_inline", "elsewhere"),
    [
        (CommandLine("ls"), Mode.AUTO, None, Mode.COMMAND, Mode.COMMAND),
        (CommandLine("ls"), Mode.INLINE, 5.0, Mode.COMMAND, Mode.COMMAND),
        (CallByName("a:b"), Mode.AUTO, None, Mode.INLINE, Mode.PROCESS),
        (PickledCall(b""), Mode.AUTO, None, Mode.INLINE, Mode.PROCESS),
        (CallByName("a:b"), Mode.THREAD, None, Mode.THREAD, Mode.THREAD),
        (CallByName("a:b"), Mode.THREAD, 5.0, Mode.PROCESS, Mode.PROCESS),
        (CallByName("a:b"), Mode.ASYNCIO, None, Mode.ASYNCIO, Mode.ASYNCIO),
        (CallByName("a:b"), Mode.ASYNCIO, 5.0, Mode.ASYNCIO, Mode.ASYNCIO),
        (CallByName("a:b"), Mode.INLINE, None, Mode.INLINE, Mode.INLINE),
        (CallByName("a:b"), Mode.PROCESS, None, Mode.PROCESS, Mode.PROCESS),
        (CallByName("a:b"), Mode.AUTO, 5.0, Mode.PROCESS, Mode.PROCESS),
        (CallByName("a:b"), Mode.INLINE, 5.0, Mode.PROCESS, Mode.PROCESS),
    ],
)
def test_how_a_kind_is_run(
    work: Work, mode: Mode, timeout_s: float | None, where_inline: Mode, elsewhere: Mode, *, inline: bool
) -> None:
    kind = TaskKind(id=1, name="k", work=work, mode=mode, timeout_s=timeout_s)
    assert choose_mode(kind, inline=inline, coroutine=False) is (where_inline if inline else elsewhere)


@pytest.mark.parametrize("inline", [True, False])
def test_a_coroutine_function_runs_in_the_event_loop(*, inline: bool) -> None:
    kind = TaskKind(id=1, name="k", work=CallByName("a:b"))
    assert choose_mode(kind, inline=inline) is Mode.AUTO  # until the function was looked at
    assert choose_mode(kind, inline=inline, coroutine=True) is Mode.ASYNCIO


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.INLINE, Mode.THREAD, Mode.ASYNCIO, Mode.PROCESS])
def test_what_has_a_memory_limit_must_be_killable(mode: Mode) -> None:
    kind = TaskKind(id=1, name="k", work=CallByName("a:b"), mode=mode, needs=Needs(memory_bytes=1))
    assert choose_mode(kind, inline=True) is Mode.PROCESS


def test_what_sees_only_some_devices_needs_a_process_unless_told_otherwise() -> None:
    for mode, expected in [(Mode.AUTO, Mode.PROCESS), (Mode.INLINE, Mode.INLINE)]:
        kind = TaskKind(id=1, name="k", work=CallByName("a:b"), mode=mode, needs=Needs(gpus=1))
        assert choose_mode(kind, inline=True) is expected


def test_a_group_belongs_to_the_main_thread() -> None:
    kind = TaskKind(id=1, name="k", work=CallByName("a:b"), timeout_s=5.0, needs=Needs(ranks=2))
    assert choose_mode(kind, inline=False) is Mode.INLINE


def test_a_time_out_by_what_its_kind_takes_is_one_too() -> None:
    kind = TaskKind(id=1, name="k", work=CallByName("a:b"), timeout_factor=5.0)
    assert choose_mode(kind, inline=True) is Mode.PROCESS


# --- the line


def test_first_come_first_served() -> None:
    line = line_of((1, 1), (2, 1))
    line.add(run((3, 4)), [])
    assert len(line) == 3
    head = line.head()
    assert head is not None
    assert (head[0].id, head[1]) == (1, 1)
    assert keys(line) == [(1, 1), (2, 1), (3, 4)]
    assert line.head() is None


def test_urgent_tasks_pass_the_others_in_their_own_order() -> None:
    line = line_of((1, 1), (2, 1))
    urgent = run((3, 1), (4, 1))
    line.add(Run((), urgent.tasks, urgent.attempts, urgent=True), [])
    assert keys(line) == [(3, 1), (4, 1), (1, 1), (2, 1)]


def test_remove_says_what_was_still_there() -> None:
    line = line_of((1, 1), (2, 1), (3, 2), (4, 1))
    assert line.remove([(4, 1), (9, 1), (3, 1), (2, 1)]) == [(2, 1), (4, 1)]
    assert keys(line) == [(1, 1), (3, 2)]


def test_remove_nothing() -> None:
    line = line_of((1, 1))
    assert line.remove([]) == []
    assert line.remove([(1, 2)]) == []
    assert keys(line) == [(1, 1)]


def test_clear() -> None:
    line = line_of((1, 1), (2, 1))
    line.clear()
    assert len(line) == 0
    assert line.head() is None


def test_every_task_gets_its_own_buffers() -> None:
    parts = [memoryview(bytes([n])) for n in range(3)]
    tasks = [
        TaskSpec(1, 1, b"", blob=BlobRef("", (1, 1))),
        TaskSpec(2, 1, b""),
        TaskSpec(3, 1, b"", blob=BlobRef("", (1,))),
    ]
    line = Line()
    line.add(Run((), tasks, [1, 1, 1]), parts)
    assert [line.pop()[2] for _ in range(3)] == [parts[:2], [], parts[2:]]


def test_results_come_to_the_tasks_that_use_them_with_buffers_behind_the_tasks_own() -> None:
    parts = [memoryview(bytes([n])) for n in range(3)]
    tasks = [
        TaskSpec(5, 1, b"", blob=BlobRef("", (1,)), uses=(2, 1)),
        TaskSpec(6, 1, b"", uses=(1,)),
        TaskSpec(7, 1, b""),
    ]
    one = Result(1, TaskState.SUCCEEDED, "one", b"v", BlobRef("", (1, 1)))
    two = Result(2, TaskState.FAILED, "two")
    line = Line()
    line.add(Run((), tasks, [1, 1, 1], results=[one, two]), parts)
    first, second, third = (line.pop() for _ in range(3))
    assert first[2] == parts[:1]
    assert first[3] == Beside((), ((two, []), (one, parts[1:])))
    assert second[3] == Beside((), ((one, parts[1:]),))
    assert third[2:] == ([], None)


def test_a_group_comes_with_its_task() -> None:
    line = Line()
    line.add(Run((), [TaskSpec(1, 1, b"")], [1], group=(3, 1)), [])
    assert line.pop()[3] == Beside((3, 1))


def test_a_result_without_its_buffers_breaks_the_protocol() -> None:
    result = Result(1, TaskState.SUCCEEDED, "one", b"v", BlobRef("", (1,)))
    with pytest.raises(PeerError, match="result of task 1 without its buffers"):
        Line().add(Run((), [TaskSpec(2, 1, b"", uses=(1,))], [1], results=[result]), [])


def test_missing_buffers_break_the_protocol() -> None:
    with pytest.raises(PeerError, match="task 1 without its buffers"):
        Line().add(Run((), [TaskSpec(1, 1, b"", blob=BlobRef("", (1, 1)))], [1]), [memoryview(b"a")])


def test_tasks_without_numbers_of_attempts_break_the_protocol() -> None:
    with pytest.raises(PeerError, match="do not match"):
        Line().add(Run((), [TaskSpec(1, 1, b"")], []), [])


# --- the outbox


def test_an_empty_outbox_has_nothing_to_say() -> None:
    outbox = Outbox()
    assert not outbox
    assert outbox.take() == ([], [])


@pytest.mark.parametrize(
    "say",
    [
        lambda outbox: outbox.say(Goodbye()),
        lambda outbox: outbox.started((1, 1)),
        lambda outbox: outbox.returned([]),
        lambda outbox: outbox.ended_unbegun([(1, 1)], Reason.CANCEL),
        lambda outbox: outbox.finished((done(), [])),
    ],
    ids=["message", "started", "returned nothing", "cancelled", "finished"],
)
def test_anything_at_all_is_to_be_said(say: object) -> None:
    outbox = Outbox()
    say(outbox)  # type: ignore[operator]
    assert outbox
    assert len(outbox.take()[0]) == 1
    assert not outbox


def test_results_travel_together_after_what_else_there_is() -> None:
    outbox = Outbox()
    outbox.finished((done(1), []))
    outbox.started((2, 1))
    outbox.returned([(3, 1)])
    outbox.started((4, 1))
    outbox.ended_unbegun([(5, 2)], Reason.CANCEL)
    ended = Outcome(5, 2, Verdict.CANCELLED, 0.0, 0.0)
    assert outbox.take() == (
        [Returned([(3, 1)]), Started([(2, 1), (4, 1)]), Finished([done(1), ended])],
        [],
    )
    assert outbox.take() == ([], [])


def test_what_is_overdue_has_failed_also_before_it_began() -> None:
    outbox = Outbox()
    outbox.ended_unbegun([(5, 2)], Reason.OVERDUE)
    (finished,), _ = outbox.take()
    assert isinstance(finished, Finished)
    (outcome,) = finished.outcomes
    assert outcome.verdict is Verdict.FAILED
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureClass.TIMEOUT


def test_large_values_go_beside_in_order() -> None:
    outbox = Outbox()
    first, second = np.arange(3.0), bytearray(b"abcd")
    outbox.finished((done(1), [first, second]))
    outbox.finished((done(2), []))
    outbox.finished((done(3), [second]))
    assert outbox.bytes == 3 * len(b"v") + 24 + 4 + 4
    messages, buffers = outbox.take()
    (finished,) = messages
    assert isinstance(finished, Finished)
    assert [o.blob for o in finished.outcomes] == [BlobRef("", (24, 4)), None, BlobRef("", (4,))]
    assert [o.task for o in finished.outcomes] == [1, 2, 3]
    assert [id(part) for part in buffers] == [id(first), id(second), id(second)]
    assert outbox.bytes == 0
