"""What the tests of storage share: small batches of events, and a journal written by several lives."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mpiexec_runner.model.events import AnyEvent, TasksFinished, Tick
from mpiexec_runner.model.tasks import Outcome, Verdict
from mpiexec_runner.storage.journal import JournalWriter
from mpiexec_runner.storage.port import Position

Batch = tuple[float, list[AnyEvent]]


def make_batch(number: int) -> Batch:
    outcome = Outcome(number, 1, Verdict.SUCCEEDED, 10.0 + number, 0.5, value=b"m" + bytes([number % 128]))
    return float(number), [TasksFinished(1, [outcome]), Tick()]


def write_life(
    directory: Path, batches: list[Batch], epoch: int = 1, resume_at: Position | None = None
) -> Position:
    writer = JournalWriter(directory, run_id="r", epoch=epoch, resume_at=resume_at)
    for now, events in batches:
        writer.append(now, events)
    writer.close()
    return writer.position()


@pytest.fixture
def batch() -> Callable[[int], Batch]:
    return make_batch


@pytest.fixture
def life() -> Callable[..., Position]:
    """Write one life of a journal: directory, batches, epoch, where to resume; the end of what it wrote."""
    return write_life
