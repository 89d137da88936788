"""ParallelExecutor over real ranks; at one rank, in a thread of the process."""

import os
import threading
import time
import types
from concurrent.futures import BrokenExecutor, CancelledError, wait
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from mpiexec_runner import ParallelExecutor, TaskFailed
from mpiexec_runner.errors import UserError
from mpiexec_runner.storage.results import columns, read_results
from mpiexec_runner.storage.rundir import RunDirectory

pytestmark = pytest.mark.mpi
COMM = MPI.COMM_WORLD


@pytest.fixture
def executor():
    """On rank 0 an executor; the other ranks work while rank 0 runs the test, and skip its body."""
    with ParallelExecutor(workers="return") as started:
        yield started
    COMM.Barrier()


def square(x):
    return x * x


def on_rank_0(test):
    """The body of a test that only rank 0 goes through: the others have worked and are done."""

    def body(executor):
        if executor is not None:
            test(executor)

    body.__name__, body.__doc__ = test.__name__, test.__doc__
    return body


@on_rank_0
def test_map_gives_results_in_order(executor):
    assert list(executor.map(square, range(5000))) == [x * x for x in range(5000)]


@on_rank_0
def test_map_of_several_iterables_ends_with_the_shortest(executor):
    assert list(executor.map(pow, range(5), [2, 3, 4])) == [0, 1, 16]


@on_rank_0
def test_map_in_chunks(executor):
    assert list(executor.map(square, range(1003), chunksize=10)) == [x * x for x in range(1003)]


@on_rank_0
def test_map_reads_an_endless_iterable_only_as_far_as_needed(executor):
    def endless():
        number = 0
        while True:
            yield number
            number += 1

    results = executor.map(square, endless(), buffersize=100)
    assert [next(results) for _ in range(500)] == [x * x for x in range(500)]
    results.close()


@on_rank_0
def test_lambdas_and_closures_travel(executor):
    offset = 10
    assert list(executor.map(lambda x: x + offset, range(10))) == list(range(10, 20))
    assert executor.submit(lambda *, a: a * offset, a=3).result(60) == 30


@on_rank_0
def test_a_closure_is_sent_as_it_is_at_each_submit(executor):
    numbers = range(600)  # more than are kept on the workers
    futures = [executor.submit(lambda: number) for number in numbers]  # noqa: B023 - that is what is tested
    assert [future.result(60) for future in futures] == list(range(600))


@on_rank_0
def test_exceptions_come_back_with_the_remote_traceback(executor):
    def fails_remotely():
        raise KeyError("missing")

    error = executor.submit(fails_remotely).exception(60)
    assert isinstance(error, KeyError)
    assert "fails_remotely" in str(error.__cause__)


@on_rank_0
def test_an_exception_ends_a_map_where_it_happened(executor):
    results = executor.map(lambda x: 1 // (x - 3), range(10))
    assert [next(results) for _ in range(3)] == [-1, -1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert executor.submit(square, 3).result(60) == 9


@on_rank_0
def test_what_cannot_travel_is_told_and_harms_nothing(executor):
    class Unpicklable(Exception):
        def __reduce__(self):
            raise TypeError("never")

    def raise_it():
        raise Unpicklable("anyway")

    with pytest.raises(TaskFailed, match="anyway"):
        executor.submit(raise_it).result(60)
    with pytest.raises(TaskFailed, match="cannot be sent"):
        executor.submit(lambda: threading.Lock()).result(60)
    with pytest.raises(TypeError):
        executor.submit(square, threading.Lock())
    assert executor.submit(square, 4).result(60) == 16


@on_rank_0
def test_a_task_that_exits_ends_alone(executor):
    with pytest.raises(SystemExit):
        executor.submit(lambda: (_ for _ in ()).throw(SystemExit(3))).result(60)
    assert executor.submit(square, 5).result(60) == 25


@on_rank_0
def test_large_arrays_travel_beside_the_messages(executor):
    array = np.arange(3_000_000, dtype=np.float64)
    doubled = executor.submit(lambda x: 2 * x, array).result(60)
    np.testing.assert_array_equal(doubled, 2 * array)
    text = "x" * 1_000_000
    assert executor.submit(lambda t: t + "y", text).result(60) == text + "y"


@on_rank_0
def test_a_result_is_what_it_was_when_the_task_ended(executor):
    shared = np.zeros(20_000)

    def fill(number):
        shared[:] = number
        return shared

    results = [result[0] for result in executor.map(fill, range(40))]
    assert results == list(range(40))


@on_rank_0
def test_a_large_result_can_be_written_to(executor):
    result = executor.submit(np.zeros, 100_000).result(60)
    result += 1
    assert result.sum() == 100_000


@on_rank_0
def test_exceptions_that_say_odd_things_are_told(executor):
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError("no")

    def odd_name():
        raise ValueError("bad \udcff name")

    def silent():
        raise Silent

    assert isinstance(executor.submit(odd_name).exception(60), ValueError)
    assert executor.submit(silent).exception(60) is not None
    assert executor.submit(square, 2).result(60) == 4


@on_rank_0
def test_submissions_may_interleave_with_a_map(executor):
    fed = executor.map(square, (executor.submit(square, n).result(60) for n in range(5)))
    assert list(fed) == [n**4 for n in range(5)]


@on_rank_0
def test_many_threads_may_submit(executor):
    sums = []

    def feed():
        sums.append(sum(future.result(60) for future in [executor.submit(square, n) for n in range(200)]))

    threads = [threading.Thread(target=feed) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert sums == [sum(n * n for n in range(200))] * 4


@on_rank_0
def test_work_is_done_on_every_worker(executor):
    def rank_and_pause(_):
        time.sleep(0.05)
        return MPI.COMM_WORLD.rank

    ranks = set(executor.map(rank_and_pause, range(4 * COMM.size)))
    assert ranks == (set(range(1, COMM.size)) if COMM.size > 1 else {0})


@on_rank_0
def test_a_pending_future_can_be_cancelled(executor):
    blockers = [executor.submit(time.sleep, 0.5) for _ in range(COMM.size)]
    last = executor.submit(square, 2)
    assert last.cancel()
    with pytest.raises(CancelledError):
        last.result(60)
    wait(blockers, 60)
    assert executor.submit(square, 6).result(60) == 36


@on_rank_0
def test_map_times_out(executor):
    with pytest.raises(TimeoutError):
        list(executor.map(time.sleep, [0.5], timeout=0.01))


@on_rank_0
def test_a_coroutine_function_is_run(executor):
    async def later():
        return 7

    assert executor.submit(later).result(60) == 7


def test_shutdown_can_cancel_what_is_pending():
    with ParallelExecutor(workers="return") as executor:
        if executor is not None:
            futures = [executor.submit(time.sleep, 0.2) for _ in range(50)]
            executor.shutdown(cancel_futures=True)
            assert all(future.done() for future in futures)
            assert any(future.cancelled() for future in futures)
            with pytest.raises((RuntimeError, BrokenExecutor)):
                executor.submit(square, 1)
    COMM.Barrier()


def test_an_initializer_runs_first_on_each_worker():
    def set_up(value):
        os.environ["SET_UP"] = value

    with ParallelExecutor(initializer=set_up, initargs=("yes",), workers="return") as executor:
        if executor is not None:
            assert set(executor.map(lambda _: os.environ.get("SET_UP"), range(20))) == {"yes"}
    COMM.Barrier()


def test_an_initializer_that_fails_breaks_the_executor():
    with ParallelExecutor(initializer=square, initargs=("text",), workers="return") as executor:
        if executor is not None:
            with pytest.raises(BrokenExecutor, match="initializer"):
                executor.submit(square, 1).result(60)
    COMM.Barrier()


def test_isolated_calls_may_crash():
    with ParallelExecutor(isolate=True, workers="return") as executor:
        if executor is not None:
            with pytest.raises(TaskFailed, match="SIGABRT"):
                executor.submit(os.abort).result(60)
            assert executor.submit(square, 8).result(60) == 64
            big = np.ones(1_000_000)
            np.testing.assert_array_equal(executor.submit(lambda x: x + 1, big).result(60), big + 1)
    COMM.Barrier()


def test_an_initializer_of_the_script_is_refused_where_it_would_have_no_effect():
    set_up = types.FunctionType((lambda: None).__code__, {}, "set_up")
    set_up.__module__ = "__main__"
    set_up.__qualname__ = "set_up"
    with pytest.raises(UserError, match="into a module"):
        ParallelExecutor(initializer=set_up, isolate=True)
    COMM.Barrier()


def test_a_run_directory_keeps_the_record(tmp_path_factory):
    path = COMM.bcast(str(tmp_path_factory.mktemp("run") / "kept") if COMM.rank == 0 else None)
    with ParallelExecutor(run_dir=path, workers="return") as executor:
        if executor is not None:
            assert sum(executor.map(square, range(100))) == sum(x * x for x in range(100))
    if COMM.rank == 0:
        assert columns(read_results(RunDirectory.open(Path(path))))["state"] == ["succeeded"] * 100
    COMM.Barrier()
