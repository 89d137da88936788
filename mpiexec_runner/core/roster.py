"""The workers of a run: they come, go, fall silent, speak again, and feel better or worse.

What becomes of tasks that they held is decided in ``outcomes.py``; who gets what next, in ``dispatch.py``.
"""

from collections.abc import Collection

from mpiexec_runner.core.control import Control
from mpiexec_runner.core.dispatch import Dispatcher
from mpiexec_runner.core.fleet import GONE
from mpiexec_runner.core.outcomes import Desk, Outcomes
from mpiexec_runner.core.settings import LimitSettings, SchedulerSettings
from mpiexec_runner.core.tasks import Violation, Worker
from mpiexec_runner.model.commands import CancelAttempts, NoteWorker, WelcomeWorker
from mpiexec_runner.model.events import WorkerBeat, WorkerJoined, WorkerLeft, WorkersSeenWorking
from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.model.workers import Health, Load, WorkerState

MAX_INCARNATION = 2**31
"""What a worker claims of an earlier life is believed up to here."""
_UNHEALTHY = "unhealthy"


class Roster:
    """Keeps the list of workers."""

    def __init__(
        self,
        desk: Desk,
        outcomes: Outcomes,
        control: Control,
        dispatcher: Dispatcher,
        settings: SchedulerSettings,
        limits: LimitSettings,
    ) -> None:
        self._state, self._fleet, _, self._hosts, self._heartbeats, self._out = desk
        self._outcomes, self._control, self._dispatcher = outcomes, control, dispatcher
        self._crash_limit, self._limits = settings.crash_limit, limits

    # --- they come

    def on_joined(self, event: WorkerJoined) -> None:
        """A hello, from a new worker or from one that begins again: what it held before is void.

        Not so what it runs and is on its books: it was there before this hub was.
        """
        state = self._state
        worker = state.workers.get(event.worker)
        kept: list[tuple[int, int]] = []
        if worker is None:
            incarnation = min(max(0, event.incarnation), MAX_INCARNATION) + 1
            worker = state.workers[event.worker] = Worker(event.worker, event.info, incarnation, tasks={})
            worker.set_free()
            self._say(worker, f"joined from {event.info.host}")
        else:
            if worker.state not in GONE and event.incarnation == worker.incarnation:
                kept = self._keep_running(worker, event.running)
            self.take_back_all(worker, {id_ for id_, _ in kept})
            worker.info = event.info
            worker.set_free()
            self._outcomes.came_out(worker)
            self._begin_again(worker)
        self._dispatcher.fleet_changed()
        worker.heard = state.now
        self._heartbeats.watch(state.now)
        self._out.append(WelcomeWorker(worker.id, worker.incarnation, keep=bool(kept)))
        if kept:
            self._end_unwanted(worker, kept, event.running)

    def _keep_running(self, worker: Worker, running: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Those of the attempts that a worker is at which it holds by the books, too."""
        state, kept = self._state, []
        for id_, attempt in running:
            task = worker.tasks.get(id_)
            if task is None or state.attempt_on(task, worker) != attempt:
                continue
            kept.append((id_, attempt))
            if task.worker == worker.id and task.state is TaskState.ASSIGNED:
                state.move(task, TaskState.RUNNING)
                task.began = state.now
                worker.running += 1
        for id_ in worker.tasks:
            gang = state.gangs.get(id_)
            if gang is not None and worker.id not in gang.left:
                kept.append((id_, gang.attempt))  # it has done its part, and waits for the others
        return kept

    def _end_unwanted(
        self, worker: Worker, kept: list[tuple[int, int]], running: list[tuple[int, int]]
    ) -> None:
        """Tell a worker again to end what it was to end, which the last hub may not have lived to tell."""
        state = self._state
        unwanted = [key for key in running if key not in kept]
        abandoned = state.drain is not None and state.drain.abandon
        for id_, attempt in kept:
            gang = state.gangs.get(id_)
            failed = gang is not None and gang.failed is not None and worker.id in gang.left
            if abandoned or failed or worker.tasks[id_].cancelling:
                unwanted.append((id_, attempt))
        if unwanted:
            self._out.append(CancelAttempts(worker.id, unwanted))

    def call_again(self) -> None:
        """The hub is another one: whoever is there has to answer it before it gets anything new."""
        state = self._state
        for worker in state.workers.values():
            if worker.state in GONE:
                continue
            worker.heard, worker.called = state.now, True
            if worker.state is not WorkerState.JOINING:
                state.move_worker(worker, WorkerState.JOINING)
            self._fleet.changed(worker)
        self._dispatcher.fleet_changed()
        self._heartbeats.watch(state.now)

    # --- they are heard, or not

    def heard(self, worker_id: int) -> Worker | None:
        """Any message is a sign of life: the suspect is cleared, the lost is welcomed again."""
        worker = self._state.workers.get(worker_id)
        if worker is None:
            return None
        worker.heard = self._state.now
        if worker.state is WorkerState.SUSPECT:
            self._state.move_worker(worker, WorkerState.ALIVE)
            self._fleet.changed(worker)
            self._say(worker, "heard again")
        elif worker.state is WorkerState.LOST:
            self._begin_again(worker)
            self._heartbeats.watch(self._state.now)
            self._say(worker, "heard again after it was lost")
            self._out.append(WelcomeWorker(worker.id, worker.incarnation))
        return worker

    def on_beat(self, event: WorkerBeat) -> None:
        """A heartbeat tells how a worker is, and the first one that it has read its welcome."""
        worker = self.heard(event.worker)
        if worker is None:
            return
        self._heartbeats.beat(worker, self._state.now)
        before = worker.load
        worker.take_load(event.load)
        self._throttle(worker, before)
        if before.health is not event.load.health:
            self._note_health(worker)
        welcomed = event.incarnation == worker.incarnation and not worker.called
        if worker.state is WorkerState.JOINING and welcomed:
            self._state.move_worker(worker, WorkerState.ALIVE)
            self._fleet.changed(worker)

    def on_seen_working(self, event: WorkersSeenWorking) -> None:
        """Workers are silent, but the operating system shows that their processes work."""
        for id_ in event.workers:
            worker = self._state.workers.get(id_)
            if worker is not None and self._heartbeats.seen_working(worker, self._state.now):
                silence_s = self._state.now - worker.heard
                self._say(worker, f"silent for {silence_s:.0f} s, but its process works")

    def judge_silent(self) -> None:
        """Whoever was silent for too long is suspect, and then lost."""
        state, now = self._state, self._state.now
        if now < self._heartbeats.next_check:
            return
        for worker, verdict in self._heartbeats.verdicts(now):
            silence = now - worker.heard
            if verdict is WorkerState.LOST:
                if worker.state is WorkerState.ALIVE:
                    state.move_worker(worker, WorkerState.SUSPECT)
                self._lose(worker, f"silent for {silence:.0f} s")
            else:
                state.move_worker(worker, WorkerState.SUSPECT)
                self._fleet.changed(worker)
                self._say(worker, f"suspect: silent for {silence:.0f} s")

    def _begin_again(self, worker: Worker) -> None:
        """A new incarnation: it has to answer a welcome before it gets work."""
        if worker.state is not WorkerState.JOINING:
            self._state.move_worker(worker, WorkerState.JOINING)
        worker.incarnation += 1
        worker.called = worker.retracting = worker.robbed = False
        self._heartbeats.begin_again(worker)
        self._hosts.forget(worker)
        self._fleet.changed(worker)

    # --- how they feel

    def _excess(self, load: Load) -> dict[str, tuple[float, float]]:
        """What a worker takes too much of: how much, and the limit."""
        limits = self._limits
        taken = {
            "max_cpu_percent": (load.cpu_percent, limits.max_cpu_percent),
            "max_memory": (load.used_bytes, limits.max_memory),
        }
        return {
            kind: (float(value), float(limit))
            for kind, (value, limit) in taken.items()
            if limit is not None and value > limit
        }

    def _throttle(self, worker: Worker, earlier: Load) -> None:
        """Give nothing new to a worker that is over a limit, until it is not any more; each is on record."""
        why, load = "", worker.load
        excess, had = self._excess(load), self._excess(earlier)
        self._state.violations += [
            Violation(kind, worker.id, *excess[kind], self._state.now) for kind in excess if kind not in had
        ]
        if "max_cpu_percent" in excess:
            why = "its host is {:.0f} % busy (limit {:g} %)".format(*excess["max_cpu_percent"])
        elif "max_memory" in excess:
            why = "it uses {:,.0f} bytes (limit {:,.0f})".format(*excess["max_memory"])
        elif load.health is Health.UNHEALTHY:
            why = f"{_UNHEALTHY}: {load.note}"
        before, worker.throttled = worker.throttled, why
        if bool(why) == bool(before):
            return
        self._state.tally.throttled += bool(why)
        self._fleet.changed(worker)
        if not (why or before).startswith(_UNHEALTHY):
            self._say(worker, f"throttled: {why}" if why else "not throttled any more")

    def _note_health(self, worker: Worker) -> None:
        """What a worker's own checks find has changed: degraded ones get work last, unhealthy ones none."""
        state, load = self._state, worker.load
        state.degraded = sum(one.load.health is Health.DEGRADED for one in state.workers.values())
        state.ready.unpark()
        match load.health:
            case Health.HEALTHY:
                self._say(worker, "healthy again")
            case Health.DEGRADED:
                self._say(worker, f"degraded: {load.note}; it gets work last")
            case Health.UNHEALTHY:
                self._say(worker, f"unhealthy: {load.note}; it gets nothing new until it recovers")
                self._control.take_back_unbegun(worker)

    # --- they go

    def on_left(self, event: WorkerLeft) -> None:
        """A worker left in order, or its rank died."""
        worker = self._state.workers.get(event.worker)
        if worker is None or worker.state is WorkerState.DRAINED:
            return
        if event.why:
            self._lose(worker, event.why)
            return
        was_there = worker.state not in GONE
        self._state.move_worker(worker, WorkerState.DRAINED)
        self.take_back_all(worker)
        self._fleet.changed(worker)
        if was_there:
            self._note_if_alone()

    def _lose(self, worker: Worker, why: str) -> None:
        """Give a worker up. That is no failure of its tasks, unless they kill one worker after another."""
        if worker.state is WorkerState.LOST:
            return
        self._state.move_worker(worker, WorkerState.LOST)
        self._state.lost_workers += 1
        self._hosts.forget(worker)
        self._say(worker, f"lost: {why}")
        # Short tasks are not told to have begun, so the first ones in line are as suspect as running ones.
        suspects = list(worker.tasks.values())[: worker.slots]
        for task in suspects:
            task.crashes += 1
            self._state.suspects.add(task.spec.id)
        self.take_back_all(worker)
        for task in suspects:
            if task.state is TaskState.READY and task.crashes >= self._crash_limit:
                where = f"workers in a row were lost over it, the last on {worker.info.host}"
                self._outcomes.settle_without(task, TaskState.FAILED, f"poison: {task.crashes} {where}")
        self._fleet.changed(worker)
        self._dispatcher.fleet_changed()
        self._note_if_alone()

    def take_back_all(self, worker: Worker, but: Collection[int] = ()) -> None:
        """A worker does not do any more what it held, ``but`` for these tasks."""
        worker.retracting = False
        for task in reversed(list(worker.tasks.values())):
            if task.spec.id in but:
                continue
            if task.spec.id in self._state.gangs:
                lost = self._outcomes.break_gang(worker, task)
            else:
                lost = not self._outcomes.let_go(worker, task)
            if lost:
                self._outcomes.requeue(task)

    def _say(self, worker: Worker, what: str) -> None:
        self._out.append(NoteWorker(worker.id, what))

    def _note_if_alone(self) -> None:
        if not self._fleet.someone_is_there():
            self._state.alone_since = self._state.now
