"""Any batches, in any number of lives and segments, torn at the end of each life: the list comes back."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mpiexec_runner.model.events import CancelRequested, TasksFinished, TasksSubmitted, Tick, WorkerLeft
from mpiexec_runner.model.tasks import Outcome, TaskSpec, Verdict
from mpiexec_runner.storage.framing import segment_path
from mpiexec_runner.storage.journal import JournalWriter
from mpiexec_runner.storage.journal_reader import read_journal

ids = st.integers(0, 2**40)
times = st.floats(0, 1e10)
outcomes = st.builds(
    Outcome, task=ids, attempt=st.integers(1, 9), verdict=st.sampled_from(Verdict), started=times,
    elapsed_s=times, value=st.binary(max_size=60),
)  # fmt: skip
specs = st.builds(TaskSpec, id=ids, kind=ids, payload=st.binary(max_size=60), name=st.text(max_size=8))
events = st.one_of(
    st.builds(TasksFinished, worker=ids, outcomes=st.lists(outcomes, max_size=3)),
    st.builds(TasksSubmitted, tasks=st.lists(specs, max_size=3)),
    st.builds(CancelRequested, tasks=st.none() | st.tuples(ids)),
    st.builds(WorkerLeft, worker=ids, why=st.text(max_size=8)),
    st.just(Tick()),
)
batches = st.lists(st.tuples(times, st.lists(events, max_size=3)), max_size=8)
lives = st.lists(st.tuples(batches, st.integers(1, 400), st.binary(max_size=20)), max_size=4)


@settings(max_examples=60, deadline=None)
@given(lives=lives)
def test_what_was_appended_is_what_is_read(lives: list[tuple[list, int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        expected: list[tuple[float, list]] = []
        tail = None
        for epoch, (appended, segment_bytes, torn) in enumerate(lives, start=1):
            writer = JournalWriter(
                directory, run_id="r", epoch=epoch, resume_at=tail, segment_bytes=segment_bytes
            )
            for now, events in appended:
                writer.append(now, events)
            writer.close()
            expected += appended
            # The beginning of a frame, as a crash leaves it: never as long as a header.
            with segment_path(directory, writer.position().segment).open("ab") as file:
                file.write(torn[:11])
            reading = read_journal(directory)
            records = list(reading)
            assert [(record.now, record.events) for record in records] == expected
            assert reading.tail == writer.position()
            tail = reading.tail
            if records:
                half = len(records) // 2
                rest = read_journal(directory, after=records[half].end)
                assert [(r.now, r.events) for r in rest] == expected[half + 1 :]
