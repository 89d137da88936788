"""TaskPipeline, options and control over real ranks; at one rank, in a thread of the process."""

import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from mpiexec_runner import (
    Objective,
    OrchestrationManager,
    ParallelExecutor,
    QueueFull,
    ResourceLimits,
    ScalingSettings,
    TaskFailed,
    TaskPipeline,
)
from mpiexec_runner.errors import ConfigError, UserError
from mpiexec_runner.storage.results import columns, read_results
from mpiexec_runner.storage.rundir import RunDirectory

pytestmark = pytest.mark.mpi
COMM = MPI.COMM_WORLD
WORKERS = max(1, COMM.size - 1)
WITHIN_S = 400


@pytest.fixture
def pipeline():
    """On rank 0 a pipeline; the other ranks work while rank 0 runs the test, and skip its body."""
    with TaskPipeline(workers="return", tools={"say": "echo {script} {x}"}) as started:
        yield started
    COMM.Barrier()


@pytest.fixture
def executor():
    with ParallelExecutor(workers="return") as started:
        yield started
    COMM.Barrier()


def on_rank_0(test):
    """The body of a test that only rank 0 goes through: the others have worked and are done."""

    def body(**fixtures):
        if all(one is not None for one in fixtures.values()):
            test(**fixtures)

    names = test.__code__.co_varnames[: test.__code__.co_argcount]
    scope = {"body": body}
    exec(f"def wrapped({', '.join(names)}): body({', '.join(f'{n}={n}' for n in names)})", scope)
    scope["wrapped"].__name__, scope["wrapped"].__doc__ = test.__name__, test.__doc__
    return scope["wrapped"]


def square(x):
    return x * x


def facts(n):
    return {"n": n, "all": list(range(n))}


def until(what, within_s=WITHIN_S):
    """Poll a condition."""
    give_up = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < give_up, "the condition did not come true"
        time.sleep(0.005)


# --- tasks and what they depend on


@on_rank_0
def test_a_task_has_a_name_a_status_and_a_result(pipeline):
    name = pipeline.submit_task(square, 7)
    assert pipeline.get_result(name, WITHIN_S) == 49
    status = pipeline.get_task_status(name)
    assert (status.state, status.attempt, status.ended) == ("succeeded", 1, True)


@on_rank_0
def test_results_are_arguments_of_later_tasks(pipeline):
    pipeline.submit_task(facts, 5, task_id="facts")
    part = pipeline.result_of("facts")
    pipeline.submit_task(lambda n, all_: (n, sum(all_)), part["n"], all_=part["all"], task_id="sum")
    assert pipeline.get_result("sum", WITHIN_S) == (5, 10)
    late = pipeline.submit_task(square, part["all"][4])  # what it refers to has ended long ago
    assert pipeline.get_result(late, WITHIN_S) == 16


@on_rank_0
def test_large_results_are_too(pipeline):
    pipeline.submit_task(np.arange, 300_000, task_id="array")
    names = [pipeline.submit_task(np.sum, pipeline.result_of("array")) for _ in range(4)]
    assert [pipeline.get_result(name, WITHIN_S) for name in names] == [np.arange(300_000).sum()] * 4
    np.testing.assert_array_equal(pipeline.get_result("array"), np.arange(300_000))


@on_rank_0
def test_commands_and_functions_by_name_use_results_too(pipeline):
    pipeline.submit_task(facts, 3, task_id="facts")
    pipeline.submit_task("echo {n}", n=pipeline.result_of("facts")["n"], task_id="said")
    assert pipeline.get_result("said", WITHIN_S)["stdout"] == "3\n"
    pipeline.submit_task(int, pipeline.output_of("said"), task_id="read")
    assert pipeline.get_result("read", WITHIN_S) == 3
    by_name = {"id": "root", "call": "math:sqrt", "args": [pipeline.result_of("facts")["all"][1]]}
    pipeline.submit_workflow([by_name])
    assert pipeline.get_result("root", WITHIN_S) == 1.0


@on_rank_0
def test_a_part_that_is_not_there_fails_the_task_that_wants_it(pipeline):
    pipeline.submit_task(facts, 3, task_id="facts")
    name = pipeline.submit_task(square, pipeline.result_of("facts")["m"])
    with pytest.raises(TaskFailed, match="facts returned a dict"):
        pipeline.get_result(name, WITHIN_S)


@on_rank_0
def test_a_workflow_comes_in_the_right_order_however_it_is_given(pipeline, tmp_path):
    def touch(name, *needed):
        assert all((tmp_path / one).exists() for one in needed)
        (tmp_path / name).touch()

    tasks = [
        {"id": "d", "call": touch, "args": ["d", "b", "c"], "depends_on": ["b", "c"]},
        {"id": "b", "call": touch, "args": ["b", "a"], "depends_on": "a"},
        {"id": "c", "call": touch, "args": ["c", "a"], "depends_on": "a"},
        {"id": "a", "call": touch, "args": ["a"]},
    ]
    status = pipeline.wait_for_workflow(pipeline.submit_workflow(tasks), WITHIN_S)
    assert status.succeeded
    assert status.counts == {"succeeded": 4}


@on_rank_0
def test_a_sequential_workflow_stops_at_a_failure(pipeline):
    tasks = [
        {"call": square, "args": [2]},
        {"id": "bad", "call": "math:sqrt", "args": [-1]},
        {"call": square},
    ]
    workflow = pipeline.submit_workflow(tasks, sequential=True)
    status = pipeline.wait_for_workflow(workflow, WITHIN_S)
    assert status.counts == {"succeeded": 1, "failed": 1, "skipped": 1}
    last = pipeline.tasks_of(workflow)[-1]
    assert "it depends on bad" in pipeline.get_task_status(last).why
    with pytest.raises(TaskFailed, match="skipped: it depends on bad"):
        pipeline.get_result(last)


@on_rank_0
def test_when_says_after_which_ends_a_task_begins(pipeline):
    pipeline.submit_task(lambda: 1 // 0, task_id="bad")
    pipeline.submit_task(square, 1, task_id="good")
    after = {
        when: pipeline.submit_task(square, 3, depends_on=["bad", "good"], when=when)
        for when in ("success", "any", "failure")
    }
    unneeded = pipeline.submit_task(square, 3, depends_on="good", when="failure")
    assert pipeline.get_result(after["any"], WITHIN_S) == pipeline.get_result(after["failure"], WITHIN_S) == 9
    for name in (after["success"], unneeded):
        pipeline.wait_for_any([name], WITHIN_S)
        assert pipeline.get_task_status(name).state == "skipped"
    with pytest.raises(ZeroDivisionError):
        pipeline.get_result("bad")


@on_rank_0
def test_what_cannot_be_submitted_leaves_nothing_behind(pipeline):
    with pytest.raises(UserError, match="a -> b -> a"):
        pipeline.submit_workflow(
            [{"id": "a", "call": square, "depends_on": "b"}, {"id": "b", "call": square, "depends_on": "a"}]
        )
    with pytest.raises(UserError, match="no task of this pipeline"):
        pipeline.submit_task(square, 1, depends_on="nobody")
    with pytest.raises(UserError, match="plain data"):
        pipeline.submit_task("echo {x}", x=threading)
    with pytest.raises(UserError, match="there is no task a"):
        pipeline.get_task_status("a")
    assert pipeline.submit_workflow([{"id": "a", "call": square, "args": [1]}]) == "workflow-2"
    with pytest.raises(UserError, match="already"):
        pipeline.submit_task(square, 1, task_id="a")
    assert pipeline.get_parallel_execution_stats().total == 1


# --- sweeps, batches, waiting


@on_rank_0
def test_a_sweep_runs_a_tool_for_each_combination(pipeline):
    told = []
    sweep = pipeline.parameter_sweep("say", "in", {"x": [1, 2, 3]}, told.append)
    assert pipeline.wait_for_workflow(sweep, WITHIN_S).succeeded
    said = [pipeline.get_result(name)["stdout"] for name in pipeline.tasks_of(sweep)]
    assert said == ["in 1\n", "in 2\n", "in 3\n"]
    until(lambda: len(told) == 3)
    assert {status.state for status in told} == {"succeeded"}


@on_rank_0
def test_batches_come_one_after_the_other(pipeline):
    read, batches = [], []

    def tasks():
        for number in range(7):
            read.append(number)
            yield {"call": square, "args": [number]}

    def note(batch):
        batches.append(([status.state for status in batch], len(read)))

    workflow = pipeline.submit_batch_workflow(tasks(), 3, note)
    status = pipeline.wait_for_workflow(workflow, WITHIN_S)
    assert (status.total, status.succeeded) == (7, True)
    # When a batch has ended, nothing of the next one has been read.
    assert batches == [(["succeeded"] * 3, 3), (["succeeded"] * 3, 6), (["succeeded"], 7)]


def test_what_a_callback_raises_is_raised_where_the_pipeline_is_left():
    def refuse(batch):
        raise LookupError("enough")

    tasks = [{"call": square, "args": [number]} for number in range(4)]
    caught = None
    try:
        with TaskPipeline(workers="return") as pipeline:
            if pipeline is not None:
                workflow = pipeline.submit_batch_workflow(tasks, 2, refuse)
                with pytest.raises(LookupError):
                    pipeline.wait_for_workflow(workflow, WITHIN_S)
                assert pipeline.get_workflow_status(workflow).total == 2
    except LookupError as error:
        caught = error
    assert (caught is not None) == (COMM.rank == 0)
    COMM.Barrier()


def test_callbacks_may_submit_more_and_the_block_waits_for_it():
    done = []
    with TaskPipeline(workers="return") as pipeline:
        if pipeline is not None:

            def again(status):
                done.append(pipeline.get_result(status.id))
                if len(done) < 3:
                    pipeline.parameter_sweep(square, None, {"x": [len(done)]}, again)

            pipeline.parameter_sweep(square, None, {"x": [0]}, again)
    assert done == ([0, 1, 4] if COMM.rank == 0 else [])
    COMM.Barrier()


@on_rank_0
def test_the_first_to_end_wins_and_the_others_are_cancelled(pipeline):
    fast = pipeline.submit_task("true")
    slow = [pipeline.submit_task("sleep 100") for _ in range(2 * WORKERS)]
    assert pipeline.wait_for_any([*slow, fast], WITHIN_S) == fast
    assert pipeline.cancel_tasks(slow) == len(slow)
    for name in slow:
        with pytest.raises(CancelledError):
            pipeline.get_result(name, WITHIN_S)


@on_rank_0
def test_waiting_ends_in_time(pipeline):
    gate = pipeline.submit_task("sleep 100")
    workflow = pipeline.submit_workflow([{"call": square, "args": [1], "depends_on": gate}])
    seen = []
    with pytest.raises(TimeoutError):
        pipeline.wait_for_any([gate], 0.01)
    with pytest.raises(TimeoutError):
        pipeline.get_result(gate, 0.01)
    with pytest.raises(TimeoutError):
        pipeline.wait_for_workflow(workflow, 0.1, seen.append, poll_interval=0.01)
    assert seen[-1].counts == {"waiting": 1}
    assert pipeline.cancel_task(gate)
    assert pipeline.wait_for_workflow(workflow, WITHIN_S).counts == {"skipped": 1}
    assert not pipeline.cancel_task(gate)


# --- control


@on_rank_0
def test_a_pause_holds_back_what_has_not_begun(pipeline):
    pipeline.pause()
    names = [pipeline.submit_task(square, n) for n in range(3)]
    until(lambda: all(pipeline.get_task_status(name).state == "ready" for name in names))
    pipeline.go_on()
    assert [pipeline.get_result(name, WITHIN_S) for name in names] == [0, 1, 4]


def test_a_pause_ends_with_the_block():
    futures, names = [], []
    with ParallelExecutor(workers="return") as executor:
        if executor is not None:
            executor.pause()
            futures = [executor.submit(square, n) for n in range(3)]
    assert [future.result(0) for future in futures] == [0, 1, 4][: len(futures)]
    with TaskPipeline(workers="return") as pipeline:
        if pipeline is not None:
            pipeline.pause()
            names = [pipeline.submit_task(square, n) for n in range(3)]
    assert [pipeline.get_result(name) for name in names] == [0, 1, 4][: len(names)]
    COMM.Barrier()


@on_rank_0
def test_a_failed_task_is_tried_once_more_by_hand(pipeline, tmp_path):
    path = tmp_path / "there"
    pipeline.submit_task(path.read_text, task_id="read")
    pipeline.submit_task(len, pipeline.result_of("read"), task_id="length")
    pipeline.wait_for_any(["length"], WITHIN_S)
    assert pipeline.get_task_status("length").state == "skipped"
    path.write_text("now")
    pipeline.retry_task("read")
    assert pipeline.get_result("length", WITHIN_S) == 3
    with pytest.raises(UserError, match="is succeeded"):
        pipeline.retry_task("read")


@on_rank_0
def test_what_is_skipped_says_what_to_retry_and_comes_along(pipeline, tmp_path):
    path = tmp_path / "there"
    pipeline.submit_task(path.read_text, task_id="read")
    pipeline.submit_task(len, pipeline.result_of("read"), task_id="length")
    pipeline.submit_task(square, pipeline.result_of("length"), task_id="area")
    pipeline.wait_for_any(["area"], WITHIN_S)
    with pytest.raises(UserError, match="area was skipped because of read: retry that, and area comes along"):
        pipeline.retry_task("area")
    path.write_text("now")
    pipeline.retry_task("read")
    assert pipeline.get_result("area", WITHIN_S) == 9


@on_rank_0
def test_a_retry_may_come_before_what_was_skipped_is_told(pipeline, tmp_path):
    """The failure is told first, and at once somebody asks: all that is skipped by it runs again, too."""
    path = tmp_path / "there"
    names = [f"length-{n}" for n in range(50)]
    pipeline.submit_workflow(
        [{"id": "read", "call": path.read_text}]
        + [{"id": name, "call": len, "args": (pipeline.result_of("read"),)} for name in names]
    )
    pipeline.wait_for_any(["read"], WITHIN_S)
    path.write_text("now")
    pipeline.retry_task("read")
    assert [pipeline.get_result(name, WITHIN_S) for name in names] == [3] * 50


@on_rank_0
def test_it_is_told_when_all_workers_are_disabled_and_goes_on_when_one_is_enabled(executor, caplog):
    executor.submit(square, 1)
    until(lambda: len(executor.metrics().workers) == WORKERS)
    ranks = [worker.worker for worker in executor.metrics().workers]
    for rank in ranks:
        executor.disable_worker(rank, "for the test")
    future = executor.submit(square, 3)
    until(lambda: "enable_worker(RANK)" in caplog.text)
    assert "tasks wait for workers that take no new work: rank" in caplog.text
    assert "disabled by hand: for the test" in caplog.text
    assert not future.done()
    executor.enable_worker(ranks[-1])
    assert future.result(WITHIN_S) == 9


@on_rank_0
def test_labels_are_cancelled_together(executor):
    executor.pause()
    some = executor.options(labels=["some"])
    futures = [some.submit(square, n) for n in range(5)]
    other = executor.submit(square, 9)
    executor.cancel(label="some")
    until(lambda: all(future.cancelled() for future in futures))
    executor.go_on()
    assert other.result(WITHIN_S) == 81


@on_rank_0
def test_urgent_calls_go_first(executor):
    executor.pause()
    lock, order = threading.Lock(), []

    def note(name):
        return lambda _: lock.acquire() and (order.append(name), lock.release())

    slow = executor.options(cpus=1)  # each takes a worker for itself while it is noted
    futures = [slow.submit(time.sleep, 0.05) for _ in range(3 * WORKERS)]
    raised = slow.submit(time.sleep, 0.05)
    urgent = executor.options(priority=10).submit(square, 2)
    executor.set_priority([raised], 9)
    raised.add_done_callback(note("raised"))
    urgent.add_done_callback(note("urgent"))
    futures[-1].add_done_callback(note("last"))
    executor.go_on()
    futures[-1].result(WITHIN_S)
    until(lambda: len(order) == 3)
    assert order[-1] == "last"


@on_rank_0
def test_a_disabled_worker_gets_nothing(executor):
    if WORKERS < 2:
        return
    assert executor.submit(square, 1).result(WITHIN_S) == 1
    until(lambda: len(executor.metrics().workers) == WORKERS)
    executor.disable_worker(1, "it is slow")
    until(lambda: executor.metrics().workers[0].why_idle)
    ranks = set(executor.map(lambda _: (time.sleep(0.01), MPI.COMM_WORLD.rank)[1], range(4 * WORKERS)))
    assert 1 not in ranks
    assert "it is slow" in executor.metrics().workers[0].why_idle
    executor.enable_worker(1)
    until(lambda: not executor.metrics().workers[0].why_idle)


@on_rank_0
def test_a_time_out_ends_a_call(executor):
    with pytest.raises(TaskFailed, match="time-out"):
        executor.options(timeout_s=0.2).submit(time.sleep, 100).result(WITHIN_S)


@on_rank_0
def test_a_group_of_ranks_gets_a_communicator(executor):
    if WORKERS < 2:
        return
    together = executor.options(ranks=2)
    assert together.submit(lambda comm, x: comm.allreduce(x), 21).result(WITHIN_S) == 42


@on_rank_0
def test_a_group_that_no_job_could_run_is_refused(executor):
    with pytest.raises(TaskFailed, match="no worker can run it"):
        executor.options(ranks=WORKERS + 1).submit(lambda comm: 1).result(WITHIN_S)


# --- limits, scheduling, record


@pytest.mark.parametrize("on_full", ["block", "refuse"])
def test_the_queue_is_bounded(on_full):
    limits = ResourceLimits(max_queue_size=3, on_full=on_full)
    with ParallelExecutor(workers="return", limits=limits) as executor:
        if executor is not None:
            executor.pause()
            futures = [executor.submit(square, n) for n in range(3)]
            if on_full == "refuse":
                with pytest.raises(QueueFull):
                    executor.submit(square, 3)
                executor.go_on()
            else:
                threading.Timer(0.05, executor.go_on).start()
                futures.append(executor.submit(square, 3))
            assert [future.result(WITHIN_S) for future in futures] == [n * n for n in range(len(futures))]
            assert list(executor.map(square, range(20))) == [n * n for n in range(20)]
    COMM.Barrier()


def test_so_many_run_at_once_and_no_more(tmp_path_factory):
    limits = ResourceLimits(max_concurrent_tasks=1)
    with TaskPipeline(workers="return", limits=limits, scheduler={"placement": "round_robin"}) as pipeline:
        if pipeline is not None:
            sweep = pipeline.parameter_sweep(time.sleep, None, {}, options={"args": [0.01]})
            pipeline.wait_for_workflow(sweep, WITHIN_S)
            workflow = pipeline.submit_workflow({"call": time.sleep, "args": [0.02]} for _ in range(6))
            pipeline.wait_for_workflow(workflow, WITHIN_S)
            assert pipeline.get_parallel_execution_stats(workflow).parallelism == 1
    COMM.Barrier()


@pytest.mark.parametrize(
    ("given", "said"), [({"placement": "bestest"}, "no such policy"), ({"plaecment": "random"}, "plaecment")]
)
def test_a_wrong_setting_is_told_at_once(given, said):
    def begin():
        with ParallelExecutor(workers="return", scheduler=given):
            pass

    # What is wrong in itself is refused on every rank; a policy is looked for by rank 0.
    if COMM.rank == 0 or "plaecment" in given:
        with pytest.raises((UserError, ConfigError), match=said):
            begin()
    else:
        begin()
    COMM.Barrier()


def test_the_record_names_tasks(tmp_path_factory):
    path = COMM.bcast(str(tmp_path_factory.mktemp("run") / "kept") if COMM.rank == 0 else None)
    with TaskPipeline(run_dir=path, workers="return") as pipeline:
        if pipeline is not None:
            pipeline.submit_task("echo {x}", x="hello", task_id="said")
            pipeline.submit_task(len, pipeline.output_of("said"), task_id="length")
            assert pipeline.get_result("length", WITHIN_S) == 5
    if COMM.rank == 0:
        table = columns(read_results(RunDirectory.open(Path(path))))
        assert table["name"] == ["said", "length"]
        assert table["state"] == ["succeeded"] * 2
    COMM.Barrier()


# --- suites and numbers


@on_rank_0
def test_a_suite_is_one_workload_with_priorities(pipeline):
    suite = [
        Objective(name="squares", call=square, parameters={"x": range(20)}),
        Objective(name="urgent", call=square, parameters=[{"x": 30}], priority=9),
        Objective(name="said", tool="say", script="in", parameters={"x": [1]}),
        Objective(name="bad", call="math:sqrt", parameters=[{}]),
    ]
    seen = []
    report = OrchestrationManager(pipeline).run_benchmark_suite(suite, timeout=WITHIN_S, callback=seen.append)
    assert report.objectives["squares"].values == [x * x for x in range(20)]
    assert report.objectives["urgent"].values == [900]
    assert report.objectives["said"].values[0]["stdout"] == "in 1\n"
    assert report.objectives["bad"].values == [None]
    assert "bad-0001" in report.objectives["bad"].failures
    assert (report.stats.total, report.stats.completed, report.stats.failed) == (23, 22, 1)
    assert report.objectives["squares"].stats.total == 20
    assert report.metrics.counts["succeeded"] == 22
    assert seen[-1]["squares"].succeeded


@on_rank_0
def test_a_suite_that_cannot_be_submitted_submits_nothing(pipeline):
    manager = OrchestrationManager(pipeline)
    for wrong in ([], [square, square], [Objective(name="none", call=square, parameters={"x": []})], [3]):
        with pytest.raises(UserError):
            manager.run_benchmark_suite(wrong)
    assert pipeline.get_parallel_execution_stats().total == 0


@on_rank_0
def test_active_workers_follow_the_work(pipeline):
    scaling = ScalingSettings(min_workers=1, patience=1)
    with pipeline.auto_scale(scaling) as history:
        until(lambda: history and history[-1][1] == 1)  # nothing to do
        workflow = pipeline.submit_workflow({"command": "sleep 0.6"} for _ in range(3 * WORKERS))
        until(lambda: history[-1][1] == WORKERS)
        assert pipeline.wait_for_workflow(workflow, WITHIN_S).succeeded
        until(lambda: history[-1][1] == 1)
    until(lambda: not any(worker.why_idle for worker in pipeline.metrics().workers))


@on_rank_0
def test_a_run_is_measured(executor):
    assert sum(executor.map(square, range(100))) == 328350
    metrics = executor.metrics()
    assert metrics.counts["succeeded"] == 100
    assert sum(worker.done for worker in metrics.workers) == 100
    assert 0 < metrics.load_balance <= 1
    assert metrics.throughput > 0
