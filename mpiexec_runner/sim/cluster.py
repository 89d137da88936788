"""The virtual cluster: workers that take what the hub sends, run it in virtual time, and tell how it ended.

It knows nothing of scheduling. What goes wrong is in ``misfortunes.py``.
"""

import math
from collections.abc import Sequence
from typing import assert_never

from mpiexec_runner.model.commands import (
    AnyCommand,
    CancelAttempts,
    EndRun,
    NoteWorker,
    RetractTasks,
    RunGroup,
    RunTasks,
    SettleTasks,
    SettleWithout,
    WelcomeWorker,
)
from mpiexec_runner.model.events import (
    AnyEvent,
    TasksFinished,
    TasksReturned,
    TasksStarted,
    WorkerBeat,
    WorkerJoined,
)
from mpiexec_runner.model.tasks import Failure, FailureClass, Outcome, TaskSpec, Verdict
from mpiexec_runner.sim.calendar import BUSY_S, Calendar
from mpiexec_runner.sim.faults import FaultPlan
from mpiexec_runner.sim.misfortunes import Misfortunes
from mpiexec_runner.sim.settings import ClusterSettings
from mpiexec_runner.sim.work import VirtualWork
from mpiexec_runner.sim.worker import OVER, Attempt, Burst, Group, Key, Observer, VirtualWorker

FLUSH_S = 0.001
"""Results of short tasks are sent together, as in ``runtime/worker.py``."""


class VirtualCluster:
    """Workers at work.

    Parameters
    ----------
    workers
        All of them.
    work
        What tasks there are, and how long they really take.
    plan
        What goes wrong.
    settings
        What everything besides the tasks takes.
    observer
        Is told of each attempt. Then attempts are reported one by one.

    Attributes
    ----------
    attempts, retries, speculations, returned
        Attempts that began; those of them after a failure; those beside another one; and how many were given
        back unbegun.
    """

    def __init__(
        self,
        workers: Sequence[VirtualWorker],
        work: VirtualWork,
        plan: FaultPlan,
        settings: ClusterSettings,
        observer: Observer | None = None,
    ) -> None:
        self.workers = {worker.id: worker for worker in workers}
        self.calendar = Calendar(settings.latency_s)
        self.attempts = self.returned = self.speculations = self.retries = 0
        self._settings, self._plan, self._observer = settings, plan, observer
        self._misfortunes = Misfortunes(self)
        self._flush_s = 0.0 if observer is not None else FLUSH_S
        self._lasts_s = {spec.id: lasts for spec, lasts in zip(work.tasks, work.lasts_s, strict=True)}
        self._timeout_s = {kind.id: kind.timeout_s for kind in work.kinds if kind.timeout_s is not None}
        self._simple = not self._timeout_s and not plan.touches_attempts
        self._failed: set[int] = set()
        self._at_work: dict[int, int] = {}

    def start(self, now: float) -> None:
        """All workers say hello, and from now on everything may happen."""
        for worker in self.workers.values():
            self.say(worker, WorkerJoined(worker.id, 0, worker.info), now)
        for fault in self._plan.faults:
            self._misfortunes.expect(fault, now)
        self.calendar.at(now + self._settings.beat_s, self._beat_round)

    # --- messages

    def say(self, worker: VirtualWorker, event: AnyEvent, now: float) -> None:
        """A worker tells the hub something."""
        worker.said = now
        self.calendar.say(event, now)

    def take(self, command: AnyCommand, now: float) -> None:
        """A command reaches its worker, or all members of a group."""
        match command:
            case RunGroup():
                group = Group(command.workers)
                for id_ in command.workers:
                    self._hand(self.workers[id_], command, group, now)
            case RunTasks() | RetractTasks() | CancelAttempts() | WelcomeWorker():
                self._hand(self.workers[command.worker], command, None, now)
            case SettleTasks() | SettleWithout() | NoteWorker() | EndRun():
                pass  # these are not for workers
            case _:
                assert_never(command)

    def _hand(
        self,
        worker: VirtualWorker,
        command: RunTasks | RetractTasks | CancelAttempts | WelcomeWorker | RunGroup,
        group: Group | None,
        now: float,
    ) -> None:
        if worker.dead:
            return
        if worker.frozen:
            worker.inbox.append(lambda at: self._hand(worker, command, group, at))
            return
        match command:
            case RunTasks():
                tasks = [(s, n, group) for s, n in zip(command.tasks, command.attempts, strict=True)]
                if command.urgent:
                    worker.line.extendleft(reversed(tasks))
                else:
                    worker.line.extend(tasks)
            case RunGroup():
                worker.line.append((command.task, command.attempt, group))
            case RetractTasks():
                found = worker.remove(command.attempts)
                self.returned += len(found)
                self.say(worker, TasksReturned(worker.id, found), now)
            case CancelAttempts():
                self._cancel(worker, command.attempts, now, overdue=command.overdue)
            case WelcomeWorker():
                self._welcome(worker, command.incarnation, now)
            case _:
                assert_never(command)
        self._begin(worker, now)

    def _welcome(self, worker: VirtualWorker, incarnation: int, now: float) -> None:
        """What it held is void, and what runs is ended."""
        worker.incarnation = incarnation
        worker.beat = WorkerBeat(worker.id, incarnation)
        worker.line.clear()
        self.say(worker, worker.beat, now)
        self._cancel(worker, [burst.key for burst in worker.bursts], now, overdue=False)

    def beat_if_due(self, worker: VirtualWorker, now: float) -> None:
        """Make up for heartbeats that were left out, before a worker falls silent."""
        if worker.incarnation and worker.said <= now - self._settings.beat_s:
            self.say(worker, worker.beat, now)

    def _beat_round(self, now: float) -> None:
        """Heartbeats of all that have been silent: any message says the same, and costs the hub less."""
        silent_since = now - self._settings.silence_s
        for worker in self.workers.values():
            if worker.said <= silent_since and worker.incarnation and not worker.dead and not worker.frozen:
                self.say(worker, worker.beat, now)
        self.calendar.at(now + self._settings.beat_s, self._beat_round)

    # --- attempts

    def _begin(self, worker: VirtualWorker, now: float) -> None:
        """Give work to free slots."""
        line = worker.line
        while line and worker.free:
            spec, number, group = line.popleft()
            attempt = self._attempt(worker, spec, number, group, now)
            total = attempt.lasts_s + self._settings.overhead_s
            attempts = [attempt]
            if total < self._flush_s and group is None:
                total = self._gather(worker, attempts, total, now)
            burst = Burst(worker, attempts, now, now + total)
            worker.bursts[burst] = None
            worker.free -= 1
            if group is not None:
                self._reach(group, burst, now)
                continue
            self.calendar.at(burst.end, burst)
            if total > BUSY_S:
                self.calendar.began(burst, now)

    def _gather(self, worker: VirtualWorker, attempts: list[Attempt], total: float, now: float) -> float:
        """Short tasks that follow are reported together with the first; how long they all take."""
        line, flush_s, factor = worker.line, self._flush_s, worker.slowness * worker.strained
        while line and total < flush_s:
            spec, number, group = line[0]
            if group is not None or self._lasts_s[spec.id] * factor > flush_s:
                break
            line.popleft()
            attempt = self._attempt(worker, spec, number, None, now)
            attempts.append(attempt)
            total += attempt.lasts_s + self._settings.overhead_s
        return total

    def _attempt(
        self, worker: VirtualWorker, spec: TaskSpec, number: int, group: Group | None, now: float
    ) -> Attempt:
        """One attempt that begins now (in a burst: almost), with its fate."""
        id_ = spec.id
        leads = group is None or not group.bursts
        self.attempts += leads
        if number > 1 and leads:
            if id_ in self._at_work:
                self.speculations += 1
            elif id_ in self._failed:
                self._failed.discard(id_)
                self.retries += 1
        self._at_work[id_] = self._at_work.get(id_, 0) + 1
        lasts_s, failure = self._lasts_s[id_] * worker.slowness * worker.strained, None
        if not self._simple:
            lasts_s, failure = self._fate(spec, number, lasts_s)
            if leads and id_ in self._plan.poison:
                self._misfortunes.poison(worker, (id_, number), now + lasts_s / 2)
        if self._observer is not None:
            self._observer.begun(worker, spec, number, now)
        return Attempt(spec, number, lasts_s, failure)

    def _fate(self, spec: TaskSpec, number: int, lasts_s: float) -> tuple[float, Failure | None]:
        plan = self._plan
        lasts_s *= plan.stretch(spec.id, number)
        timeout_s = self._timeout_s.get(spec.kind, math.inf)
        if lasts_s > timeout_s:
            return timeout_s, Failure(FailureClass.TIMEOUT, f"took longer than {timeout_s:g} s")
        if plan.fails(spec.id, number):
            return lasts_s, Failure(FailureClass.EXCEPTION, "the fault plan lets it fail", name="Fault")
        return lasts_s, None

    def tell(self, burst: Burst, now: float) -> None:
        """Tell the hub that an attempt lasts, if it still does."""
        worker = burst.worker
        if burst.end != OVER and not burst.told and not worker.frozen:
            burst.told = True
            self.say(worker, TasksStarted(worker.id, [burst.key]), now)

    def end(self, burst: Burst, now: float) -> None:
        """The attempts of a burst are at their end; their slot takes what comes next."""
        worker = burst.worker
        outcomes = [self._outcome(burst, attempt, now) for attempt in burst.attempts]
        self.leave(burst, now)
        self.say(worker, TasksFinished(worker.id, outcomes), now)
        if worker.line:
            self._begin(worker, now)

    def _outcome(self, burst: Burst, attempt: Attempt, now: float) -> Outcome:
        failure, id_ = attempt.failure, attempt.spec.id
        elapsed_s = now - burst.begun if len(burst.attempts) == 1 else attempt.lasts_s
        if failure is None:
            burst.worker.useful_s += elapsed_s
            self.note_end(burst, attempt, Verdict.SUCCEEDED, now)
            return Outcome(id_, attempt.number, Verdict.SUCCEEDED, burst.begun, elapsed_s)
        self._failed.add(id_)
        self.note_end(burst, attempt, Verdict.FAILED, now)
        return Outcome(id_, attempt.number, Verdict.FAILED, burst.begun, elapsed_s, failure=failure)

    def note_end(self, burst: Burst, attempt: Attempt, verdict: Verdict | None, now: float) -> None:
        """Keep the books of an attempt that ended; ``None`` is that its worker died."""
        id_ = attempt.spec.id
        left = self._at_work.pop(id_) - 1
        if left:
            self._at_work[id_] = left
        if self._observer is not None:
            self._observer.ended(burst.worker, attempt.spec, attempt.number, verdict, now)

    def leave(self, burst: Burst, now: float) -> None:
        """A slot is free again."""
        worker = burst.worker
        worker.busy_s += now - burst.begun
        burst.end = OVER
        del worker.bursts[burst]
        worker.free += 1

    def _cancel(self, worker: VirtualWorker, keys: list[Key], now: float, *, overdue: bool) -> None:
        """End attempts, begun or not; of short ones that are about to end anyway nothing is said."""
        verdict = Verdict.FAILED if overdue else Verdict.CANCELLED
        failure = Failure(FailureClass.TIMEOUT, "took too long") if overdue else None
        outcomes = [Outcome(*key, verdict, now, 0.0, failure=failure) for key in worker.remove(keys)]
        for key in keys:
            burst = worker.find_burst(key)
            if burst is None:
                continue
            outcomes.append(Outcome(*key, verdict, burst.begun, now - burst.begun, failure=failure))
            self.note_end(burst, burst.attempts[0], verdict, now)
            self.leave(burst, now)
            if burst.group is not None:
                self.stall(burst.group, now)
        if overdue:
            self._failed.update(outcome.task for outcome in outcomes)
        if outcomes:
            self.say(worker, TasksFinished(worker.id, outcomes), now)

    # --- groups

    def _reach(self, group: Group, burst: Burst, now: float) -> None:
        """A member has come to the common attempt. It goes on when all have, at the pace of the slowest."""
        burst.group = group
        burst.halt(now)
        group.bursts.append(burst)
        group.waiting.discard(burst.worker.id)
        self.go_on_together(group, now)

    def stall(self, group: Group, now: float) -> None:
        """One member stops, for a while or for ever: the others wait for it."""
        group.stalled += 1
        for member in group.bursts:
            member.halt(now)

    def go_on_together(self, group: Group, now: float) -> None:
        """All members go on, if nothing holds them up."""
        if not group.advances:
            return
        slowest = max(member.left_s for member in group.bursts)
        for member in group.bursts:
            if member.end != OVER:
                member.left_s = slowest
                self.go_on(member, now)

    def go_on(self, burst: Burst, now: float) -> None:
        """A burst that was halted advances again."""
        burst.end = now + burst.left_s
        self.calendar.at(burst.end, burst)
        if burst.left_s > BUSY_S and not burst.told:
            self.calendar.began(burst, now)
