"""The hub loop: drain the transport, ask the core, write the journal, carry out the commands, wait.

It decides nothing about tasks (``core/scheduler.py``) and never blocks on a worker.
"""

import functools
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import assert_never

import msgspec

from mpiexec_runner.core.listener import Listener
from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.state import RunState
from mpiexec_runner.errors import ConfigError, PeerError, StorageFull, UserError
from mpiexec_runner.model.commands import AnyCommand, EndRun
from mpiexec_runner.model.events import (
    AnyEvent,
    DrainRequested,
    RunOpened,
    TasksFinished,
    TasksReturned,
    TasksStarted,
    TasksSubmitted,
    Tick,
    WorkerBeat,
    WorkerJoined,
    WorkerLeft,
)
from mpiexec_runner.model.messages import (
    AnyMessage,
    Beat,
    Cancel,
    Finished,
    Goodbye,
    Hello,
    Kept,
    Leave,
    Pulse,
    Retract,
    Returned,
    RollCall,
    Run,
    Started,
    Stop,
    Welcome,
)
from mpiexec_runner.model.tasks import Failure, FailureClass, Outcome, Verdict
from mpiexec_runner.model.workers import WorkerState
from mpiexec_runner.runtime.clock import SYSTEM, Clock
from mpiexec_runner.runtime.intake import Intake, name_values
from mpiexec_runner.runtime.interpreter import Interpreter
from mpiexec_runner.runtime.onlooker import Onlooker
from mpiexec_runner.runtime.port import Adder, Keeper
from mpiexec_runner.runtime.requests import RequestDesk
from mpiexec_runner.runtime.shortage import Shortage
from mpiexec_runner.runtime.standstill import Standstill
from mpiexec_runner.runtime.term import Term
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.port import Packet, Transport

PROGRESS_EVERY_S = 0.25
MERGED_TASKS = 10_000
"""Submissions are merged up to this size: one event is one journal frame."""
GOODBYE_GRACE_S = 10.0
"""How long the hub waits at the end for workers that do not answer."""


class RunClock:
    """Seconds since the epoch, as of the wall clock at the start, that never go back.

    Parameters
    ----------
    not_before
        Where an earlier life of the run ended.
    source
        What it goes by.
    """

    def __init__(self, not_before: float = 0.0, source: Clock = SYSTEM) -> None:
        self.source = source
        self._offset = max(source.time(), not_before) - source.monotonic()

    def now(self) -> float:
        """The time, in seconds."""
        return self._offset + self.source.monotonic()


class Hub:
    """Runs one life of a run.

    Parameters
    ----------
    transport
        Leads to the workers.
    workers
        The ranks that work.
    scheduler, keeper, listener, clock
        See their own modules.
    interpreter
        Carries out what the scheduler asks for.
    adder
        Takes in what tasks add to the run; without one they can add nothing.
    term
        What lets another hub follow this one; without it, nobody can.
    gone
        Ranks that are not to be listened to.
    mind
        Asked every so often for what is to happen to the run.
    """

    def __init__(
        self,
        transport: Transport,
        workers: Sequence[int],
        scheduler: TaskScheduler,
        keeper: Keeper,
        listener: Listener,
        interpreter: Interpreter,
        clock: RunClock,
        adder: Adder | None = None,
        *,
        term: Term | None = None,
        gone: Collection[int] = (),
        mind: Callable[[RunState], Sequence[AnyEvent]] = lambda _: (),
    ) -> None:
        self._expand = adder.expand if adder is not None else _refuse_additions
        self._transport, self._workers = transport, set(workers)
        self._scheduler, self._keeper, self._listener = scheduler, keeper, listener
        self._interpreter, self._clock = interpreter, clock
        self._desk = RequestDesk(keeper, lambda what: listener.worker_noted(transport.rank, what))
        self._monotonic, self._waiter = clock.source.monotonic, clock.source.waiter()
        self._standstill = Standstill(listener.noted)
        self._shortage = Shortage(keeper.check_room, self._standstill)
        self._inbox: deque[AnyEvent] = deque()
        self._woken = clock.source.signal()
        self._intake = Intake(keeper.blobs, self._woken.set)
        self._leaving: dict[int, str] = {}
        self._term, self._mind = term, mind
        self._turned = clock.now()
        self._quarantined: set[int] = set(gone)
        self._goodbyes: set[int] = set()
        self._next_look = 0.0
        self._onlooker = Onlooker(keeper.run_dir, scheduler.heartbeats.look_every_s)
        self.scheduling_s = 0.0
        """How long the scheduler took to decide, all together."""

    def post(self, *events: AnyEvent) -> None:
        """Let something happen, from any thread."""
        self._inbox.extend(events)
        self._woken.set()

    def post_from_handler(self, event: AnyEvent) -> None:
        """Let something happen, from a signal handler: one that interrupts a wait must not take its lock."""
        self._inbox.append(event)

    def run(self, epoch: int, opening: AnyEvent | None = None) -> EndRun:
        """Run to the end.

        Parameters
        ----------
        epoch
            The number of this life.
        opening
            What happens first, where that is not a new life.

        Returns
        -------
        EndRun
            How it ended.

        Raises
        ------
        StorageError
            When the record cannot be written: nothing is acknowledged that is not on record. A disk that is
            full is waited for, until the run is told to stop. ``Fenced`` when another hub has followed this
            one.
        """
        self._inbox.appendleft(opening or RunOpened(epoch, len(self._workers)))
        self._interpreter.places.begin()
        if self._term is not None:
            self._term.begin()
        else:
            for rank in self._workers:
                self._send(rank, RollCall())
        while (end := self._interpreter.end) is None or not self._is_synced():
            if not self.turn():
                self._wait()
        self.dismiss()
        self._interpreter.places.close()
        self._desk.close()
        self._listener.progressed(self._scheduler.state)
        self._listener.ended(end.end, end.why)
        return end

    def turn(self) -> bool:
        """One round; whether anything had happened."""
        self._notice_absence()
        if self._standstill.is_on:
            return self._stand_by()
        events = list(self._collect())
        now = self._clock.now()
        quiet = not events
        if quiet and now >= self._scheduler.next_deadline():
            events.append(Tick())
        if events:
            began = self._monotonic()
            commands = self._scheduler.handle(events, now)
            self.scheduling_s += self._monotonic() - began
            try:
                self._put_on_record(now, events, commands)
            except StorageFull as error:
                again = functools.partial(self._put_on_record, now, events, commands)
                results = sum(len(event.outcomes) for event in events if isinstance(event, TasksFinished))
                self._standstill.begin(error, now, again, results)
                return True
        if now >= self._next_look:
            self._next_look = now + PROGRESS_EVERY_S
            self._look_around(now)
        if not quiet:
            self._waiter.traffic()
        return not quiet

    def _put_on_record(self, now: float, events: list[AnyEvent], commands: list[AnyCommand]) -> None:
        """Nothing follows from what is not on record."""
        self._keeper.journal.append(now, events)
        self._interpreter.carry_out(commands)
        self._desk.settle()

    def _stand_by(self) -> bool:
        """One round while the disk is full; whether it is not any more."""
        now = self._clock.now()
        self._standstill.hear(self._transport.receive())
        if now < self._next_look:
            return self._standstill.try_again(now)
        self._next_look = now + PROGRESS_EVERY_S
        self._keeper.renew(now)
        self._listener.progressed(self._scheduler.state)
        self.post(*self._desk.take(self._scheduler.state))
        told_to_stop = any(isinstance(event, DrainRequested) for event in list(self._inbox))
        over = self._standstill.try_again(now, at_once=told_to_stop)
        if told_to_stop and not over:
            raise self._standstill.given_up()
        return over

    def _is_synced(self) -> bool:
        """Whether all that was put on record outlives the host; where the disk is full, it is waited for."""
        if self._standstill.is_on:
            return False
        try:
            self._keeper.journal.sync()
        except StorageFull as error:
            self._standstill.begin(error, self._clock.now(), self._keeper.journal.sync)
            return False
        return True

    def _notice_absence(self) -> None:
        """A hub that was stopped for a while looks whether it still is the hub, before it writes anything."""
        before, self._turned = self._turned, self._clock.now()
        if self._term is not None and self._turned - before > self._term.stall_s:
            self._keeper.confirm()

    def _look_around(self, now: float) -> None:
        """What need not be done at every turn."""
        state = self._scheduler.state
        for note in self._keeper.maintain(state, now):
            self._listener.noted(note)
        if self._term is not None:
            self._term.confirm(self._keeper.journal, now)
        self._listener.progressed(state)
        # The next turn puts these on record, and then the desk answers.
        if events := [*self._desk.take(state), *self._mind(state)]:
            self.post(*events)
        if seen := self._onlooker.look(self._scheduler.heartbeats.doubtful(now), now):
            self.post(seen)

    def _wait(self) -> None:
        wanted = self._standstill.due if self._standstill.is_on else self._scheduler.next_deadline()
        self._wait_until(self._monotonic() + min(wanted, self._next_look) - self._clock.now())

    def _wait_until(self, due: float) -> None:
        if self._woken.wait(self._waiter.next_s(due)):
            self._woken.clear()

    # --- what comes in

    def _collect(self) -> Iterator[AnyEvent]:
        """Everything that has happened since the last round, in order."""
        yield from self._take_inbox()
        arrived = [*self._standstill.take(), *self._transport.receive()]
        self._leaving.update(self._transport.gone())
        self._intake.add([packet for packet in arrived if packet.source not in self._quarantined])
        try:
            for packet in self._intake.ready():
                yield from self._take_in(packet)
        except StorageFull as error:
            self._standstill.begin(error, self._clock.now(), self._go_on_taking_in, self._intake.results())
            return
        for rank in [rank for rank in self._leaving if not self._intake.holds(rank)]:
            yield from self._quarantine(rank, self._leaving.pop(rank))

    def _take_in(self, packet: Packet) -> Iterator[AnyEvent]:
        if packet.source in self._quarantined:
            return
        try:
            yield from list(self._translate(packet))  # all of it, or nothing
        except PeerError as error:
            yield from self._quarantine(packet.source, f"it sent {error}")

    def _go_on_taking_in(self) -> None:
        """Raises ``StorageFull`` for as long as nothing can be taken in."""
        self._keeper.check_room()
        self._intake.retry()

    def _take_inbox(self) -> Iterator[AnyEvent]:
        """What was posted; submissions that follow one another become one event."""
        submitted: TasksSubmitted | None = None
        while self._inbox:
            event = self._inbox.popleft()
            if (
                isinstance(event, TasksSubmitted)
                and submitted is not None
                and len(submitted.tasks) + len(event.tasks) <= MERGED_TASKS
            ):
                submitted.tasks.extend(event.tasks)
                continue
            if submitted is not None:
                yield submitted
            submitted = event if isinstance(event, TasksSubmitted) else None
            if submitted is None:
                yield event
        if submitted is not None:
            yield submitted

    def _heed_rival(self, its_epoch: int, own_epoch: int) -> None:
        """Another rank calls itself the hub."""
        if its_epoch > own_epoch:
            self._keeper.confirm()

    def _quarantine(self, rank: int, why: str) -> Iterator[AnyEvent]:
        if rank not in self._quarantined:
            self._quarantined.add(rank)
            if self._term is not None:
                self._term.lost(rank)
            yield WorkerLeft(rank, why)

    def _translate(self, packet: Packet) -> Iterator[AnyEvent]:
        """Messages as events. Who sent them is what the transport says, not what they claim."""
        source = packet.source
        for message in codec.decode(packet.body):
            match message:
                case Finished():
                    yield from self._take_results(source, message, packet.buffers)
                case Started():
                    yield TasksStarted(source, message.attempts)
                case Beat():
                    yield WorkerBeat(source, message.incarnation, message.load)
                case Returned():
                    yield TasksReturned(source, message.attempts)
                case Hello():
                    self._workers.add(source)  # one that replaces another was not there before
                    yield WorkerJoined(source, message.incarnation, message.info, message.running)
                case Goodbye():
                    if not message.why:  # else it cannot leave: its main thread is stuck
                        self._goodbyes.add(source)
                    yield WorkerLeft(source, message.why)
                case RollCall() | Pulse() if self._term is not None:
                    self._heed_rival(message.epoch, self._term.epoch)
                case RollCall() | Pulse() | Kept() | Welcome() | Run():
                    raise PeerError(f"a {type(message).__name__}, which is for workers only")
                case Retract() | Cancel() | Stop() | Leave():
                    raise PeerError(f"a {type(message).__name__}, which is for workers only")
                case _:
                    assert_never(message)

    def _take_results(self, source: int, message: Finished, buffers: list[memoryview]) -> Iterator[AnyEvent]:
        outcomes = name_values(message, buffers)[0] if buffers else message.outcomes
        outcomes, again = self._shortage.split(outcomes, self._clock.now())
        if self._term is not None:
            self._term.took(source)
        added: list[AnyEvent] = []
        if any(outcome.more for outcome in outcomes):
            outcomes, added = self._take_additions(outcomes)
        self._interpreter.places.ended(outcomes)
        if again:
            yield TasksStarted(source, again)  # else it would have the same number again
            yield TasksReturned(source, again)
        if outcomes:
            yield TasksFinished(source, outcomes)
        yield from added  # in the same batch: on record together, or not at all

    def _take_additions(self, outcomes: list[Outcome]) -> tuple[list[Outcome], list[AnyEvent]]:
        """What tasks add that have just succeeded; one that adds nonsense has failed."""
        kept: list[Outcome] = []
        added: list[AnyEvent] = []
        for outcome in outcomes:
            task = self._scheduler.state.tasks.get(outcome.task)
            wanted = outcome.more and outcome.verdict is Verdict.SUCCEEDED
            if not wanted or task is None or task.state.terminal:
                kept.append(outcome)
                continue
            try:
                added += self._expand(outcome)
                outcome = msgspec.structs.replace(outcome, more=b"")  # noqa: PLW2901
            except (UserError, ConfigError, msgspec.MsgspecError) as error:
                failure = Failure(FailureClass.RESULT, f"the tasks that it adds: {error}")
                outcome = msgspec.structs.replace(  # noqa: PLW2901
                    outcome, verdict=Verdict.FAILED, failure=failure, more=b""
                )
            kept.append(outcome)
        return kept, added

    # --- the end

    def dismiss(self) -> None:
        """End the run on every worker and wait for the goodbyes of those that are there, but not for ever."""
        for rank in self._workers:
            self._send(rank, Stop())
        give_up_at = self._monotonic() + GOODBYE_GRACE_S
        while self._awaited() and self._monotonic() < give_up_at:
            if self._standstill.is_on:
                self._standstill.hear(self._transport.receive())
                self._standstill.try_again(self._clock.now())
            elif list(self._collect()):  # all of it, though only the goodbyes matter now
                self._waiter.traffic()
            self._wait_until(give_up_at)
        for rank in self._awaited():
            self._listener.worker_noted(rank, "did not leave in time")

    def _awaited(self) -> list[int]:
        """Whose goodbye may come: those that are lost have been waited for already."""
        known = self._scheduler.state.workers
        return [
            rank for rank in self.missing() if rank not in known or known[rank].state is not WorkerState.LOST
        ]

    def missing(self) -> list[int]:
        """Workers that have neither said goodbye nor been found dead."""
        return sorted(self._workers - self._goodbyes - self._quarantined)

    def everyone_left(self) -> bool:
        """Whether every worker said goodbye: only then can MPI be finalised."""
        return self._goodbyes >= self._workers

    def _send(self, rank: int, message: AnyMessage) -> None:
        self._transport.send(rank, codec.encode([message]))


def _refuse_additions(outcome: Outcome) -> Sequence[AnyEvent]:
    raise UserError(f"task {outcome.task} is of a Python program: submit further tasks in the program")
