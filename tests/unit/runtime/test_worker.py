"""A worker as its hub sees it: order, claims, modes, limits, cancels, results of others."""

import json
import os
import pickle
import sys
from pathlib import Path

import msgspec
import pytest
import work_for_workers as work
from fake_hub import spec

from mpiexec_runner.execute import coroutines
from mpiexec_runner.execute.devices import Devices
from mpiexec_runner.execute.share import Share
from mpiexec_runner.model.messages import Run
from mpiexec_runner.model.tasks import (
    BlobRef,
    CallByName,
    CommandLine,
    FailureClass,
    Mode,
    Needs,
    Result,
    TaskKind,
    TaskState,
    Verdict,
)

CORES = tuple(sorted(os.sched_getaffinity(0)))
TWO = Share(CORES[:2] if len(CORES) > 1 else CORES * 2, 0, Devices(("7", "8")), pinned=True)
BESIDE = [Mode.THREAD, Mode.PROCESS]


def call(name: str, id_: int = 1, **more: object) -> TaskKind:
    return TaskKind(id=id_, name=name, work=CallByName(f"work_for_workers:{name}"), **more)


def command(*words: str, id_: int = 1, **more: object) -> TaskKind:
    return TaskKind(id=id_, name="command", work=CommandLine(words), **more)


def python(program: str, **more: object) -> TaskKind:
    return command(sys.executable, "-c", program.replace("{", "{{").replace("}", "}}"), **more)


@pytest.fixture(autouse=True)
def fresh_work() -> None:
    """Nobody holds anybody up yet."""
    work.gate.clear()
    work.rendezvous.reset()


# --- claims


@pytest.mark.parametrize("mode", [Mode.INLINE, *BESIDE])
def test_a_call_is_held_to_the_cores_that_it_claimed(hub_of, mode: Mode) -> None:
    before = os.sched_getaffinity(0)
    hub = hub_of(TWO)
    kind = call("surroundings", mode=mode, needs=Needs(cpus=1))
    hub.run(1, kind, spec(1, kind))
    seen = hub.value(1)
    assert seen["mask"] == [TWO.cores[0]]
    if mode is not Mode.THREAD:  # variables and thread pools belong to the whole process
        assert seen["threads"] == ["1"] * 5
        assert set(seen["pools"]) == {1}
    free = call("surroundings", id_=2, mode=mode)
    hub.run(1, free, spec(2, free))
    assert hub.value(2)["mask"] == list(CORES)
    assert os.sched_getaffinity(0) == before


def test_a_command_is_held_to_its_cores_and_sees_its_devices(hub_of) -> None:
    hub = hub_of(TWO)
    program = (
        "import os, json; json.dump([sorted(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS'], "
        "os.environ['CUDA_VISIBLE_DEVICES']], open('result.json', 'w'))"
    )
    kind = python(program, needs=Needs(cpus=1, gpus=1))
    hub.run(1, kind, spec(1, kind))
    assert hub.value(1) == [[TWO.cores[0]], "1", "7"]


def test_what_the_user_says_of_threads_goes_before(hub_of) -> None:
    hub = hub_of(TWO)
    environment = {"OMP_NUM_THREADS": "9"}
    kind = call("surroundings", mode=Mode.PROCESS, needs=Needs(cpus=1), environment=environment)
    hub.run(1, kind, spec(1, kind))
    assert hub.value(1)["threads"] == ["9", "1", "1", "1", "1"]


def test_calls_at_the_same_time_have_devices_of_their_own(hub_of) -> None:
    hub = hub_of(TWO, slots=2)
    kind = call("surroundings", needs=Needs(gpus=1))
    hold = python("import time; time.sleep(60)", id_=2, needs=Needs(gpus=1))
    hub.run(1, hold, spec(9, hold))
    hub.run(1, kind, spec(1, kind))
    first = hub.value(1)
    assert first["cuda"] == "8"
    hub.cancel(1, 9)
    hub.outcome(9)
    hub.run(1, kind, spec(2, kind))
    second = hub.value(2)
    assert second["cuda"] == "7"
    # A program looks for its devices once: a child that had others is not used again.
    assert second["pid"] != first["pid"]


def test_a_task_waits_for_cores_and_gets_them_when_they_are_given_back(hub_of) -> None:
    hub = hub_of(TWO, slots=4)
    hold = python("import time; time.sleep(60)", needs=Needs(cpus=1))
    both = call("surroundings", id_=2, needs=Needs(cpus=2), mode=Mode.PROCESS)
    hub.run(1, hold, spec(1, hold))
    hub.run(1, both, spec(2, both))
    hub.until(lambda: (1, 1) in hub.started)
    hub.until(lambda: any(beat.load.held == 2 for beat in hub.beats))
    assert not hub.outcomes
    hub.cancel(1, 1)
    assert hub.value(2)["mask"] == sorted(set(TWO.cores))


@pytest.mark.parametrize("mode", [Mode.INLINE, *BESIDE])
def test_what_could_never_run_here_fails_at_once(hub_of, mode: Mode) -> None:
    hub = hub_of(TWO)
    kind = call("echo", mode=mode, needs=Needs(cpus=3))
    hub.run(1, kind, spec(1, kind))
    failure = hub.outcome(1).failure
    assert failure.message == "echo cannot run here: it needs 3 cores, and this worker has 2"


# --- modes


def test_threads_run_at_the_same_time_in_the_rank(hub_of) -> None:
    hub = hub_of(slots=2)
    kind = call("meet", mode=Mode.THREAD)
    hub.run(1, kind, spec(1, kind), spec(2, kind))
    assert {hub.value(1), hub.value(2)} == {"task-1", "task-2"}


def test_a_thread_that_is_cancelled_is_forgotten(hub_of) -> None:
    hub = hub_of(slots=1)
    kind = call("hold", mode=Mode.THREAD)
    hub.run(1, kind, spec(1, kind), spec(2, kind))
    hub.until(lambda: (1, 1) in hub.started)
    hub.cancel(1, 1)
    assert hub.outcome(1).verdict is Verdict.CANCELLED
    work.gate.set()
    assert hub.value(2) == "held"
    assert [outcome.task for _, outcome in hub.outcomes] == [1, 2]


def test_coroutines_share_one_event_loop(hub_of) -> None:
    hub = hub_of(slots=20)
    kind = call("meet_in_the_loop")
    hub.run(1, kind, *(spec(id_, kind, 20) for id_ in range(1, 21)))
    assert {hub.value(id_) for id_ in range(1, 21)} == {"event-loop"}


def test_a_coroutine_can_be_cancelled_and_can_take_too_long(hub_of) -> None:
    hub = hub_of(slots=3)
    kind = call("never", mode=Mode.ASYNCIO)
    hub.run(1, kind, spec(1, kind), spec(2, kind))
    timed = call("never", id_=2, mode=Mode.ASYNCIO, timeout_s=0.05)
    hub.run(1, timed, spec(3, timed))
    hub.until(lambda: (2, 1) in hub.started)
    hub.cancel(1, 1)
    hub.cancel(1, 2, overdue=True)
    assert hub.outcome(1).verdict is Verdict.CANCELLED
    for task in (2, 3):
        outcome = hub.outcome(task)
        assert (outcome.verdict, outcome.failure.kind) == (Verdict.FAILED, FailureClass.TIMEOUT)


def test_a_coroutine_that_finishes_when_it_is_cancelled_has_finished(hub_of) -> None:
    hub = hub_of()
    kind = call("stubborn")
    hub.run(1, kind, spec(1, kind))
    hub.until(lambda: (1, 1) in hub.started)
    hub.cancel(1, 1)
    assert hub.value(1) == "I finished first"


def test_a_coroutine_that_blocks_the_loop_is_forgotten_and_later_ones_get_another(
    hub_of, monkeypatch
) -> None:
    monkeypatch.setattr(coroutines, "GRACE_S", 0.05)
    hub = hub_of(slots=1)
    kind = call("block_the_loop", mode=Mode.ASYNCIO)
    hub.run(1, kind, spec(1, kind))
    hub.until(lambda: (1, 1) in hub.started)
    hub.cancel(1, 1)
    assert hub.outcome(1).verdict is Verdict.CANCELLED
    later = call("meet_in_the_loop", id_=2)
    hub.run(1, later, spec(2, later, 1))
    assert hub.value(2) == "event-loop"
    work.gate.set()


def test_asyncio_is_for_coroutine_functions(hub_of) -> None:
    hub = hub_of()
    kind = call("echo", mode=Mode.ASYNCIO)
    hub.run(1, kind, spec(1, kind))
    assert "is for coroutine functions" in hub.outcome(1).failure.message


# --- limits


@pytest.mark.parametrize("as_command", [True, False], ids=["command", "call"])
def test_a_task_over_its_memory_is_ended_with_both_numbers(hub_of, as_command: bool) -> None:
    hub = hub_of()
    needs = Needs(memory_bytes=150 * 2**20)
    if as_command:  # the shell is small; what it starts is not
        program = f"{sys.executable} -c 'x = bytes(1) * (400 << 20); import time; time.sleep(60)'; true"
        kind = command("/bin/sh", "-c", program, needs=needs)
        hub.run(1, kind, spec(1, kind))
    else:
        kind = call("eat", needs=needs)
        hub.run(1, kind, spec(1, kind, 400))
    outcome = hub.outcome(1)
    assert (outcome.verdict, outcome.failure.kind) == (Verdict.FAILED, FailureClass.MEMORY)
    assert "and 150 MiB are allowed" in outcome.failure.message
    assert outcome.peak_memory_bytes > 150 * 2**20


def test_a_python_memory_error_is_one_of_memory(hub_of) -> None:
    hub = hub_of()
    kind = call("run_out")
    hub.run(1, kind, spec(1, kind))
    failure = hub.outcome(1).failure
    assert (failure.kind, failure.name) == (FailureClass.MEMORY, "MemoryError")


def test_heartbeats_tell_the_memory_of_the_rank_and_what_is_below_it(hub_of) -> None:
    hub = hub_of()
    hub.until(lambda: hub.beats)
    assert hub.beats[0].load.used_bytes > 2**20
    kind = python("x = b'x' * (300 << 20); import time; time.sleep(60)")
    hub.run(1, kind, spec(1, kind))
    more = hub.beats[0].load.used_bytes + 250 * 2**20
    hub.until(lambda: hub.beats[-1].load.used_bytes > more)
    assert 0 <= hub.beats[-1].load.cpu_percent <= 100
    hub.cancel(1, 1)


# --- what the hub asks for


def test_urgent_tasks_pass_those_in_line(hub_of) -> None:
    hub = hub_of()
    hold, kind = call("hold", mode=Mode.THREAD), call("echo", id_=2)
    hub.run(1, hold, spec(1, hold))
    hub.until(lambda: (1, 1) in hub.started)
    hub.run(1, kind, spec(2, kind), spec(3, kind))
    hub.run(1, kind, spec(4, kind), spec(5, kind), urgent=True)
    work.gate.set()
    hub.outcome(3)
    assert [outcome.task for _, outcome in hub.outcomes] == [1, 4, 5, 2, 3]


@pytest.mark.parametrize("mode", [Mode.INLINE, Mode.THREAD, Mode.PROCESS, Mode.COMMAND])
def test_what_is_overdue_has_failed_by_time_out_in_line_or_begun(hub_of, mode: Mode) -> None:
    hub = hub_of()
    kind = python("import time; time.sleep(60)") if mode is Mode.COMMAND else call("hold", mode=mode)
    hub.run(1, kind, spec(1, kind), spec(2, kind))
    hub.until(lambda: (1, 1) in hub.started)
    hub.cancel(1, 1, 2, overdue=True)
    hub.outcome(2)
    work.gate.set()
    for task in (1, 2):
        outcome = hub.outcome(task)
        assert (outcome.verdict, outcome.failure.kind) == (Verdict.FAILED, FailureClass.TIMEOUT)


def test_a_cancelled_call_that_cannot_be_ended_keeps_its_result(hub_of) -> None:
    hub = hub_of()
    kind = call("hold", mode=Mode.INLINE)
    hub.run(1, kind, spec(1, kind))
    hub.until(lambda: (1, 1) in hub.started)
    hub.cancel(1, 1)
    work.gate.set()
    assert hub.value(1) == "held"


# --- results of others, and what a task leaves


def test_arguments_that_refer_to_results_are_bound(hub_of, monkeypatch) -> None:
    seen = []

    def bind(arguments, results):
        seen.append(results)
        assert arguments.fields == {"value": "{{ a.result }}"}
        return msgspec.structs.replace(arguments, fields={"value": results[0].value})

    monkeypatch.setattr("mpiexec_runner.runtime.attempts.bind", bind)
    hub = hub_of()
    kind = call("echo")
    task = msgspec.structs.replace(spec(2, kind, value="{{ a.result }}"), uses=(1,))
    data = pickle.dumps([1, 2])
    result = Result(1, TaskState.SUCCEEDED, "a", b"P", BlobRef("", (len(data),)))
    hub.send(1, Run((kind,), [task], [1], results=[result]), [data])
    assert hub.value(2) == [1, 2]
    ((found,),) = seen
    assert (found.name, found.state, found.value) == ("a", "succeeded", [1, 2])
    assert Path(found.dir).name == "a"


def test_a_command_leaves_its_result_and_more_tasks(hub_of) -> None:
    hub = hub_of()
    result = {"energy": -1.5, "steps": [1, 2]}
    program = (
        f"open('result.json', 'w').write({json.dumps(json.dumps(result))});"
        'open(\'add_tasks.jsonl\', \'w\').write(\'{"command": "true", "id": "b"}\\n\\n\')'
    )
    kind = python(program)
    hub.run(1, kind, spec(1, kind))
    assert hub.value(1) == result
    assert msgspec.msgpack.decode(hub.outcome(1).more) == [{"command": "true", "id": "b"}]


@pytest.mark.parametrize("name", ["result.json", "add_tasks.jsonl"])
def test_a_broken_file_is_a_failure_that_names_it(hub_of, name: str) -> None:
    hub = hub_of()
    kind = python(f"open({name!r}, 'w').write('[')")
    hub.run(1, kind, spec(1, kind))
    outcome = hub.outcome(1)
    assert (outcome.verdict, outcome.failure.kind) == (Verdict.FAILED, FailureClass.RESULT)
    assert name in outcome.failure.message


def test_what_an_earlier_attempt_left_is_not_this_ones(hub_of) -> None:
    hub = hub_of()
    kind = python("open('result.json', 'w').write('1')")
    hub.run(1, kind, spec(1, kind))
    assert hub.value(1) == 1
    quiet = command("true", id_=2)
    hub.outcomes.clear()
    hub.run(1, quiet, spec(1, quiet), attempt=2)
    assert hub.outcome(1).value == b""


@pytest.mark.parametrize("mode", [Mode.INLINE, Mode.THREAD, Mode.PROCESS])
def test_a_call_adds_tasks(hub_of, mode: Mode) -> None:
    hub = hub_of()
    kind, plain = call("add", mode=mode), call("echo", id_=2, mode=mode)
    hub.run(1, kind, spec(1, kind, ["a", "b"]))
    hub.run(1, plain, spec(2, plain))
    more = msgspec.msgpack.decode(hub.outcome(1).more)
    assert [task["id"] for task in more] == ["a", "b"]
    assert hub.outcome(2).more == b""


def test_coroutines_add_tasks_without_mixing_them(hub_of) -> None:
    hub = hub_of(slots=5)
    kind = call("add_later")
    hub.run(1, kind, *(spec(id_, kind, [f"of-{id_}"]) for id_ in range(1, 6)))
    for id_ in range(1, 6):
        assert [task["id"] for task in msgspec.msgpack.decode(hub.outcome(id_).more)] == [f"of-{id_}"]


def test_a_failed_attempt_adds_nothing(hub_of) -> None:
    hub = hub_of()
    kind, plain = call("add_and_fail"), call("echo", id_=2)
    hub.run(1, kind, spec(1, kind))
    hub.run(1, plain, spec(2, plain))
    assert hub.outcome(1).more == b""
    assert hub.outcome(2).more == b""


# --- commands of several ranks


def test_a_command_of_several_ranks_is_started_by_the_launcher(hub_of) -> None:
    hub = hub_of(launcher=lambda: ("echo", "launch", "{ranks}"))
    kind = python("unused", needs=Needs(ranks=3))
    hub.run(1, kind, spec(1, kind))
    assert hub.outcome(1).exit_code == 0
    (out,) = Path(hub.run_dir).glob("tasks/*/task_0001/stdout")
    assert out.read_text().startswith(f"launch 3 {sys.executable} -c unused")


def test_without_a_launcher_the_remedy_is_told(hub_of) -> None:
    hub = hub_of()
    kind = python("unused", needs=Needs(ranks=3))
    hub.run(1, kind, spec(1, kind))
    assert "mpi_command" in hub.outcome(1).failure.message


def test_a_group_needs_mpi(hub_of) -> None:
    hub = hub_of()
    kind = call("echo")
    hub.run(1, kind, spec(1, kind), group=(1, 2))
    assert "needs MPI" in hub.outcome(1).failure.message
