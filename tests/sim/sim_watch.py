"""What must never happen on a virtual cluster, whatever the scheduler does: the watch raises when it does.

It looks at what workers really do (an ``Observer``) and at what the hub says, after each batch.
"""

from collections import Counter
from collections.abc import Sequence

from mpiexec_runner.core import invariants
from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.settings import LimitSettings
from mpiexec_runner.model.commands import AnyCommand, SettleTasks, SettleWithout
from mpiexec_runner.model.events import AnyEvent
from mpiexec_runner.model.tasks import TaskKind, TaskSpec, TaskState, Verdict, When
from mpiexec_runner.model.workers import WorkerState
from mpiexec_runner.sim.report import Report
from mpiexec_runner.sim.worker import VirtualWorker

ENDS = {
    Verdict.SUCCEEDED: TaskState.SUCCEEDED,
    Verdict.FAILED: TaskState.FAILED,
    Verdict.CANCELLED: TaskState.CANCELLED,
}
Running = dict[tuple[int, int, int], tuple[VirtualWorker, TaskSpec]]


class Watch:
    """Watches one run."""

    def __init__(self, kinds: Sequence[TaskKind], limits: LimitSettings) -> None:
        self._kinds = {kind.id: kind for kind in kinds}
        self._limits = limits
        self._core: TaskScheduler | None = None
        self._running: Running = {}
        self.settled: dict[int, TaskState] = {}
        self.trace: list[tuple[object, ...]] = []
        self.most: Counter[str] = Counter()

    # --- the hub

    def after_batch(
        self, core: TaskScheduler, events: Sequence[AnyEvent], commands: Sequence[AnyCommand], now: float
    ) -> None:
        self._core = core
        invariants.check(core.state)
        for command in commands:
            match command:
                case SettleTasks(outcomes):
                    for outcome in outcomes:
                        self._settle(outcome.task, ENDS[outcome.verdict])
                case SettleWithout(task, state):
                    self._settle(task, state)

    def _settle(self, task: int, state: TaskState) -> None:
        assert task not in self.settled, f"task {task} ended {self.settled[task].name}, and then {state.name}"
        self.settled[task] = state

    def check_end(self, report: Report, tasks: Sequence[int]) -> None:
        """After the run: every task is accounted for."""
        counts = Counter(state.name for state in self.settled.values())
        told = (report.succeeded, report.failed, report.cancelled, report.skipped)
        assert told == tuple(counts[name] for name in ("SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"))
        if report.end == "complete":
            assert sorted(self.settled) == sorted(tasks), "every task ends"
        assert report.bound_s <= report.oracle_s

    # --- the workers

    def begun(self, worker: VirtualWorker, spec: TaskSpec, attempt: int, now: float) -> None:
        self.trace.append((now, "begun", worker.id, spec.id, attempt))
        self._running[worker.id, spec.id, attempt] = worker, spec
        assert not worker.dead
        on_it = sum(holder is worker for holder, _ in self._running.values())
        assert on_it <= worker.info.slots, f"worker {worker.id} has {worker.info.slots} slots, runs {on_it}"
        if not self._counts(worker, spec, attempt):
            return  # an attempt that the hub has given up, or that nobody needs any more
        self._check_dependencies(spec)
        self._check_worker(worker)
        self._check_limits()
        self._check_alone(spec)

    def ended(
        self, worker: VirtualWorker, spec: TaskSpec, attempt: int, verdict: Verdict | None, now: float
    ) -> None:
        how = "lost" if verdict is None else verdict.name.lower()
        self.trace.append((now, how, worker.id, spec.id, attempt))
        del self._running[worker.id, spec.id, attempt]

    def _counts(self, worker: VirtualWorker, spec: TaskSpec, attempt: int) -> bool:
        """Whether the hub counts on what this worker does with this task."""
        known = self._core.state.workers[worker.id]
        there = known.state in (WorkerState.ALIVE, WorkerState.SUSPECT)
        return there and known.incarnation == worker.incarnation and spec.id not in self.settled

    def _counted(self) -> list[tuple[VirtualWorker, TaskSpec, int]]:
        return [
            (worker, spec, attempt)
            for (_, _, attempt), (worker, spec) in self._running.items()
            if self._counts(worker, spec, attempt)
        ]

    def _check_dependencies(self, spec: TaskSpec) -> None:
        ends = [self.settled.get(id_) for id_ in spec.after]
        assert None not in ends, f"task {spec.id} began before all of {spec.after} had ended"
        if spec.when is When.SUCCESS:
            assert all(end is TaskState.SUCCEEDED for end in ends), f"task {spec.id} began after {ends}"
        elif spec.when is When.FAILURE:
            assert {TaskState.FAILED, TaskState.SKIPPED} & set(ends), f"task {spec.id} began after {ends}"

    def _check_worker(self, worker: VirtualWorker) -> None:
        """The tasks of a worker fit it together, and each has the tags that it wants."""
        needs = [self._kinds[spec.kind].needs for holder, spec, _ in self._counted() if holder is worker]
        info, where = worker.info, f"on worker {worker.id}"
        assert sum(need.cpus for need in needs) <= info.cores, f"more cores than there are {where}"
        assert sum(need.memory_bytes for need in needs) <= info.memory_bytes, f"too much memory {where}"
        assert sum(need.gpus for need in needs) <= info.gpus, f"more devices than there are {where}"
        for need in needs:
            assert set(need.tags) <= set(info.tags), f"a task without its tags {where}"

    def _check_limits(self) -> None:
        """Limits count tasks, so the members of a group are one, and each task on a host is one there."""
        tasks = {(spec.id, attempt): spec for _, spec, attempt in self._counted()}
        hosts = {(worker.info.host, spec.id, attempt) for worker, spec, attempt in self._counted()}
        per_host = Counter(host for host, _, _ in hosts)
        per_label: Counter[str] = Counter()
        for spec in tasks.values():
            of = self._kinds[spec.kind]
            per_label.update({*of.labels, *of.needs.tags})
        self._hold("at once", len(tasks), self._limits.concurrent)
        for host, count in per_host.items():
            self._hold(f"on {host}", count, self._limits.per_host)
        for label, count in per_label.items():
            self._hold(f"with label {label}", count, self._limits.per_label.get(label))

    def _hold(self, what: str, count: int, limit: int | None) -> None:
        self.most[what] = max(self.most[what], count)
        assert limit is None or count <= limit, f"{count} tasks run {what}, the limit is {limit}"

    def _check_alone(self, spec: TaskSpec) -> None:
        """No task has more than two attempts, and none a second one that must not."""
        attempts = {attempt for _, other, attempt in self._counted() if other.id == spec.id}
        most = 2 if self._kinds[spec.kind].speculate else 1
        assert len(attempts) <= most, f"task {spec.id} has {len(attempts)} attempts at once"
