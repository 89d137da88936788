"""How attempts end and what follows for their tasks: success, another try, the end of what depends on them.

The first result of a task wins. A failure counts only when no other attempt of the task is left.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from mpiexec_runner.core.fleet import Fleet
from mpiexec_runner.core.graph import Graph
from mpiexec_runner.core.heartbeat import HeartbeatManager
from mpiexec_runner.core.hosts import Hosts
from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.core.ports import Retry
from mpiexec_runner.core.queue import Requirement
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.stragglers import TELLING_S, note_speed
from mpiexec_runner.core.tasks import NOBODY, Task, Violation, Worker
from mpiexec_runner.model.commands import (
    AnyCommand,
    CancelAttempts,
    NoteWorker,
    RetractTasks,
    SettleTasks,
    SettleWithout,
)
from mpiexec_runner.model.decisions import Again
from mpiexec_runner.model.tasks import Failure, FailureClass, Outcome, Result, TaskState, Verdict

Draw = Callable[[str], float]
"""A random number in [0, 1) that depends on the run's seed and a text only."""
DERIVED = 2**32
"""Kinds from this number on are made of others, with more memory."""
GANG_GRACE_S = 60.0
"""How long the ranks of a gang that failed may take to tell of it."""


class Desk(NamedTuple):
    """What the parts of the scheduler share; ``out`` is where commands are put."""

    state: RunState
    fleet: Fleet
    graph: Graph
    hosts: Hosts
    heartbeats: HeartbeatManager
    out: list[AnyCommand]


class Outcomes:
    """Books how attempts ended."""

    def __init__(self, desk: Desk, retry: Retry, draw: Draw) -> None:
        self._state, self._fleet, self._graph, self._hosts, _, self._out = desk
        self._retry, self._draw = retry, draw

    def take(self, worker: Worker | None, outcomes: list[Outcome]) -> None:
        """Book what a worker tells."""
        state = self._state
        state.stirred = state.now
        settled: list[Outcome] = []
        swift = self._is_swift(worker)
        for outcome in outcomes:
            task = state.tasks.get(outcome.task)
            if (
                swift
                and task is not None
                and task.worker == worker.id  # type: ignore[union-attr]
                and task.attempt == outcome.attempt
                and task.kind.plain
                and outcome.verdict is Verdict.SUCCEEDED
            ):
                self._succeed_swiftly(worker, task, outcome)  # type: ignore[arg-type]
                settled.append(outcome)
                continue
            if worker is not None and worker.disabled and worker.disabled == _stuck_in(outcome.task):
                worker.disabled = ""  # it has come out of it; whoever takes the outcomes tells the fleet
            if task is None or task.state >= TaskState.SUCCEEDED:
                state.superseded += 1
            elif outcome.task in state.gangs:
                self._take_from_gang(worker, task, outcome, settled)
            else:
                self._take(worker, task, outcome, settled)
        if settled:
            self._out.append(SettleTasks(settled))
            if state.awaited:
                for outcome in settled:
                    self.free_dependents(state.tasks.get(outcome.task))

    def _take(self, worker: Worker | None, task: Task, outcome: Outcome, settled: list[Outcome]) -> None:
        state = self._state
        id_ = task.spec.id
        current = worker is not None and state.attempt_on(task, worker) == outcome.attempt
        if not 0 < outcome.attempt <= task.attempt and id_ in state.blockers:
            state.superseded += 1  # nobody was sent it: what it depends on is not at its end
        elif task.kind.is_gang:
            state.superseded += 1  # one rank of a gang that is no more: its value is not that of all
        elif outcome.verdict is Verdict.SUCCEEDED:
            if current and id_ in state.twins and worker.id != task.worker:  # type: ignore[union-attr]
                state.tally.speculations_won += 1
            self._succeed(worker, task, outcome)
            settled.append(outcome)
        elif not current or worker is None:
            state.superseded += 1
        else:
            self._note_excess(worker, task, outcome)
            if self.let_go(worker, task):
                state.superseded += 1  # its twin goes on
            else:
                self._fail(worker, task, outcome, settled)

    def came_out(self, worker: Worker) -> None:
        """A worker begins anew: it is stuck in no gang any more."""
        if worker.disabled.startswith(_STUCK):
            worker.disabled = ""

    # --- success

    def _is_swift(self, worker: Worker | None) -> bool:
        """Whether nothing in the run asks for more than the books of a task and its worker."""
        state = self._state
        return (
            worker is not None
            and not worker.disabled
            and state.usage is None
            and not (state.twins or state.hosts or state.avoided or state.pinned or state.suspects)
        )

    def _succeed_swiftly(self, worker: Worker, task: Task, outcome: Outcome) -> None:
        """Book what happens a million times: it does no less than :meth:`_succeed` in such a run."""
        state, kind, spec, elapsed_s = self._state, task.kind, task.spec, outcome.elapsed_s
        held = worker.tasks
        del held[spec.id]
        state.counts[task.state] -= 1
        state.counts[TaskState.SUCCEEDED] += 1
        if task.state is TaskState.RUNNING:
            worker.running -= 1
        task.state, task.worker = TaskState.SUCCEEDED, NOBODY
        worker.backlog_s = worker.backlog_s - task.expected_s if held else 0.0
        worker.in_gang = False
        worker.done += 1
        worker.busy_s += elapsed_s
        self._measure(worker, kind, elapsed_s)
        if spec.site:
            state.sites[spec.site] = worker.id
        if spec.id in state.awaited:
            state.sites[f"#{spec.id}"] = worker.id
            if self._is_used(spec.id):
                result = Result(spec.id, TaskState.SUCCEEDED, spec.name, outcome.value, outcome.blob)
                state.results[spec.id] = result
        elif not (kind.spec.keep or spec.after):
            del state.tasks[spec.id]

    def _measure(self, worker: Worker, kind: Kind, elapsed_s: float) -> None:
        """Learn from a duration what the kind and the worker are like."""
        state = self._state
        # The first tasks to end are the shortest of those that began together: they judge nobody.
        if kind.median_s >= TELLING_S and kind.measured >= state.counts[TaskState.RUNNING]:
            note_speed(worker, kind, elapsed_s)
        if kind.measure(elapsed_s, worker.slowness) and kind.spec.timeout_factor is not None:
            state.overdue_at = state.now

    def _succeed(self, worker: Worker | None, task: Task, outcome: Outcome) -> None:
        state, kind, id_ = self._state, task.kind, task.spec.id
        self._withdraw(worker, task)
        if worker is not None:
            worker.done += 1
            worker.busy_s += outcome.elapsed_s
            self._measure(worker, kind, outcome.elapsed_s)
            if state.hosts:
                for opened in self._hosts.succeeded(worker, task.spec.site):
                    self._fleet.changed(opened)  # it was probed, and has room for more than one task again
            if task.spec.site:
                state.sites[task.spec.site] = worker.id
            if id_ in state.awaited:
                state.sites[f"#{id_}"] = worker.id
        if kind.spec.keep_result or (id_ in state.awaited and self._is_used(id_)):
            state.results[id_] = Result(id_, TaskState.SUCCEEDED, task.spec.name, outcome.value, outcome.blob)
        if state.blockers:
            state.blockers.pop(id_, None)  # a late result of a task that was to be tried once more
        state.move(task, TaskState.SUCCEEDED)

    def _withdraw(self, winner: Worker | None, task: Task) -> None:
        """Take a task off all books; whoever else runs it is told to end it."""
        state = self._state
        if task.worker == NOBODY:
            return
        for holder, attempt in state.holders(task):
            state.release(holder, task)
            if holder is not winner:
                self._out.append(CancelAttempts(holder.id, [(task.spec.id, attempt)]))
                self._fleet.changed(holder)  # after its release: it may have nothing to do now
        if state.twins:
            state.twins.pop(task.spec.id, None)

    def _is_used(self, id_: int) -> bool:
        tasks = self._state.tasks
        for id_of_other in self._state.dependents[id_]:
            other = tasks.get(id_of_other)
            if other is not None and id_ in other.spec.uses and other.state is not TaskState.SUCCEEDED:
                return True
        return False

    # --- attempts that came to nothing

    def let_go(self, worker: Worker, task: Task) -> bool:
        """Take an attempt off a worker's books; whether another attempt of the task goes on."""
        state = self._state
        twin = state.twins.get(task.spec.id) if state.twins else None
        if twin is None:
            state.release(worker, task)
            return False
        if twin.worker == worker.id:
            state.release(worker, task)
            twin.worker = NOBODY
            return True
        state.release(worker, task)
        if twin.worker == NOBODY:
            del state.twins[task.spec.id]
            return False
        # The second attempt is the only one now, and gets none beside it: else failures would never count.
        heir = state.workers[twin.worker]
        task.worker, task.began = heir.id, twin.began
        twin.worker, twin.attempt = NOBODY, twin.attempt + 1
        heir.running += task.state is TaskState.RUNNING
        return True

    def _fail(self, worker: Worker, task: Task, outcome: Outcome, settled: list[Outcome]) -> None:
        """Settle the failure of the last attempt of a task, unless it is to be tried again."""
        state = self._state
        task.crashes = 0
        if task.cancelling:  # however it ended: nobody wants to know what became of it
            state.move(task, TaskState.CANCELLED)
            settled.append(msgspec.structs.replace(outcome, verdict=Verdict.CANCELLED))
            return
        if outcome.verdict is Verdict.CANCELLED:  # the run is being abandoned: the task is for the next life
            state.make_ready(task, front=True)
            return
        worker.failed += 1
        worker.busy_s += outcome.elapsed_s
        state.tally.failures += 1
        self._blame(worker, task.spec.site)
        again = self._decide(task, outcome)
        if again is None or not self._raise_memory(task, again.memory_factor):
            state.move(task, TaskState.FAILED)
            settled.append(outcome)
            return
        task.retries += 1
        state.tally.retries += 1
        if again.elsewhere:
            avoided = state.avoided.setdefault(task.spec.id, [])
            if worker.id not in avoided:
                avoided.append(worker.id)
        state.postpone(task, state.now + again.delay_s)

    def _note_excess(self, worker: Worker, task: Task, outcome: Outcome) -> None:
        """Put on record that an attempt was ended because it took more memory than it may."""
        if outcome.failure is not None and outcome.failure.kind is FailureClass.MEMORY:
            limit, found = float(task.kind.spec.needs.memory_bytes), float(outcome.peak_memory_bytes)
            violation = Violation("memory", worker.id, found, limit, self._state.now, task.spec.id)
            self._state.violations.append(violation)

    def _decide(self, task: Task, outcome: Outcome) -> Again | None:
        failure = outcome.failure or Failure(FailureClass.EXCEPTION, "it gave no reason")
        draw = self._draw(f"retry/{task.spec.id}/{outcome.attempt}")
        return self._retry.decide(task.kind.spec.retry, task.retries, failure, outcome.exit_code, draw)

    def _raise_memory(self, task: Task, factor: float) -> bool:
        """Let the next attempt of a task have more memory; False when nobody has that much."""
        state, spec = self._state, task.kind.spec
        if factor == 1.0 or not spec.needs.memory_bytes:
            return True
        needs = msgspec.structs.replace(spec.needs, memory_bytes=int(spec.needs.memory_bytes * factor))
        if not self._fleet.can_ever(Requirement(needs, spec.labels, task.kind.is_gang)):
            return False
        name = f"{spec.id}/{needs.memory_bytes}"
        number = state.derived.setdefault(name, DERIVED + len(state.derived))
        if number not in state.kinds:
            state.kinds[number] = Kind(msgspec.structs.replace(spec, id=number, needs=needs))
        task.kind = state.kinds[number]
        task.spec = msgspec.structs.replace(task.spec, kind=number)
        return True

    def _blame(self, worker: Worker, site: str) -> None:
        """Hold a failure against its host, its worker and its site."""
        for excluded in self._hosts.failed(worker, site):
            self._fleet.changed(excluded)
            self._out.append(NoteWorker(excluded.id, excluded.disabled))
            unbegun = [
                (task.spec.id, task.attempt)
                for task in excluded.tasks.values()
                if task.state is TaskState.ASSIGNED
            ]
            if unbegun:
                self._out.append(RetractTasks(excluded.id, unbegun))

    def requeue(self, task: Task) -> None:
        """A task that no worker holds any longer: to the head of the queue, or to its end if unwanted."""
        if task.cancelling:
            self.settle_without(task, TaskState.CANCELLED, "cancelled")
        else:
            self._state.make_ready(task, front=True)

    # --- gangs

    def _take_from_gang(
        self, worker: Worker | None, task: Task, outcome: Outcome, settled: list[Outcome]
    ) -> None:
        """One rank of a gang has ended; its first failure is that of all, its first rank's value counts."""
        state = self._state
        gang = state.gangs[task.spec.id]
        if worker is None or outcome.attempt != gang.attempt or worker.id not in gang.left:
            state.superseded += 1
            return
        self._note_excess(worker, task, outcome)
        gang.left.remove(worker.id)
        if worker.id == gang.workers[0]:
            gang.led = outcome
        if outcome.verdict is not Verdict.SUCCEEDED and gang.failed is None:
            gang.failed, gang.failed_on = outcome, worker.id
            gang.due = state.now + GANG_GRACE_S
            for other in gang.left:
                self._out.append(CancelAttempts(other, [(task.spec.id, gang.attempt)]))
        if not gang.left:
            self._close_gang(task, settled)

    def close_stuck_gangs(self) -> None:
        """Go on without the ranks that do not tell how a failed gang ended for them."""
        state = self._state
        for id_, gang in list(state.gangs.items()):
            if gang.due > state.now:
                continue
            for stuck in gang.left:
                worker = state.workers[stuck]
                worker.disabled = worker.disabled or _stuck_in(id_)
                self._out.append(NoteWorker(stuck, worker.disabled))
            self._close_failed(state.tasks[id_])

    def _close_failed(self, task: Task) -> None:
        settled: list[Outcome] = []
        self._close_gang(task, settled)
        if settled:
            self._out.append(SettleTasks(settled))
            self.free_dependents(self._state.tasks.get(task.spec.id))

    def _close_gang(self, task: Task, settled: list[Outcome]) -> None:
        state = self._state
        gang = state.gangs[task.spec.id]
        self._disband(task)
        counts, counted_on = (gang.failed or gang.led), gang.failed_on if gang.failed else gang.workers[0]
        for id_ in gang.workers:  # the one that counts is counted below
            if counts is not None and id_ != counted_on:
                state.workers[id_].busy_s += counts.elapsed_s
        if gang.failed is not None:
            self._fail(state.workers[gang.failed_on], task, gang.failed, settled)
        elif gang.led is not None:
            first = state.workers[gang.workers[0]]
            self._succeed(first, task, gang.led)
            self._fleet.changed(first)
            settled.append(gang.led)

    def _disband(self, task: Task) -> None:
        """Take a gang's task off the books of all its workers."""
        state = self._state
        for id_ in state.gangs[task.spec.id].workers:
            worker = state.workers[id_]
            if task.spec.id in worker.tasks:
                state.release(worker, task)
                self._fleet.changed(worker)
        del state.gangs[task.spec.id]

    def break_gang(self, worker: Worker, task: Task) -> bool:
        """A rank of a gang is gone, or has given it back: the others are told to end.

        Returns whether the task is to be tried again as a whole. It is not when a rank had told of a failure
        before: then that is how the attempt ended.
        """
        gang = self._state.gangs[task.spec.id]
        for other in gang.left:
            if other != worker.id:
                self._out.append(CancelAttempts(other, [(task.spec.id, gang.attempt)]))
        if gang.failed is not None and gang.failed.verdict is Verdict.FAILED:
            self._close_failed(task)
            return False
        self._disband(task)
        return True

    # --- what depends on a task

    def settle_without(self, task: Task, to: TaskState, why: str) -> None:
        """Bring a task to its end without an attempt that counts, and what depends on it along."""
        self._state.move(task, to)
        self._note_end(task, to, why)
        self.free_dependents(task)

    def _note_end(self, task: Task, to: TaskState, why: str) -> None:
        """No event tells how such a task ended: its reason is kept with the state."""
        self._out.append(SettleWithout(task.spec.id, to, why))
        if task.kind.spec.keep:
            self._state.whys[task.spec.id] = (to, why)

    def free_dependents(self, task: Task | None) -> None:
        """A task is at its end: those that waited for it are ready, or skipped, and so on."""
        if task is None or not (self._state.awaited or task.spec.after):
            return
        state, graph, line = self._state, self._graph, [task]
        while line:
            ended = line.pop()
            for waiting in graph.settle(ended):
                why = graph.why_skipped(waiting)
                if not why:
                    state.make_ready(waiting)
                    continue
                state.move(waiting, TaskState.SKIPPED)
                self._note_end(waiting, TaskState.SKIPPED, why)
                line.append(waiting)
            graph.part(ended)


_STUCK = "stuck in the group of task"


def _stuck_in(task_id: int) -> str:
    return f"{_STUCK} {task_id}"
