"""A process that writes and reads a journal and tells what that costs.

``python -m benchmarks.journal TASKS``: no MPI, no workers: the outcomes are made up before the clock starts.
"""

import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.contestants.work import tell
from mpiexec_runner.app.wiring import make_scheduler
from mpiexec_runner.core.settings import HeartbeatSettings, SchedulerSettings
from mpiexec_runner.model.events import AnyEvent, KindsRegistered, TasksFinished, TasksSubmitted
from mpiexec_runner.model.tasks import CallByName, Outcome, PlainArguments, TaskKind, TaskSpec, Verdict
from mpiexec_runner.storage.journal import JournalWriter
from mpiexec_runner.storage.journal_reader import read_journal

PORTION = 10_000
BATCH = 100
SYNCS = 20


def outcome(task: int) -> Outcome:
    """A short task's, as a worker tells it."""
    return Outcome(task, 1, Verdict.SUCCEEDED, 1.7e9 + task * 1e-5, 1e-6, b"m\x01", 1e-6)


def append_all(writer: JournalWriter, batches: list[list[AnyEvent]]) -> float:
    """Seconds to append these batches, one after the other; the fsync goes on in the background."""
    begin = time.perf_counter()
    for now, events in enumerate(batches):
        writer.append(float(now), events)
    return time.perf_counter() - begin


def sync_s(writer: JournalWriter) -> float:
    """Seconds to append one batch and see it on the disk, on average."""
    begin = time.perf_counter()
    for now in range(SYNCS):
        writer.append(float(now), [TasksFinished(1, [])])
        writer.sync()
    return (time.perf_counter() - begin) / SYNCS


def replay_s(folder: Path) -> float:
    """Seconds to read a journal and to drive the core with it."""
    scheduler = make_scheduler(SchedulerSettings(), HeartbeatSettings())
    begin = time.perf_counter()
    for record in read_journal(folder):
        scheduler.handle(record.events, record.now)
    took = time.perf_counter() - begin
    if scheduler.state.unfinished:
        raise SystemExit(f"{scheduler.state.unfinished} tasks are not done after the replay")
    return took


def journal_in(folder: Path) -> JournalWriter:
    """A new journal."""
    folder.mkdir()
    return JournalWriter(folder, run_id="bench", epoch=1)


def main(tasks: int) -> None:
    """Measure, and tell."""
    specs = [
        TaskSpec(
            id_,
            1,
            msgspec.msgpack.encode(PlainArguments((), {"number": id_})),
            digest=id_.to_bytes(16, "big"),
        )
        for id_ in range(1, tasks + 1)
    ]
    kind = TaskKind(id=1, name="no_op", work=CallByName("benchmarks.contestants.work:no_op"))
    submitted: list[list[AnyEvent]] = [[KindsRegistered((kind,))]]
    submitted += [[TasksSubmitted(specs[at : at + PORTION])] for at in range(0, tasks, PORTION)]
    outcomes = [outcome(id_) for id_ in range(1, tasks + 1)]
    batches: list[list[AnyEvent]] = [
        [TasksFinished(1, outcomes[at : at + BATCH])] for at in range(0, tasks, BATCH)
    ]
    ones: list[list[AnyEvent]] = [[TasksFinished(1, [each])] for each in outcomes]
    with tempfile.TemporaryDirectory() as root:
        many, single = journal_in(Path(root, "many")), journal_in(Path(root, "single"))
        append_all(many, submitted)
        many_s = append_all(many, batches)
        many.close()
        single_s = append_all(single, ones)
        syncing_s = sync_s(single)
        single.close()
        replayed_s = replay_s(Path(root, "many"))
    tell(
        **{
            "append, one outcome a batch": single_s / tasks * 1e6,
            "append, 100 outcomes a batch": many_s / tasks * 1e6,
            "fsync of one batch": syncing_s * 1e6,
            "replay of submitting and ending": tasks / replayed_s,
        }
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
