"""The worker loop: takes tasks from the hub, runs them, tells how they ended.

It knows nothing of scheduling. Two threads share a worker: the one that runs tasks, and the attendant
(``attendant.py``), which sends heartbeats and answers the hub while a long task keeps the first one busy.
Everything but the user's code happens under one lock.
"""

import contextlib
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable

from typing_extensions import Buffer

from mpiexec_runner.errors import PeerError
from mpiexec_runner.execute import additions
from mpiexec_runner.execute.ending import Reason, verdict_of
from mpiexec_runner.execute.guard import Guard
from mpiexec_runner.execute.port import Result
from mpiexec_runner.model.messages import (
    AnyMessage,
    Beat,
    Cancel,
    Goodbye,
    Hello,
    Kept,
    Leave,
    Pulse,
    Retract,
    RollCall,
    Run,
    Stop,
    Welcome,
)
from mpiexec_runner.model.tasks import Mode, Outcome
from mpiexec_runner.model.workers import WorkerInfo
from mpiexec_runner.runtime.attempts import Attempts, Launcher, Maker, no_launcher
from mpiexec_runner.runtime.attendant import Attendant
from mpiexec_runner.runtime.claims import NO_CLAIM, Claim, Claims, nothing_to_claim
from mpiexec_runner.runtime.clock import SYSTEM, Clock
from mpiexec_runner.runtime.failover import Allegiance, Heir
from mpiexec_runner.runtime.holdings import FLUSH_BYTES, Held, KnownKind, Line, Outbox, choose_mode, mode_of
from mpiexec_runner.runtime.oversight import GIVE_UP_AFTER_S, Oversight
from mpiexec_runner.runtime.slots import Key, Slots
from mpiexec_runner.runtime.waiting import IDLE_SPIN_S
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.port import Packet, Transport

FLUSH_S = 0.001
"""Results of short tasks are sent together, at most this long after the first of them."""
LAST_WORDS_S = 10.0
"""How long a worker that leaves waits for the hub to take what it said last."""


class _Current:
    """The call that keeps the main thread busy."""

    __slots__ = ("claim", "held", "kind", "oversight", "reason", "since", "told")

    def __init__(self, held: Held, kind: KnownKind, claim: Claim, since: float) -> None:
        self.held, self.kind, self.claim, self.since = held, kind, claim, since
        self.oversight: Oversight | None = None
        """Of the call of a group: any other is left to itself."""
        self.told = False
        self.reason: Reason | None = None
        """Why the hub has ended it, if it has."""

    @property
    def key(self) -> Key:
        return self.held[0].id, self.held[1]


class Worker:
    """One rank's worker.

    Parameters
    ----------
    transport
        Leads to the hub.
    info
        What it tells of itself.
    environment
        What commands and child processes inherit: this rank's, without the launcher's variables.
    claims
        What its tasks can claim.
    launcher
        For commands of several ranks.
    hub
        The first hub's rank.
    heir
        What it can do when its hub is gone; without one it ends then.
    clock
        What it goes by, and waits by.
    attempts
        Makes its attempts; without it, attempts are made as kinds ask for.
    """

    def __init__(
        self,
        transport: Transport,
        info: WorkerInfo,
        environment: dict[str, str],
        claims: Claims | None = None,
        launcher: Launcher = no_launcher,
        hub: int = 0,
        heir: Heir | None = None,
        *,
        clock: Clock = SYSTEM,
        attempts: Maker | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self._transport, self._info = transport, info
        self._allegiance = Allegiance(transport, hub, heir, clock.monotonic)
        self._inline = transport.threaded and info.slots == 1
        self._claims = claims or nothing_to_claim()
        self._attempts: Maker = attempts or Attempts(
            transport, environment, self._claims, launcher, inline=self._inline, alone=info.slots == 1
        )
        self._monotonic, self._waiter = clock.monotonic, clock.waiter(IDLE_SPIN_S)
        self._slots = Slots(info.slots, self._waiter, self._claims)
        self._line, self._outbox = Line(), Outbox()
        self._kinds: dict[int, KnownKind] = {}
        self._welcome: Welcome | None = None
        self._stopping = False
        self._leave: Leave | None = None
        self._given_up = False
        self._guard = Guard()
        self._current: _Current | None = None
        self._next_beat = math.inf
        self._errands: deque[Callable[[], None]] = deque()
        self._attendant = Attendant(self, clock)

    # --- the loop

    def serve(self) -> bool:
        """Work for one run after the other, until the hub says that this was all.

        Returns
        -------
        bool
            Whether all ranks leave in order, so that MPI can be finalised.

        Raises
        ------
        PeerError
            When the hub breaks the protocol, or is gone and cannot be replaced.
        """
        additions.begin()
        self._guard.begin()
        if self._transport.threaded:
            self._attendant.start()
        try:
            while True:
                busy = self._turn()
                if self._leave is not None:
                    self._drain_transport()
                    return self._leave.orderly
                if not busy:
                    self._waiter.wait(self._next_due())
        finally:
            self._attendant.stop()
            self._slots.abandon()
            self._attempts.close()
            self._guard.close()

    def _turn(self) -> bool:
        """Once round: take messages, start tasks, look after those that run. Whether there was anything."""
        with self.lock:
            if self._attendant.error is not None:
                raise self._attendant.error
            while self._errands:
                self._errands.popleft()()
            busy = self._receive()
            busy |= self._look_after_slots()
            self._start_beside()
            if self._stopping and not self._slots:
                self._say_goodbye()
            self._flush()
            self._beat_if_due(self._monotonic())
            undecided = self._undecided()
            inline = self._next_inline() if undecided is None else None
        if undecided is not None:  # importing its function takes as long as it takes
            self._attempts.decide(undecided)
            busy = True
        elif inline is not None:
            self._burst(inline)
            self._guard.mend()  # what short calls have changed
            busy = True
        if busy:
            self._waiter.traffic()
        return busy

    def _burst(self, current: _Current) -> None:
        """Run inline tasks one after the other, until the line ends or it is time to speak."""
        flush_at = self._monotonic() + FLUSH_S
        self._attendant.stir()
        next_: _Current | None = current
        while next_ is not None:
            result = self._attempts.call(next_.held, next_.kind, next_.claim, self._is_stopped)
            if not next_.kind.brief:
                self._guard.mend()
            with self.lock:
                self._current = None
                if self._given_up:
                    self._come_back()
                self._claims.give_back(next_.claim)
                self._outbox.finished(_overruled(next_, result))
                now = self._monotonic()
                if now >= flush_at or self._outbox.bytes > FLUSH_BYTES:
                    return
                next_ = self._next_inline(now)

    def _next_inline(self, now: float | None = None) -> _Current | None:
        """The next task in line if it is to run in this thread, and may; it counts as begun."""
        held = self._line.head()
        if held is None or not self._slots.free:
            return None
        kind = self._kinds[held[0].kind]
        if mode_of(held, kind) is not Mode.INLINE and (held[3] is None or not held[3].group):
            return None
        claim: Claim | None = NO_CLAIM
        if kind.claims and (claim := self._claims.take(kind.spec.needs)) is None:
            return None
        since = self._monotonic() if now is None else now
        self._current = _Current(self._line.pop(), kind, claim or NO_CLAIM, since)
        if held[3] is not None and held[3].group:
            self._current.oversight = self._claims.oversight(kind.spec, since)
        return self._current

    def _undecided(self) -> KnownKind | None:
        """The kind of the next task, if its function has to be looked at before it can begin."""
        held = self._line.head()
        if held is None or (kind := self._kinds[held[0].kind]).decided:
            return None
        return None if mode_of(held, kind) is Mode.PROCESS else kind

    def _start_beside(self) -> None:
        """Start tasks that run beside this thread, in order, while there are slots and what they need."""
        while self._slots.free and not self._stopping and (held := self._line.head()) is not None:
            kind = self._kinds[held[0].kind]
            mode = mode_of(held, kind)
            decided = kind.decided or mode is Mode.PROCESS
            if mode is Mode.INLINE or not decided or (held[3] is not None and held[3].group):
                return
            claim: Claim | None = NO_CLAIM
            if kind.claims and (claim := self._claims.take(kind.spec.needs)) is None:
                return
            self._line.pop()
            claim = claim or NO_CLAIM
            begun = self._attempts.begin(held, kind, claim)
            if isinstance(begun, tuple):
                self._claims.give_back(claim)
                self._outbox.finished(begun)
            else:
                self._slots.add((held[0].id, held[1]), begun, claim, self._monotonic())

    def _look_after_slots(self) -> bool:
        ended, lasting = self._slots.look_after(self._monotonic())
        for result in ended:
            self._outbox.finished(result)
        if ended:
            self._guard.mend()
        for key in lasting:
            self._outbox.started(key)
        return bool(ended)

    def _is_stopped(self) -> bool:
        """Whether the hub has ended what this thread does, or is gone: a group asks while it gathers."""
        if not self._transport.threaded and self._attendant.error is None:  # nobody else listens meanwhile
            try:
                self._speak()
            except PeerError as error:  # raised when the group has parted: it would take it for its own
                self._attendant.error = error
        if self._attendant.error is not None:
            return True
        return self._current is not None and self._current.reason is not None

    # --- what the hub says

    def _receive(self) -> bool:
        packets = self._transport.receive()
        gone = dict(self._transport.gone())
        if self._allegiance.hub in gone:  # its death may be told of before its last words
            packets += self._transport.receive()
        self._allegiance.dead.update(gone)
        for packet in packets:
            if self._allegiance.heard(packet.source):
                self._take(packet)
            else:
                self._take_from_another(packet)
        if self._leave is None:
            self._leave = self._allegiance.look(self._monotonic())
        return bool(packets)

    def _take_from_another(self, packet: Packet) -> None:
        """Only one word of another rank counts: that it is the hub now."""
        with contextlib.suppress(PeerError):
            for message in codec.decode(packet.body):
                if isinstance(message, RollCall):
                    self._on_roll_call(packet.source, message)

    def _take(self, packet: Packet) -> None:
        for message in codec.decode(packet.body):
            match message:
                case Run():
                    self._on_run(message, packet.buffers)
                case Retract():
                    self._outbox.returned(self._line.remove(message.attempts))
                case Cancel():
                    self._on_cancel(message)
                case Welcome():
                    self._on_welcome(message)
                case RollCall():
                    self._on_roll_call(packet.source, message)
                case Kept():
                    self._allegiance.unconfirmed.confirm(message.count)
                case Pulse():
                    self._allegiance.passed.update(message.gone)
                case Stop():
                    self._stopping = True
                    self._line.clear()
                case Leave():
                    self._leave = message
                case _:
                    raise PeerError(f"the hub sent a {type(message).__name__}, which is for hubs only")

    def _on_roll_call(self, source: int, message: RollCall) -> None:
        """A hub calls: it is told what runs here, after the results that it may not know of."""
        before = self._allegiance.epoch
        if not self._allegiance.called(source, message):
            return
        if self._transport.groups is not None:
            self._transport.groups.follow(source)
        if before and message.epoch > before:
            self._stopping = False
            self._line.clear()
            self._outbox.keep_results()
            for finished, buffers in self._allegiance.unconfirmed:
                self._transport.send(source, codec.encode([finished]), buffers)
            self._allegiance.unconfirmed.restart()
            self._flush()
        running = self._slots.keys() + ([self._current.key] if self._current is not None else [])
        self._outbox.say(Hello(self._info, self._welcome.incarnation if self._welcome else 0, running))

    def _on_welcome(self, message: Welcome) -> None:
        """A new incarnation: what was held before has been given to others."""
        self._stopping = False
        self._line.clear()
        self._kinds.clear()
        if not message.keep:
            self._slots.stop_all(self._monotonic())
            if self._current is not None:
                self._stop_current(Reason.CANCEL)
        self._welcome = message
        self._attempts.welcome(message, self._allegiance.hub)
        self._next_beat = 0.0

    def _on_run(self, message: Run, buffers: list[memoryview]) -> None:
        for spec in message.kinds:
            kind = KnownKind(spec, choose_mode(spec, inline=self._inline))
            self._attempts.know(kind)
            self._kinds[spec.id] = kind
        unknown = {spec.kind for spec in message.tasks} - self._kinds.keys()
        if unknown:
            raise PeerError(f"the hub sent tasks of kinds that it never told of: {sorted(unknown)}")
        self._line.add(message, buffers)

    def _on_cancel(self, message: Cancel) -> None:
        reason = Reason.OVERDUE if message.overdue else Reason.CANCEL
        self._outbox.ended_unbegun(self._line.remove(message.attempts), reason)
        now = self._monotonic()
        for key in message.attempts:
            if self._slots.stop(key, reason, now):
                continue
            if self._current is not None and self._current.key == key:
                self._stop_current(reason)

    def _stop_current(self, reason: Reason) -> None:
        """Nothing ends a call in the main thread but itself, or the loss of its communicator."""
        if self._current is not None and self._current.reason is None:
            self._current.reason = reason
            if self._current.oversight is not None:
                self._current.oversight.end(self._monotonic())
                if self._transport.groups is not None:
                    self._transport.groups.revoke()

    # --- what the hub is told

    def attend(self, busy_s: float) -> float:
        """What the attendant does; the seconds until it should come again.

        A task that has kept the other thread busy for ``busy_s`` is told to have begun, and the hub is
        listened to in its stead.
        """
        with self.lock:
            now = self._monotonic()
            if self._given_up and self._leave is not None:
                os._exit(0)  # all is on record, and the thread that should leave never will
            self._beat_if_due(now)
            if self._current is None:
                return self._next_beat - now
            if now - self._current.since >= busy_s:
                if self._current.oversight is not None:
                    self._oversee(self._current, self._current.oversight, now)
                self._speak()
                self._look_after_slots()
            return busy_s

    def _oversee(self, current: _Current, oversight: Oversight, now: float) -> None:
        """End the call of a group that takes too much, and see that one that was ended is left."""
        if current.reason is None and (reason := oversight.why_to_end(now)) is not None:
            self._stop_current(reason)
        if not oversight.press(now) or self._given_up:
            return
        task = f"task {current.key[0]}, which was ended {GIVE_UP_AFTER_S:.0f} s ago"
        self._outbox.say(Goodbye(f"its main thread does not get out of the group of {task}"))
        self._flush()
        self._given_up = True

    def _come_back(self) -> None:
        """What this worker was given up for is over."""
        self._given_up = False
        self._outbox.say(Hello(self._info, self._welcome.incarnation if self._welcome else 0))

    def _speak(self) -> None:
        """Listen to the hub and answer it while the main thread is busy."""
        with self.lock:
            if self._current is not None and not self._current.told:
                self._current.told = True
                self._outbox.started(self._current.key)
            self._receive()
            self._flush()
            self._beat_if_due(self._monotonic())

    def _beat_if_due(self, now: float) -> None:
        if self._welcome is None or now < self._next_beat or self._given_up:
            return
        self._next_beat = now + self._welcome.heartbeat_interval_s
        running = len(self._slots) + (self._current is not None)
        held = len(self._line) + running
        self._outbox.say(Beat(self._welcome.incarnation, self._attempts.load(held, running)))
        self._flush()

    def _flush(self) -> None:
        if self._outbox and not self._allegiance.is_vacant:
            messages, buffers = self._outbox.take()
            self._send(messages, buffers)

    def _send(self, messages: list[AnyMessage], buffers: list[Buffer]) -> None:
        self._allegiance.sent(messages, buffers)
        self._transport.send(self._allegiance.hub, codec.encode(messages), buffers)

    def _next_due(self) -> float:
        return min(self._next_beat, self._slots.next_due())

    def _say_goodbye(self) -> None:
        self._outbox.say(Goodbye())
        self._stopping, self._welcome, self._next_beat = False, None, math.inf

    def await_hub(self, call: RollCall, gone: Iterable[int]) -> None:
        """Before it serves: there is a hub, or was, that this worker has no way to and that may be followed.

        ``call`` is what it would say; those that are ``gone`` need not be waited for.
        """
        self._allegiance.await_call(call, gone)

    # --- its rank leads

    def move_to(self, transport: Transport) -> None:
        """Talk through another transport from now on: the hub is in this process. Under the lock."""
        self._transport = transport

    def soon(self, errand: Callable[[], None]) -> None:
        """Let the main thread do something when it is between two tasks. From any thread."""
        self._errands.append(errand)

    def abandon(self) -> None:
        """Kill what runs beside the main thread: this process is about to end."""
        with self.lock:
            self._slots.abandon()
            self._attempts.close()

    def _drain_transport(self) -> None:
        """Let what was said last go out, if there is anybody to take it."""
        give_up_at = self._monotonic() + LAST_WORDS_S
        while self._transport.unsent() and self._monotonic() < give_up_at:
            self._waiter.wait(give_up_at)


def _overruled(current: _Current, result: Result) -> Result:
    """The result of a call, unless the hub had ended it: then what counts is why.

    A call that nobody wants any more and that could not be ended has run to its end; its result may be of
    use after all. Not so a group's: the others have left it.
    """
    reason, oversight = current.reason, current.oversight
    if reason is None or (reason is Reason.CANCEL and oversight is None):
        return result
    old = result[0]
    verdict, failure = verdict_of(reason, old.elapsed_s, oversight.detail if oversight is not None else "")
    return Outcome(
        old.task, old.attempt, verdict, old.started, old.elapsed_s, b"", old.cpu_s, failure=failure
    ), []
