"""How well a run goes, in numbers."""

from collections.abc import Callable

import msgspec
import pytest
from core_env import Env, began, failed, finished, kind, note, ok, settle, submitted

from mpiexec_runner.core.metrics import fit, measure
from mpiexec_runner.core.settings import LimitSettings
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Violation
from mpiexec_runner.model.commands import RunGroup
from mpiexec_runner.model.events import WorkerBeat
from mpiexec_runner.model.tasks import FailureClass, Needs
from mpiexec_runner.model.workers import Load, WorkerInfo

EnvOf = Callable[..., Env]


def test_a_run_that_has_not_begun() -> None:
    metrics = measure(RunState(), 0.0)
    assert (metrics.throughput, metrics.utilisation, metrics.workers) == (0.0, 0.0, ())
    assert (metrics.load_balance, metrics.capability_match) == (1.0, 1.0)


def test_what_workers_did(env_of: EnvOf) -> None:
    env = env_of(kind(1))
    env.join(1, 2)
    env.on(submitted(1, 2, 3))
    env.sent(env.run(1, {1: 1}), env.run(2, {2: 1}))
    outcome = ok(1, elapsed_s=4.0)
    env.on(finished(1, outcome), after_s=4.0)
    env.sent(settle(outcome), env.run(1, {3: 1}))
    metrics = measure(env.state, 8.0)
    first, second = metrics.workers
    assert (first.done, first.held, first.busy_s, first.utilisation) == (1, 1, 4.0, 0.5)
    assert (second.done, second.held, second.utilisation) == (0, 1, 0.0)
    assert metrics.counts["succeeded"] == 1
    assert metrics.attempts == 3
    assert metrics.queue_wait_s == pytest.approx(4.0 / 3)  # only the third one waited
    assert metrics.throughput == 1 / 8
    assert metrics.utilisation == 0.25
    assert metrics.load_balance == 0.5
    assert (metrics.max_load, metrics.min_load) == (1.0, 1.0)
    env.on(finished(1, ok(3)), finished(2, ok(2)))
    env.sent(settle(ok(3)), settle(ok(2)))


def test_what_runs_is_counted_and_the_largest_that_workers_told_is_kept(env_of: EnvOf) -> None:
    env = env_of(kind(1))
    env.join(1)
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))
    env.on(began(1, (1, 1)))
    env.on(WorkerBeat(1, 1, Load(memory_bytes=5, cpu_percent=90.0, used_bytes=7)))
    env.on(WorkerBeat(1, 1, Load(memory_bytes=6, cpu_percent=10.0, used_bytes=3)), after_s=2.0)
    (worker,) = measure(env.state, 4.0).workers
    assert (worker.busy_s, worker.utilisation) == (2.0, 0.5)
    assert (worker.cpu_percent, worker.peak_cpu_percent, worker.peak_memory_bytes) == (10.0, 90.0, 7)
    metrics = measure(env.state, 4.0, scheduling_s=0.25)
    assert (metrics.peak_cpu_percent, metrics.peak_memory_bytes, metrics.scheduling_s) == (90.0, 7, 0.25)
    assert metrics.kinds == ()
    env.on(finished(1, ok(1, elapsed_s=3.0)))
    env.sent(settle(ok(1, elapsed_s=3.0)))
    (of_kind,) = measure(env.state, 4.0).kinds
    assert (of_kind.name, of_kind.done, of_kind.mean_s) == ("kind1", 1, 3.0)
    assert of_kind.median_s == pytest.approx(3.0, rel=0.09)


def test_each_violation_of_a_limit_is_on_record_once(env_of: EnvOf) -> None:
    env = env_of(
        kind(1, needs=Needs(memory_bytes=40)), limits=LimitSettings(max_cpu_percent=90.0, max_memory=100)
    )
    env.arrive(1, WorkerInfo("node", 1, slots=1, memory_bytes=100))
    env.on(submitted(1))
    env.sent(env.run(1, {1: 1}))

    def told(cpu_percent: float, used_bytes: int) -> None:
        load = Load(cpu_percent=cpu_percent, used_bytes=used_bytes)
        env.on(WorkerBeat(1, 1, load), after_s=1.0)

    start = env.now
    told(95.0, 50)
    env.sent(note(1, "throttled: its host is 95 % busy (limit 90 %)"))
    told(96.0, 200)  # one more while the first lasts
    told(50.0, 200)
    told(50.0, 100)
    env.sent(note(1, "not throttled any more"))
    told(50.0, 1200)
    env.sent(note(1, "throttled: it uses 1,200 bytes (limit 100)"))
    outcome = msgspec.structs.replace(failed(1, why=FailureClass.MEMORY), peak_memory_bytes=60)
    env.on(finished(1, outcome, outcome))
    env.sent(settle(outcome))
    metrics = measure(env.state, 8.0)
    assert metrics.violations == (
        Violation("max_cpu_percent", 1, 95.0, 90.0, start + 1),
        Violation("max_memory", 1, 200.0, 100.0, start + 2),
        Violation("max_memory", 1, 1200.0, 100.0, start + 5),
        Violation("memory", 1, 60.0, 40.0, start + 5, task=1),
    )
    assert metrics.throttled == 2


def test_all_ranks_of_a_group_are_busy(env_of: EnvOf) -> None:
    env = env_of(kind(1, needs=Needs(ranks=2)))
    env.join(1, 2)
    env.on(submitted(1))
    env.sent(RunGroup((1, 2), env.task(1).spec, 1))
    env.on(finished(2, ok(1, elapsed_s=4.0)), finished(1, ok(1, elapsed_s=4.0)))
    env.sent(settle(ok(1, elapsed_s=4.0)))
    metrics = measure(env.state, 8.0)
    assert [worker.utilisation for worker in metrics.workers] == [0.5, 0.5]
    assert (metrics.load_balance, metrics.counts["succeeded"]) == (1.0, 1)


@pytest.mark.parametrize(
    ("needs", "gpus", "tags", "score"),
    [
        (Needs(), 0, ("cpu",), 1.0),
        (Needs(), 2, ("cpu", "gpu"), 0.0),
        (Needs(gpus=1), 2, ("cpu",), 1.0),
        (Needs(gpus=1, tags=("gpu",)), 2, ("cpu", "gpu", "ssd", "network"), 0.5),
        (Needs(tags=("ssd",)), 0, ("ssd",), 1.0),
    ],
)
def test_how_well_a_worker_fits_a_task(needs: Needs, gpus: int, tags: tuple[str, ...], score: float) -> None:
    assert fit(needs, gpus, tags) == score
