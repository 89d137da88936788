"""TaskScheduler: what happens to a run, event by event. Read it from the top like a story.

It knows no MPI, no clock, no disk: events and the time come in through :meth:`TaskScheduler.handle`,
commands go out, and :meth:`TaskScheduler.next_deadline` says when it wants to be told that time passed.
The same core is driven by the hub, by tests, and by the journal when a run is resumed.
"""

import math
from collections.abc import Collection, Sequence
from typing import assert_never

from mpiexec_runner.core.control import Control
from mpiexec_runner.core.dispatch import Dispatcher
from mpiexec_runner.core.fleet import GONE, Fleet
from mpiexec_runner.core.graph import Graph
from mpiexec_runner.core.heartbeat import HeartbeatManager
from mpiexec_runner.core.hosts import Hosts
from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.core.limits import Usage
from mpiexec_runner.core.outcomes import Desk, Draw, Outcomes
from mpiexec_runner.core.ports import Placement, Retry, Speculation
from mpiexec_runner.core.queue import requirement_of
from mpiexec_runner.core.settings import HeartbeatSettings, LimitSettings, SchedulerSettings
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.stragglers import Stragglers
from mpiexec_runner.core.tasks import Task, Worker
from mpiexec_runner.model.commands import (
    AnyCommand,
    CancelAttempts,
    EndRun,
    NoteWorker,
    RetractTasks,
    RunEnd,
    WelcomeWorker,
)
from mpiexec_runner.model.events import (
    BY_HAND,
    AnyEvent,
    CancelRequested,
    DrainRequested,
    HubReplaced,
    KindsRegistered,
    MoveRequested,
    PauseRequested,
    PriorityRequested,
    RebalanceRequested,
    RetryRequested,
    RunOpened,
    SubmissionsClosed,
    TasksFinished,
    TasksReturned,
    TasksStarted,
    TasksSubmitted,
    Tick,
    WorkerBeat,
    WorkerJoined,
    WorkerLeft,
    WorkersSeenWorking,
    WorkerSwitched,
)
from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.model.workers import Health, Load, WorkerState

ABANDON_GRACE_S = 10.0
"""How long attempts that were told to end may take before the run leaves without them."""

_UNHEALTHY = "unhealthy"

MAX_INCARNATION = 2**31
"""What a worker claims of an earlier life is believed up to here."""


class TaskScheduler:
    """The reactor: one short handler per event; all effects leave as commands.

    Parameters
    ----------
    settings, heartbeat, limits
        Values only.
    placement, retry, speculation
        Policies, see ``core/ports.py``.
    state
        Where to go on from; a new run when left out.
    draw
        Random numbers, each a function of a text.
    """

    def __init__(
        self,
        settings: SchedulerSettings,
        heartbeat: HeartbeatSettings,
        placement: Placement,
        retry: Retry,
        state: RunState | None = None,
        *,
        speculation: Speculation | None = None,
        limits: LimitSettings | None = None,
        draw: Draw = lambda _: 0.5,
    ) -> None:
        self.state = state = state or RunState()
        self._settings, self._limits = settings, limits or LimitSettings()
        self._silence_s = heartbeat.timeout_s
        self._commands: list[AnyCommand] = []
        self._count_usage()
        self._fleet = Fleet(state)
        self._graph = Graph(state)
        self.heartbeats = HeartbeatManager(heartbeat, state)
        self._hosts = Hosts(settings, state)
        self._dispatcher = Dispatcher(settings, placement, state, self._fleet, self._graph)
        self._stragglers = (
            Stragglers(state, self._fleet, self._graph, speculation, settings.prefetch_s)
            if speculation is not None
            else None
        )
        desk = Desk(state, self._fleet, self._graph, self._hosts, self._commands)
        self._outcomes = Outcomes(desk, retry, draw)
        self._control = Control(desk, self._outcomes, settings)
        state.requeue_all(settings.ageing_s)
        self._fleet.adopt()

    # --- the door

    def handle(self, events: Sequence[AnyEvent], now: float) -> list[AnyCommand]:
        """Take in what happened and say what to do about it.

        Parameters
        ----------
        events
            In the order in which they came. Time passes between batches, not within one.
        now
            Seconds, on a clock that never goes back; the same for the whole batch.

        Raises
        ------
        InvariantBroken
            On a state that must never be: a defect of this package.
        """
        state, commands = self.state, self._commands
        self.heartbeats.forgive(now)
        state.now = now
        for event in events:
            self._on(event)
        if not state.ended:
            if now >= self._next_alarm():
                self._on_time()
            self._fleet.follow_limits()
            if state.drain is None:
                self._dispatch()
            self._end_if_over()
        asked = commands[:]
        commands.clear()
        return asked

    def next_deadline(self) -> float:
        """When :class:`~mpiexec_runner.model.events.Tick` is wanted at the latest; infinite for never."""
        state = self.state
        starved = state.alone_since + self._silence_s if self._is_left_alone() else math.inf
        stuck = state.stuck_since + self._silence_s
        return min(self._next_alarm(), state.abandon_at, starved, stuck)

    def _next_alarm(self) -> float:
        """When something is due that depends on the time alone."""
        state = self.state
        alarm = min(self.heartbeats.next_check, state.speculate_at, state.overdue_at)
        if state.timers:
            alarm = min(alarm, state.timers[0][0])
        if state.hosts:
            alarm = min(alarm, self._hosts.next_probe)
        if state.gangs:
            alarm = min(alarm, *(gang.due for gang in state.gangs.values()), math.inf)
        return alarm

    @property
    def draining(self) -> bool:
        """Whether the run was told to stop before its work is done."""
        return self.state.drain is not None

    def _on(self, event: AnyEvent) -> None:  # noqa: C901 - one line per event, and closed
        match event:
            case TasksFinished():
                self._on_tasks_finished(event)
            case TasksSubmitted():
                self._on_tasks_submitted(event)
            case TasksStarted():
                self._on_tasks_started(event)
            case WorkerBeat():
                self._on_worker_beat(event)
            case TasksReturned():
                self._on_tasks_returned(event)
            case Tick():
                pass  # handle() looks at the clock after every batch
            case WorkerJoined():
                self._on_worker_joined(event)
            case WorkerLeft():
                self._on_worker_left(event)
            case WorkersSeenWorking():
                self._on_workers_seen_working(event)
            case KindsRegistered():
                self._on_kinds_registered(event)
            case CancelRequested():
                self._control.on_cancel_requested(event)
            case DrainRequested():
                self._on_drain_requested(event)
            case PauseRequested():
                self.state.paused = event.paused
            case PriorityRequested():
                self._control.on_priority_requested(event)
            case RetryRequested():
                self._control.on_retry_requested(event)
            case MoveRequested():
                self._control.on_move_requested(event)
            case RebalanceRequested():
                self._control.on_rebalance_requested()
            case WorkerSwitched():
                self._control.on_worker_switched(event)
            case SubmissionsClosed():
                self.state.closed = True
            case RunOpened():
                self._on_run_opened(event)
            case HubReplaced():
                self._on_hub_replaced(event)
            case _:
                assert_never(event)

    # --- the run and its tasks arrive

    def _on_run_opened(self, event: RunOpened) -> None:
        """Nobody is left from an earlier life: what they held is ready again, and burns no retry."""
        state = self.state
        self._dispatcher.forget_reservation()
        for gang in state.gangs.values():
            gang.failed = None
            gang.left.clear()  # nobody is there to be told
        for worker in reversed(list(state.workers.values())):
            if not state.ended:  # that life was cut short, by a task perhaps
                state.suspects.update(list(worker.tasks)[: worker.slots])
            self._take_back_all(worker)
        state.workers.clear()
        state.hosts.clear()
        state.sites.clear()
        state.twins.clear()
        state.pinned.clear()
        state.avoided.clear()  # ranks have other numbers now
        self._fleet.forget_all()
        state.requeue_all(self._settings.ageing_s)
        state.epoch, state.expected_workers = event.epoch, event.workers
        state.closed = state.ended = state.paused = False
        state.drain, state.abandon_at = None, math.inf
        state.alone_since, state.check_at = state.now, math.inf
        state.degraded = 0
        state.stuck_since = state.speculate_at = state.overdue_at = math.inf

    def _on_hub_replaced(self, event: HubReplaced) -> None:
        """Workers go on with what they run, and say so; until then they get nothing new.

        What the last hub had decided and not told is found out that way, too.
        """
        state = self.state
        state.epoch, state.expected_workers = event.epoch, event.workers
        state.ended, state.alone_since, state.stuck_since = False, state.now, math.inf
        if state.drain is not None and state.drain.abandon:
            state.abandon_at = state.now + ABANDON_GRACE_S
        for worker in state.workers.values():
            if worker.state in GONE:
                continue
            worker.heard = state.now
            if worker.state is not WorkerState.JOINING:
                state.move_worker(worker, WorkerState.JOINING)
            self._fleet.changed(worker)
        self._fleet_changed()
        self.heartbeats.watch(state.now)

    def _on_kinds_registered(self, event: KindsRegistered) -> None:
        """A kind told of again has new settings; what was measured of it stays."""
        state, changed = self.state, False
        for spec in event.kinds:
            known = state.kinds.setdefault(spec.id, Kind(spec))
            if known.spec == spec:
                continue
            changed = True
            for task in state.tasks.values():
                if task.kind is known and task.priority == known.spec.priority:
                    task.priority = spec.priority
            known.renew(spec)
        if changed:
            state.overdue_at = state.now
            state.requeue_all(self._settings.ageing_s)
            for worker in state.workers.values():
                worker.set_free()
            for task in [task for task in state.tasks.values() if task.state.terminal]:
                if not task.kind.spec.keep:
                    self._graph.forget(task)

    def _on_tasks_submitted(self, event: TasksSubmitted) -> None:
        state = self.state
        kinds, tasks, now, first = state.kinds, state.tasks, state.now, state.next_task
        fresh: list[Task] = []
        waiting: list[Task] = []
        for spec in event.tasks:
            if spec.id < first:
                continue
            kind = kinds[spec.kind]
            task = tasks[spec.id] = Task(spec, kind, priority=kind.spec.priority, ready_at=now)
            state.next_task = max(state.next_task, spec.id + 1)
            if spec.after:
                task.state = TaskState.WAITING
                waiting.append(task)
            else:
                fresh.append(task)
        state.counts[TaskState.READY] += len(fresh)
        state.ready.extend(fresh)
        state.counts[TaskState.WAITING] += len(waiting)
        for task in waiting:
            self._graph.link(task)
            if self._graph.hold_back(task):
                continue
            why = self._graph.why_skipped(task)
            if why:
                self._outcomes.settle_without(task, TaskState.SKIPPED, why)
            else:
                state.make_ready(task)

    # --- workers come and go

    def _on_worker_joined(self, event: WorkerJoined) -> None:
        """A hello, from a new worker or from one that begins again: what it held before is void.

        Not so what it runs and is on its books: it was there before this hub was.
        """
        state = self.state
        worker = state.workers.get(event.worker)
        kept: list[tuple[int, int]] = []
        if worker is None:
            incarnation = min(max(0, event.incarnation), MAX_INCARNATION) + 1
            worker = state.workers[event.worker] = Worker(event.worker, event.info, incarnation, tasks={})
            worker.set_free()
            self._commands.append(NoteWorker(worker.id, f"joined from {event.info.host}"))
        else:
            if worker.state not in GONE and event.incarnation == worker.incarnation:
                kept = self._keep_running(worker, event.running)
            self._take_back_all(worker, {id_ for id_, _ in kept})
            worker.info = event.info
            worker.set_free()
            self._outcomes.came_out(worker)
            self._begin_again(worker)
        self._fleet_changed()
        worker.heard = state.now
        self.heartbeats.watch(state.now)
        self._commands.append(WelcomeWorker(worker.id, worker.incarnation, keep=bool(kept)))
        if kept:
            self._end_unwanted(worker, kept, event.running)

    def _keep_running(self, worker: Worker, running: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Those of the attempts that a worker is at which it holds by the books, too."""
        state, kept = self.state, []
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
        state = self.state
        unwanted = [key for key in running if key not in kept]
        abandoned = state.drain is not None and state.drain.abandon
        for id_, attempt in kept:
            gang = state.gangs.get(id_)
            failed = gang is not None and gang.failed is not None and worker.id in gang.left
            if abandoned or failed or worker.tasks[id_].cancelling:
                unwanted.append((id_, attempt))
        if unwanted:
            self._commands.append(CancelAttempts(worker.id, unwanted))

    def _on_worker_beat(self, event: WorkerBeat) -> None:
        worker = self._heard(event.worker)
        if worker is None:
            return
        self.heartbeats.beat(worker, self.state.now)
        before = worker.load
        worker.take_load(event.load)
        self._throttle(worker, event.load)
        if before.health is not event.load.health:
            self._note_health(worker)
        if worker.state is WorkerState.JOINING and event.incarnation == worker.incarnation:
            self.state.move_worker(worker, WorkerState.ALIVE)
            self._fleet.changed(worker)

    def _on_worker_left(self, event: WorkerLeft) -> None:
        worker = self.state.workers.get(event.worker)
        if worker is None or worker.state is WorkerState.DRAINED:
            return
        if event.why:
            self._lose(worker, event.why)
            return
        was_there = worker.state not in GONE
        self.state.move_worker(worker, WorkerState.DRAINED)
        self._take_back_all(worker)
        self._fleet.changed(worker)
        if was_there:
            self._note_if_alone()

    def _throttle(self, worker: Worker, load: Load) -> None:
        """Give nothing new to a worker whose host is over a limit, until it is not any more."""
        why, limits = "", self._limits
        if limits.max_cpu_percent is not None and load.cpu_percent > limits.max_cpu_percent:
            why = f"its host is {load.cpu_percent:.0f} % busy (limit {limits.max_cpu_percent:g} %)"
        elif limits.max_memory is not None and load.used_bytes > limits.max_memory:
            why = f"it uses {load.used_bytes:,} bytes (limit {limits.max_memory:,})"
        elif load.health is Health.UNHEALTHY:
            why = f"{_UNHEALTHY}: {load.note}"
        before, worker.throttled = worker.throttled, why
        if bool(why) == bool(before):
            return
        self.state.tally.throttled += bool(why)
        self._fleet.changed(worker)
        if not (why or before).startswith(_UNHEALTHY):
            self._say(worker, f"throttled: {why}" if why else "not throttled any more")

    def _note_health(self, worker: Worker) -> None:
        """What a worker's own checks find has changed: degraded ones get work last, unhealthy ones none."""
        state, load = self.state, worker.load
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

    def _on_workers_seen_working(self, event: WorkersSeenWorking) -> None:
        for id_ in event.workers:
            worker = self.state.workers.get(id_)
            if worker is not None and self.heartbeats.seen_working(worker, self.state.now):
                silence_s = self.state.now - worker.heard
                self._say(worker, f"silent for {silence_s:.0f} s, but its process works")

    def _say(self, worker: Worker, what: str) -> None:
        self._commands.append(NoteWorker(worker.id, what))

    def _heard(self, worker_id: int) -> Worker | None:
        """Any message is a sign of life: the suspect is cleared, the lost is welcomed again."""
        worker = self.state.workers.get(worker_id)
        if worker is None:
            return None
        worker.heard = self.state.now
        if worker.state is WorkerState.SUSPECT:
            self.state.move_worker(worker, WorkerState.ALIVE)
            self._fleet.changed(worker)
            self._commands.append(NoteWorker(worker.id, "heard again"))
        elif worker.state is WorkerState.LOST:
            self._begin_again(worker)
            self.heartbeats.watch(self.state.now)
            self._commands.append(NoteWorker(worker.id, "heard again after it was lost"))
            self._commands.append(WelcomeWorker(worker.id, worker.incarnation))
        return worker

    def _begin_again(self, worker: Worker) -> None:
        """A new incarnation: it has to answer a welcome before it gets work."""
        if worker.state is not WorkerState.JOINING:
            self.state.move_worker(worker, WorkerState.JOINING)
        worker.incarnation += 1
        worker.retracting = worker.robbed = False
        self.heartbeats.begin_again(worker)
        self._hosts.forget(worker)
        self._fleet.changed(worker)

    def _lose(self, worker: Worker, why: str) -> None:
        """Give a worker up. That is no failure of its tasks, unless they kill one worker after another."""
        if worker.state is WorkerState.LOST:
            return
        self.state.move_worker(worker, WorkerState.LOST)
        self.state.lost_workers += 1
        self._hosts.forget(worker)
        self._commands.append(NoteWorker(worker.id, f"lost: {why}"))
        # Short tasks are not told to have begun, so the first ones in line are as suspect as running ones.
        suspects = list(worker.tasks.values())[: worker.slots]
        for task in suspects:
            task.crashes += 1
            self.state.suspects.add(task.spec.id)
        self._take_back_all(worker)
        for task in suspects:
            if task.state is TaskState.READY and task.crashes >= self._settings.crash_limit:
                where = f"workers in a row were lost over it, the last on {worker.info.host}"
                self._outcomes.settle_without(task, TaskState.FAILED, f"poison: {task.crashes} {where}")
        self._fleet.changed(worker)
        self._fleet_changed()
        self._note_if_alone()

    def _take_back_all(self, worker: Worker, but: Collection[int] = ()) -> None:
        worker.retracting = False
        for task in reversed(list(worker.tasks.values())):
            if task.spec.id in but:
                continue
            if task.spec.id in self.state.gangs:
                lost = self._outcomes.break_gang(worker, task)
            else:
                lost = not self._outcomes.let_go(worker, task)
            if lost:
                self._requeue(task)

    def _requeue(self, task: Task) -> None:
        """A task that no worker holds any longer: to the head of the queue, or to its end if unwanted."""
        if task.cancelling:
            self._outcomes.settle_without(task, TaskState.CANCELLED, "cancelled")
        else:
            self.state.make_ready(task, front=True)

    def _fleet_changed(self) -> None:
        """Who is there has changed: reservations are void, and every line is to be looked at again."""
        self._dispatcher.forget_reservation()
        self.state.ready.unpark()
        self.state.ready.doubt()

    # --- tasks run

    def _on_tasks_started(self, event: TasksStarted) -> None:
        worker, state = self._heard(event.worker), self.state
        if worker is None:
            return
        for task_id, attempt in event.attempts:
            task = worker.tasks.get(task_id)
            if task is None or state.attempt_on(task, worker) != attempt:
                continue
            state.overdue_at = min(state.overdue_at, state.now + task.kind.time_out_s)
            if task.worker != worker.id:
                if task_id in state.twins:
                    state.twins[task_id].began = state.now
            elif task.state is TaskState.ASSIGNED:
                state.move(task, TaskState.RUNNING)
                task.began = state.now
                worker.running += 1

    def _on_tasks_returned(self, event: TasksReturned) -> None:
        worker, state = self._heard(event.worker), self.state
        if worker is None:
            return
        worker.retracting = False
        for task_id, attempt in reversed(event.attempts):
            task = worker.tasks.get(task_id)
            if task is None or state.attempt_on(task, worker) != attempt:
                continue
            if task_id in state.gangs:
                if not self._outcomes.break_gang(worker, task):
                    continue
            elif task_id in state.twins:
                if self._outcomes.let_go(worker, task):
                    continue
            else:
                if task.state is TaskState.ASSIGNED:
                    task.attempt -= 1  # it never began
                state.release(worker, task)
            self._requeue(task)
        self._fleet.changed(worker)

    def _on_tasks_finished(self, event: TasksFinished) -> None:
        worker = self._heard(event.worker)
        self._outcomes.take(worker, event.outcomes)
        if worker is not None:
            worker.robbed = False
            self._fleet.changed(worker)

    # --- people and signals

    def _on_drain_requested(self, event: DrainRequested) -> None:
        """Once: take back what has not begun. Again, with ``abandon``: end what runs, too."""
        state = self.state
        if state.drain is not None and (state.drain.abandon or not event.abandon):
            return
        state.drain = event
        for worker in state.workers.values():
            if not worker.tasks or worker.state is WorkerState.LOST:
                continue
            attempts = [(task.spec.id, state.attempt_on(task, worker)) for task in worker.tasks.values()]
            if event.abandon:
                self._commands.append(CancelAttempts(worker.id, attempts))
            else:
                self._commands.append(RetractTasks(worker.id, attempts))
        if event.abandon:
            state.abandon_at = state.now + ABANDON_GRACE_S

    # --- time passes

    def _on_time(self) -> None:
        state, now = self.state, self.state.now
        for task in state.due_tasks(now):
            state.make_ready(task)
        for worker, what in self._hosts.due_probes(now):
            self._fleet.changed(worker)
            self._say(worker, what)
        self._outcomes.close_stuck_gangs()
        if now >= state.overdue_at:
            state.overdue_at = math.inf
            if self._stragglers is not None:
                self._stragglers.end_overdue(self._commands)
        if state.drain is not None:
            state.speculate_at = math.inf
        if now < self.heartbeats.next_check:
            return
        for worker, verdict in self.heartbeats.verdicts(now):
            silence = now - worker.heard
            if verdict is WorkerState.LOST:
                if worker.state is WorkerState.ALIVE:
                    state.move_worker(worker, WorkerState.SUSPECT)
                self._lose(worker, f"silent for {silence:.0f} s")
            else:
                state.move_worker(worker, WorkerState.SUSPECT)
                self._fleet.changed(worker)
                self._commands.append(NoteWorker(worker.id, f"suspect: silent for {silence:.0f} s"))

    # --- work is given out

    def _dispatch(self) -> None:
        state = self.state
        if self._graph.paths_changed():
            state.requeue_all(self._settings.ageing_s)
        self._dispatcher.dispatch(self._commands)
        if state.hosts and state.ready and not self._is_any_held():
            self._let_hosts_in()
        if state.ready:
            self._refuse_impossible()
        if self._stragglers is not None and self._settings.speculation:
            # What cannot be placed is known when it was tried; a record or a snapshot tells no more.
            nothing_to_place = self._dispatcher.nothing_to_place
            if state.now >= state.speculate_at:
                self._stragglers.speculate(self._commands, nothing_to_place)
            self._stragglers.plan(nothing_to_place)
        self._fleet.follow_limits()
        self._note_if_stuck()

    def _is_any_held(self) -> bool:
        counts = self.state.counts
        return bool(counts[TaskState.ASSIGNED] or counts[TaskState.RUNNING])

    def _let_hosts_in(self) -> None:
        """Nothing happens any more as long as hosts are excluded, or probed with one task alone."""
        if self.state.paused:
            return
        for worker in self._hosts.give_way():
            self._commands.append(
                NoteWorker(worker.id, "not excluded any more: nobody else can run what is left")
            )
        for worker in self.state.workers.values():
            self._fleet.changed(worker)
        self.state.ready.unpark()
        self._dispatcher.dispatch(self._commands)

    def _refuse_impossible(self) -> None:
        """When all workers are there: end the tasks that none of them could ever run."""
        state = self.state
        if not 0 < state.expected_workers <= len(state.workers):
            return
        hopeless = set()
        for line in state.ready.lines.values():
            if not line.possible and line.head() is not None:
                line.possible = self._fleet.can_ever(line.requirement, also_gone=True)
                if not line.possible:
                    hopeless.add(line.requirement.anywhere)
        if not hopeless:
            return
        for task in list(state.ready):
            requirement = requirement_of(task.kind)
            if requirement in hopeless:
                why = f"no worker can run it: {self._fleet.why_never(requirement)}"
                self._outcomes.settle_without(task, TaskState.FAILED, why)

    def _note_if_stuck(self) -> None:
        """Note since when all that is left fits none of the workers that are there."""
        state = self.state
        stuck = (
            len(state.ready) > 0
            and len(state.ready) == state.unfinished - len(state.blockers)
            and not state.paused
            and self._someone_is_there()
            and not any(
                line.head() is not None and self._fleet.can_ever(line.requirement)
                for line in state.ready.lines.values()
            )
        )
        if not stuck:
            state.stuck_since = math.inf
        elif state.stuck_since == math.inf:
            state.stuck_since = state.now

    # --- the end

    def _end_if_over(self) -> None:
        state = self.state
        end, why = None, ""
        if state.closed and not state.unfinished:
            end = RunEnd.COMPLETE
        elif state.drain is not None:
            if not self._held_somewhere() or state.now >= state.abandon_at:
                end = RunEnd.INTERRUPTED if state.drain.reason in BY_HAND else RunEnd.STOPPED
                why = f"stopped by {state.drain.reason.words}; {state.unfinished} tasks are left"
        elif self._is_left_alone() and state.now >= state.alone_since + self._silence_s:
            end = RunEnd.STARVED
            why = f"no worker was heard for {self._silence_s:g} s; {state.unfinished} tasks are left"
        elif state.now >= state.stuck_since + self._silence_s:
            end = RunEnd.STARVED
            why = f"no worker that is left can run what is left: {state.unfinished} tasks"
        if end is not None:
            state.ended = True
            self._commands.append(EndRun(end, why))

    def _is_left_alone(self) -> bool:
        waiting = bool(self.state.unfinished) or self.state.closed
        return waiting and not self._someone_is_there()

    def _held_somewhere(self) -> bool:
        return any(worker.tasks for worker in self.state.workers.values())

    def _someone_is_there(self) -> bool:
        return any(worker.state not in GONE for worker in self.state.workers.values())

    def _note_if_alone(self) -> None:
        if not self._someone_is_there():
            self.state.alone_since = self.state.now

    def _count_usage(self) -> None:
        """Count what is held against the limits, where there are any."""
        state = self.state
        state.usage = Usage(self._limits) if Usage.is_needed(self._limits) else None
        if state.usage is None:
            return
        for worker in state.workers.values():
            for task in worker.tasks.values():
                gang = state.gangs.get(task.spec.id)
                follows = gang is not None and gang.workers[0] != worker.id
                state.usage.book(worker, task.kind, 1, follows=follows)
