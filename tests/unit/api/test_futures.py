"""How the end of a task is told to whoever waits for its value."""

from concurrent.futures import CancelledError

import pytest
from msgspec.structs import replace

from mpiexec_runner.api.futures import MapResults, TaskFailed, TaskFuture, value_of
from mpiexec_runner.execute import payload
from mpiexec_runner.model.tasks import Failure, FailureClass, Outcome, TaskState, Verdict
from mpiexec_runner.storage.blobs import MemoryBlobs

GOOD = Outcome(1, 1, Verdict.SUCCEEDED, 0.0, 1.0, value=payload.encode_pickle(7)[0])
BAD = replace(GOOD, verdict=Verdict.FAILED, value=b"", failure=Failure(FailureClass.SIGNAL, "killed"))
UNWANTED = replace(BAD, verdict=Verdict.CANCELLED)


def future() -> TaskFuture:
    return TaskFuture(1, lambda _: None, MemoryBlobs())


@pytest.mark.parametrize(
    ("outcome", "error"),
    [(BAD, TaskFailed), (UNWANTED, CancelledError), (replace(UNWANTED, failure=None), CancelledError)],
)
def test_what_came_to_nothing_is_raised(outcome, error):
    one = future()
    one.settle(outcome)
    assert one.cancelled() is (error is CancelledError)
    with pytest.raises(error):
        one.result(0)
    with pytest.raises(error):
        value_of(outcome, MemoryBlobs())


def test_a_value_is_given():
    one = future()
    one.settle(GOOD)
    assert one.result(0) == 7


@pytest.mark.parametrize(
    ("state", "error"), [(TaskState.CANCELLED, CancelledError), (TaskState.SKIPPED, TaskFailed)]
)
def test_what_had_no_attempt_is_raised(state, error):
    one, results = future(), MapResults()
    one.withdraw(1, state, "why")
    results.withdraw(1, state, "why")
    with pytest.raises(error):
        one.result(0)
    with pytest.raises(error, match="why"):
        results.fetch(1, 0.0, None)
