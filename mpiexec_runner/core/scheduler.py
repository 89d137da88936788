"""TaskScheduler: what happens to a run, event by event. Read it from the top like a story.

It knows no MPI, no clock, no disk: events and the time come in through :meth:`TaskScheduler.handle`,
commands go out, and :meth:`TaskScheduler.next_deadline` says when it wants to be told that time passed.
The same core is driven by the hub, by tests, and by the journal when a run is resumed.
"""

import math
from collections.abc import Sequence
from typing import assert_never

from mpiexec_runner.core.control import Control
from mpiexec_runner.core.dispatch import Dispatcher
from mpiexec_runner.core.endings import Endings
from mpiexec_runner.core.fleet import Fleet
from mpiexec_runner.core.graph import Graph
from mpiexec_runner.core.heartbeat import HeartbeatManager
from mpiexec_runner.core.hosts import Hosts
from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.core.outcomes import Desk, Draw, Outcomes
from mpiexec_runner.core.ports import Placement, Retry, Speculation
from mpiexec_runner.core.roster import Roster
from mpiexec_runner.core.settings import HeartbeatSettings, LimitSettings, SchedulerSettings
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.stragglers import Stragglers
from mpiexec_runner.core.tasks import Task
from mpiexec_runner.model.commands import (
    AnyCommand,
    CancelAttempts,
    NoteWorker,
    RetractTasks,
)
from mpiexec_runner.model.events import (
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
from mpiexec_runner.model.workers import WorkerState

ABANDON_GRACE_S = 10.0
"""How long attempts that were told to end may take before the run leaves without them."""


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
        self._settings, limits = settings, limits or LimitSettings()
        self._commands: list[AnyCommand] = []
        state.count_usage(limits)
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
        desk = Desk(state, self._fleet, self._graph, self._hosts, self.heartbeats, self._commands)
        self._outcomes = Outcomes(desk, retry, draw)
        self._control = Control(desk, self._outcomes, settings)
        self._roster = Roster(desk, self._outcomes, self._control, self._dispatcher, settings, limits)
        self._endings = Endings(desk, self._outcomes, heartbeat.timeout_s)
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
            self._endings.end_if_over()
        asked = commands[:]
        commands.clear()
        return asked

    def next_deadline(self) -> float:
        """When :class:`~mpiexec_runner.model.events.Tick` is wanted at the latest; infinite for never."""
        return min(self._next_alarm(), self._endings.due)

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
                self._roster.on_beat(event)
            case TasksReturned():
                self._on_tasks_returned(event)
            case Tick():
                pass  # handle() looks at the clock after every batch
            case WorkerJoined():
                self._roster.on_joined(event)
            case WorkerLeft():
                self._roster.on_left(event)
            case WorkersSeenWorking():
                self._roster.on_seen_working(event)
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
            self._roster.take_back_all(worker)
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
        self._roster.call_again()

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

    # --- tasks run

    def _on_tasks_started(self, event: TasksStarted) -> None:
        worker, state = self._roster.heard(event.worker), self.state
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
        worker, state = self._roster.heard(event.worker), self.state
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
            self._outcomes.requeue(task)
        self._fleet.changed(worker)

    def _on_tasks_finished(self, event: TasksFinished) -> None:
        worker = self._roster.heard(event.worker)
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
            self._commands.append(NoteWorker(worker.id, what))
        self._outcomes.close_stuck_gangs()
        if now >= state.overdue_at:
            state.overdue_at = math.inf
            if self._stragglers is not None:
                self._stragglers.end_overdue(self._commands)
        if state.drain is not None:
            state.speculate_at = math.inf
        self._roster.judge_silent()

    # --- work is given out

    def _dispatch(self) -> None:
        state = self.state
        if self._graph.paths_changed():
            state.requeue_all(self._settings.ageing_s)
        self._dispatcher.dispatch(self._commands)
        if state.hosts and state.ready and not self._is_any_held():
            self._let_hosts_in()
        if state.ready:
            self._endings.refuse_impossible()
        if self._stragglers is not None and self._settings.speculation:
            # What cannot be placed is known when it was tried; a record or a snapshot tells no more.
            nothing_to_place = self._dispatcher.nothing_to_place
            if state.now >= state.speculate_at:
                self._stragglers.speculate(self._commands, nothing_to_place)
            self._stragglers.plan(nothing_to_place)
        self._fleet.follow_limits()
        self._endings.note_if_stuck()

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
