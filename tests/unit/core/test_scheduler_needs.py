"""What tasks ask of the machines, and limits on how many run at once."""

from collections.abc import Callable

from core_env import Env, beat, died, finished, joined, kind, note, ok, over, submitted, welcome

from mpiexec_runner.core.settings import LimitSettings
from mpiexec_runner.model.commands import RunEnd, RunTasks, SettleWithout
from mpiexec_runner.model.events import MoveRequested, SubmissionsClosed
from mpiexec_runner.model.tasks import Needs, TaskState
from mpiexec_runner.model.workers import WorkerInfo

EnvOf = Callable[..., Env]
SMALL = WorkerInfo("node", 1, slots=4, cores=4, memory_bytes=100)
GPU = WorkerInfo("node", 2, slots=1, cores=4, gpus=1, tags=("gpu",))
ON_GPU = kind(2, needs=Needs(tags=("gpu",)))


def test_cores_and_memory_are_never_oversubscribed(env_of: EnvOf) -> None:
    env = env_of(kind(1, needs=Needs(cpus=2)), kind(2, needs=Needs(memory_bytes=60)))
    env.arrive(1, SMALL)
    env.on(submitted(1, 2, 3))
    env.sent(env.run(1, {1: 1, 2: 1}))
    env.on(submitted(4, 5, kind=2))
    env.sent(env.run(1, {4: 1}))


def test_what_nobody_could_run_is_refused_when_all_are_there_also_later(env_of: EnvOf) -> None:
    env = env_of(ON_GPU, expected=1)
    why = "no worker can run it: no worker has the tag gpu"
    env.on(submitted(1, kind=2))
    env.on(joined(1))
    env.sent(note(1, "joined from node"), welcome(1), SettleWithout(1, TaskState.FAILED, why))
    env.on(beat(1))
    env.are(TaskState.FAILED, 1)
    env.on(submitted(2, kind=2))
    env.sent(SettleWithout(2, TaskState.FAILED, why))


def test_the_run_ends_resumable_when_the_only_capable_worker_is_lost(env_of: EnvOf) -> None:
    env = env_of(kind(1), ON_GPU)
    env.join(1)
    env.arrive(2, GPU)
    env.on(died(2), submitted(1, kind=2), SubmissionsClosed())
    env._unclaimed.clear()
    env.silence(89.9, 1)
    env.on(after_s=0.2)
    why = "no worker that is left can run what is left: 1 tasks"
    env.sent(over(RunEnd.STARVED, why))


def test_a_move_does_not_oversubscribe_its_target(env_of: EnvOf) -> None:
    env = env_of(kind(1, needs=Needs(cpus=4)))
    env.arrive(1, SMALL)
    env.on(submitted(1, 2))
    env.sent(env.run(1, {1: 1}))
    env.on(MoveRequested(2, 1))
    env.on(finished(1, ok(1)))
    env._unclaimed.clear()
    env.holds(1, 2)


def test_an_urgent_task_passes_nobody_whose_cores_are_taken(env_of: EnvOf) -> None:
    urgent = kind(2, needs=Needs(cpus=1), priority=10)
    env = env_of(kind(1), urgent, kind(3, needs=Needs(cpus=1)))
    env.join(1)
    env.measure(0.001)
    env.on(submitted(2, kind=3), submitted(3, 4))
    env._unclaimed.clear()
    env.on(submitted(5, kind=2))
    env.are(TaskState.READY, 5)


def test_a_limit_of_a_host_counts_once_for_all_its_workers(env_of: EnvOf) -> None:
    env = env_of(limits=LimitSettings(per_host=2))
    env.join(1, 2, 3)
    env.on(submitted(1, 2, 3))
    assert sum(len(command.tasks) for command in env._unclaimed if isinstance(command, RunTasks)) == 2
    env._unclaimed.clear()


def test_a_limit_of_a_label(env_of: EnvOf) -> None:
    env = env_of(kind(1, labels=("licence",)), limits=LimitSettings(per_label={"licence": 1}))
    env.join(1, 2)
    env.on(submitted(1, 2))
    env._unclaimed.clear()
    env.are(TaskState.READY, 2)
