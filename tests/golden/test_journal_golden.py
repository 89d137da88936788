"""A journal recorded by an earlier version still reads the same, and would still be written the same.

When the format changes on purpose: raise its version, and bless the new files by running this test with
MPIEXEC_RUNNER_BLESS=1 in the environment. Journals of users stay as they are, so think twice.
"""

import os
from pathlib import Path

import msgspec

from mpiexec_runner.model.events import (
    AnyEvent,
    CancelRequested,
    DrainRequested,
    HubReplaced,
    KindsRegistered,
    MoveRequested,
    PauseRequested,
    PriorityRequested,
    RebalanceRequested,
    RetryRequested,
    RunOpened,
    StopReason,
    SubmissionsClosed,
    TasksFinished,
    TasksReturned,
    TasksStarted,
    TasksSubmitted,
    Tick,
    WorkerBeat,
    WorkerJoined,
    WorkerLeft,
    WorkersSeenWorking,
    WorkerSwitched,
)
from mpiexec_runner.model.tasks import (
    BlobRef,
    CallByName,
    CommandLine,
    Failure,
    FailureClass,
    FailureRule,
    Mode,
    Needs,
    Outcome,
    PickledCall,
    PlainArguments,
    RetryRule,
    TaskKind,
    TaskSpec,
    Verdict,
    When,
)
from mpiexec_runner.model.workers import Health, Load, WorkerInfo
from mpiexec_runner.storage.journal import JournalWriter
from mpiexec_runner.storage.journal_reader import read_journal

HERE = Path(__file__).parent / "journal"
EXPECTED = HERE / "expected.json"
HOW = "the format of the journal changed; if on purpose, run with MPIEXEC_RUNNER_BLESS=1"

ARGUMENTS = msgspec.msgpack.encode(PlainArguments((1, "a"), {"T": 0.5, "seed": 3}))
KINDS = (
    TaskKind(
        id=1,
        name="lattice",
        work=CommandLine(("lmp", "-var", "{T}")),
        timeout_s=60.0,
        retry=RetryRule(2, 1.0, 0.0),
    ),
    TaskKind(
        id=2,
        name="call",
        work=CallByName("package.module:function"),
        mode=Mode.PROCESS,
        priority=7,
        retry=RetryRule(jitter=0.0),
    ),
    TaskKind(
        id=3,
        name="lambda",
        work=PickledCall(b"\x80\x05.", "lambda"),
        keep=False,
        environment={"A": "b"},
        retry=RetryRule(jitter=0.0),
    ),
    TaskKind(
        id=4,
        name="group",
        work=CallByName("package.module:together"),
        needs=Needs(2, 2**30, 1, ("gpu",), 4),
        labels=("licence",),
        retry=RetryRule(3, 5.0, 0.1, (FailureRule("memory", 2, None, 2.0),), False),
        expected_s=30.0,
        timeout_factor=3.0,
        speculate=False,
    ),
)
TASKS = [
    TaskSpec(1, 1, ARGUMENTS, name="first", digest=b"\x01\x02"),
    TaskSpec(2, 2, ARGUMENTS, blob=BlobRef("arguments-2", (1000, 2000))),
    TaskSpec(3, 1, ARGUMENTS, command="echo {T}"),
    TaskSpec(4, 4, ARGUMENTS, after=(1, 2), when=When.ANY, uses=(1,), site="detroit", parent=2),
]
FAILURE = Failure(FailureClass.EXIT_CODE, "exit code 3", "Traceback ...", b"\x80")
BATCHES: list[tuple[float, list[AnyEvent]]] = [
    (1.0, [RunOpened(1), KindsRegistered(KINDS), TasksSubmitted(TASKS), SubmissionsClosed()]),
    (2.5, [WorkerJoined(1, 0, WorkerInfo("node1", 4711, 2, 8, 2**34)), TasksStarted(1, [(1, 1), (2, 1)])]),
    (3.0, [WorkerBeat(1, 1, Load(0.5, 2**20, 2)), Tick(), TasksReturned(1, [(3, 1)])]),
    (4.0, [TasksFinished(1, [Outcome(1, 1, Verdict.SUCCEEDED, 2.6, 1.25, b"m\x07", 1.0, 2**21, 0)])]),
    (5.0, [TasksFinished(1, [Outcome(2, 1, Verdict.FAILED, 2.6, 2.0, exit_code=3, failure=FAILURE)])]),
    (6.0, [CancelRequested((3,)), CancelRequested(), DrainRequested(StopReason.WALLTIME, abandon=True)]),
    (6.5, [PauseRequested(True), PriorityRequested((1, 3), 9), RetryRequested((2,)), MoveRequested(3, 2)]),
    (6.6, [RebalanceRequested(), WorkerSwitched(1, False, "slow"), CancelRequested(None, "label")]),
    (6.7, [HubReplaced(2, 3), WorkerJoined(2, 1, WorkerInfo("node1", 4712, 2, 8, 2**34), [(3, 2)])]),
    (7.0, [WorkerLeft(1, "lost"), TasksFinished(2, [Outcome(2, 2, Verdict.CANCELLED, 6.0, 0.5)])]),
    (7.5, [WorkersSeenWorking((2,)), WorkerBeat(2, 1, Load(running=1, health=Health.DEGRADED, note="warm"))]),
]


def write(directory: Path) -> bytes:
    writer = JournalWriter(directory, run_id="golden", epoch=1)
    for now, events in BATCHES:
        writer.append(now, events)
    writer.close()
    return (directory / "000001.journal").read_bytes()


def bless(directory: Path) -> None:
    recorded = directory / "bless"
    recorded.mkdir()
    HERE.mkdir(exist_ok=True)
    (HERE / "000001.journal").write_bytes(write(recorded))
    EXPECTED.write_bytes(as_json(HERE))


def as_json(directory: Path) -> bytes:
    records = [(record.end, record.now, record.events) for record in read_journal(directory)]
    return msgspec.json.format(msgspec.json.encode(records), indent=1) + b"\n"


def test_the_recorded_journal_reads_as_ever_and_is_written_as_ever(tmp_path: Path) -> None:
    if os.environ.get("MPIEXEC_RUNNER_BLESS") == "1":
        bless(tmp_path)
    assert [(record.now, record.events) for record in read_journal(HERE)] == BATCHES
    assert as_json(HERE) == EXPECTED.read_bytes(), HOW
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert write(fresh) == (HERE / "000001.journal").read_bytes(), HOW


def test_every_event_is_in_the_recorded_journal() -> None:
    recorded = {type(event) for _, events in BATCHES for event in events}
    assert recorded == set(AnyEvent.__args__)
