"""The fold from events to one row per task."""

import math
from pathlib import Path

import msgspec
import pytest

from mpiexec_runner.errors import StorageError
from mpiexec_runner.model.events import (
    AnyEvent,
    CancelRequested,
    KindsRegistered,
    RunOpened,
    TasksFinished,
    TasksStarted,
    TasksSubmitted,
    WorkerBeat,
    WorkerJoined,
    WorkerLeft,
)
from mpiexec_runner.model.tasks import (
    CallByName,
    Failure,
    FailureClass,
    Outcome,
    PickledCall,
    PlainArguments,
    TaskKind,
    TaskSpec,
    TaskState,
    Verdict,
)
from mpiexec_runner.model.workers import WorkerInfo
from mpiexec_runner.storage.journal import JournalWriter
from mpiexec_runner.storage.port import Position, Record
from mpiexec_runner.storage.results import columns, read_results
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.storage.table import ResultTable

KIND = TaskKind(id=1, name="k", work=CallByName("m:f"))
PICKLED = TaskKind(id=2, name="p", work=PickledCall(b"..."))


def payload(*args: object, **fields: object) -> bytes:
    return msgspec.msgpack.encode(PlainArguments(args, fields))


def opening(*specs: TaskSpec) -> list[AnyEvent]:
    joined = WorkerJoined(1, 0, WorkerInfo("node1", 10)), WorkerJoined(2, 0, WorkerInfo("node2", 11))
    return [RunOpened(1), *joined, KindsRegistered((KIND, PICKLED)), TasksSubmitted(list(specs))]


def fold(*events: AnyEvent) -> ResultTable:
    table = ResultTable()
    for number, event in enumerate(events):
        table.apply(Record(Position(1, number), 100.0 + number, [event]))
    return table


def done(task: int, verdict: Verdict = Verdict.SUCCEEDED, attempt: int = 1, **more: object) -> Outcome:
    return Outcome(task, attempt, verdict, 1000.0, 2.5, **more)


def failed(task: int, message: str = "boom", attempt: int = 1, **more: object) -> Outcome:
    return done(task, Verdict.FAILED, attempt, failure=Failure(FailureClass.EXIT_CODE, message), **more)


def states(table: ResultTable) -> list[str]:
    return table.column("state")


ONE = TaskSpec(1, 1, payload(x=1))
TWO = TaskSpec(2, 1, payload(x=2), name="second")


def test_a_task_that_was_only_submitted_is_ready() -> None:
    row = next(iter(fold(*opening(ONE))))
    assert (row.id, row.name, row.state, row.attempts, row.rank, row.host) == (
        1,
        "task_0001",
        TaskState.READY,
        0,
        -1,
        "",
    )
    assert row.submitted == 104.0
    assert math.isnan(row.started)
    assert math.isnan(row.ended)


def test_a_finished_task_has_all_its_costs() -> None:
    outcome = done(2, cpu_s=2.0, peak_memory_bytes=4096, exit_code=0, value=b"m\x01")
    table = fold(*opening(ONE, TWO), TasksFinished(2, [outcome]))
    row = table.row(1)
    assert row == (2, "second", 4, 1, 2, "node2", 104.0, 1000.0, 1002.5, 2.5, 0, 2.0, 4096, "")
    assert table.counts() == {"ready": 1, "succeeded": 1}


def test_a_started_task_runs_and_loses_its_worker() -> None:
    events = [*opening(ONE), TasksStarted(1, [(1, 1)])]
    assert states(fold(*events)) == ["running"]
    assert states(fold(*events, WorkerLeft(2))) == ["running"]
    assert states(fold(*events, WorkerLeft(1))) == ["ready"]
    assert states(fold(*events, RunOpened(2))) == ["ready"]


def test_a_failure_is_forgotten_when_a_later_attempt_succeeds() -> None:
    events = [*opening(ONE), TasksFinished(1, [failed(1, exit_code=3)])]
    table = fold(*events)
    assert states(table) == ["failed"]
    assert (table.row(0).error, table.row(0).exit_code) == ("boom", 3)
    table = fold(*events, TasksStarted(2, [(1, 2)]))
    assert states(table) == ["running"]
    table = fold(*events, TasksFinished(2, [done(1, attempt=2)]))
    assert states(table) == ["succeeded"]
    assert (table.row(0).error, table.row(0).attempts, table.row(0).rank) == ("", 2, 2)


def test_the_first_success_wins_and_later_ones_are_counted() -> None:
    table = fold(
        *opening(ONE),
        TasksFinished(1, [done(1, value=b"m\x01")]),
        TasksFinished(2, [done(1, attempt=2, value=b"m\x02"), failed(1, attempt=3)]),
        TasksStarted(2, [(1, 2)]),
    )
    assert states(table) == ["succeeded"]
    assert table.value(0) == (b"m\x01", None)
    assert table.superseded == 2


def test_a_late_failure_of_an_old_attempt_does_not_count() -> None:
    table = fold(*opening(ONE), TasksStarted(2, [(1, 2)]), TasksFinished(1, [failed(1, attempt=1)]))
    assert states(table) == ["running"]
    assert table.superseded == 1


def test_cancelling() -> None:
    events = [*opening(ONE, TWO), TasksStarted(1, [(1, 1)])]
    assert states(fold(*events, CancelRequested((2, 99)))) == ["running", "cancelled"]
    table = fold(*events, CancelRequested(), TasksFinished(1, [done(1, Verdict.CANCELLED)]))
    assert states(table) == ["cancelled", "cancelled"]
    assert states(fold(*events, CancelRequested(), WorkerLeft(1))) == ["cancelled", "cancelled"]
    assert states(fold(*events, CancelRequested(), TasksFinished(1, [failed(1)])))[0] == "cancelled"


def test_a_task_that_was_ended_for_a_stop_is_still_to_be_done() -> None:
    table = fold(*opening(ONE), TasksStarted(1, [(1, 1)]), TasksFinished(1, [done(1, Verdict.CANCELLED)]))
    assert states(table) == ["ready"]


def test_the_scheduler_has_the_last_word() -> None:
    table = fold(*opening(ONE, TWO), TasksFinished(1, [failed(1)]), WorkerBeat(1, 1))
    table.finalise({1: TaskState.READY, 2: TaskState.SKIPPED, 77: TaskState.FAILED})
    assert states(table) == ["ready", "skipped"]


def test_rows_are_found_in_spite_of_gaps() -> None:
    specs = [TaskSpec(n, 1, b"") for n in (3, 4, 9, 1000)]
    table = fold(*opening(*specs))
    assert [table.find_row(n) for n in (2, 3, 4, 5, 9, 10, 1000, 1001)] == [
        None,
        0,
        1,
        None,
        2,
        None,
        3,
        None,
    ]


def test_ids_that_do_not_grow_are_an_error() -> None:
    with pytest.raises(StorageError, match="ids must grow"):
        fold(*opening(TWO, ONE))


def test_what_was_lifted_out_of_a_command_is_no_column() -> None:
    arguments = PlainArguments((), {"h": 1, "mesh_dir": "{{ mesh.dir }}"}, ("mesh_dir",))
    found = columns(fold(*opening(TaskSpec(1, 1, msgspec.msgpack.encode(arguments)))))
    assert found["h"] == [1]
    assert "mesh_dir" not in found


def test_columns_show_parameters_and_results_side_by_side() -> None:
    array = msgspec.msgpack.encode(msgspec.msgpack.Ext(1, msgspec.msgpack.encode(("<f8", (2,), bytes(16)))))
    table = fold(
        *opening(ONE, TaskSpec(2, 1, payload(5, rank=7)), TaskSpec(3, 2, b"p..."), TaskSpec(4, 1, b"")),
        TasksFinished(
            1,
            [
                done(1, value=b"m" + msgspec.msgpack.encode({"loss": 0.5, "label": "a"})),
                done(2, value=b"m" + msgspec.msgpack.encode(3)),
                done(3, value=b"p\x80..."),
                done(4, value=b"m" + array),
            ],
        ),
    )
    found = columns(table)
    assert list(found)[:4] == ["id", "name", "state", "attempts"]
    assert found["x"] == [1, None, None, None]
    assert found["args"] == [None, "[5]", None, None]
    assert found["rank"] == [1, 1, 1, 1]
    assert found["parameter.rank"] == [None, 7, None, None]
    assert found["result.loss"] == [0.5, None, None, None]
    assert found["result.label"] == ["a", None, None, None]
    assert found["result"] == [None, 3, "pickle, 4 bytes", "array float64 (2,)"]
    assert found["exit_code"] == [None] * 4


def test_results_are_read_from_the_journal_of_a_run_that_still_works(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "a")
    writer = JournalWriter(run.journal, run_id="a", epoch=1)
    writer.append(1.0, opening(ONE, TWO))
    writer.append(2.0, [TasksFinished(1, [done(1)])])
    table = read_results(run)
    assert states(table) == ["succeeded", "ready"]
    with (run.journal / "000001.journal").open("ab") as file:
        file.write(b"half")
    assert "4 bytes" in read_results(run).notes[0]
    writer.close()
