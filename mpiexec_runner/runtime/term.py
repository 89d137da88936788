"""Failover, as a hub sees it: it calls the workers, says that it lives, and which results are on record.

It knows neither leases nor who follows; for the workers' side see ``failover.py``.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from mpiexec_runner.core.fleet import GONE
from mpiexec_runner.core.settings import HeartbeatSettings
from mpiexec_runner.core.state import RunState
from mpiexec_runner.model.events import AnyEvent, WorkerSwitched
from mpiexec_runner.model.messages import Kept, Pulse, RollCall
from mpiexec_runner.runtime.clock import SYSTEM, Clock, Thread
from mpiexec_runner.storage.port import JournalPort
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.port import Transport

CONFIRM_EVERY_S = 1.0
LONGEST_STALL_S = 1.0
NEEDED_AFTER_S = 1.0


class Term:
    """The time of one hub that can be replaced.

    Parameters
    ----------
    transport
        Leads to the workers.
    workers
        Their ranks; further ones may follow.
    call
        What this hub says of itself; without the silence, which is added here.
    heartbeat
        How often it shows that it lives, and how long it may be silent.
    gone
        Ranks that are not to be listened to any more.
    clock
        What it goes by.
    """

    def __init__(
        self,
        transport: Transport,
        workers: Iterable[int],
        call: RollCall,
        heartbeat: HeartbeatSettings,
        gone: Iterable[int] = (),
        clock: Clock = SYSTEM,
    ) -> None:
        self._transport, self._workers, self._gone = transport, set(workers), set(gone)
        silence_s = heartbeat.timeout_s if transport.threaded else 0.0
        self._call = RollCall(call.epoch, call.since, call.run_dir, silence_s)
        self._interval_s = heartbeat.interval_s
        self.epoch = call.epoch
        self.stall_s = min(LONGEST_STALL_S, heartbeat.timeout_s / 2)
        """A hub that was away for longer may have been replaced meanwhile."""
        self._clock, self._over = clock, clock.signal()
        self._thread: Thread | None = None
        self._called = False
        self._taken: Counter[int] = Counter()
        self._told: dict[int, int] = {}
        self._marked: tuple[int, dict[int, int]] | None = None
        self._confirm_at = 0.0

    def begin(self) -> None:
        """Call the workers, once, and show from now on that this hub lives."""
        if self._called:
            return
        self._called = True
        for rank in tuple(self._workers):
            self.call(rank)
        if self._transport.threaded:
            self._thread = self._clock.start(self._beat, "pulse")

    def call(self, rank: int) -> None:
        """Call a worker, which may be new. From any thread."""
        self._workers.add(rank)
        self._transport.send(rank, codec.encode([self._call, self._pulse()]))

    def lost(self, rank: int) -> None:
        """A worker is gone: the others learn it at once, since this hub may be the next."""
        self._gone.add(rank)
        self._workers.discard(rank)
        self._tell_all()

    def _pulse(self) -> Pulse:
        return Pulse(self.epoch, tuple(sorted(self._gone)))

    def _tell_all(self) -> None:
        body = codec.encode([self._pulse()])
        for rank in tuple(self._workers):
            self._transport.send(rank, body)

    def end(self) -> None:
        """Be silent from now on."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        """A thread of its own: a hub that writes a large checkpoint is not gone."""
        while not self._over.wait(self._interval_s):
            self._tell_all()

    # --- results

    def took(self, rank: int) -> None:
        """Results came from a rank; they are on record before :meth:`confirm` is called next."""
        self._taken[rank] += 1

    def confirm(self, journal: JournalPort, now: float) -> None:
        """Tell workers what they need not keep for another hub."""
        if self._marked is None:
            if now >= self._confirm_at:
                self._confirm_at = now + CONFIRM_EVERY_S
                if self._taken != self._told:
                    self._marked = journal.count(), dict(self._taken)
        elif journal.is_durable(self._marked[0]):
            (_, counts), self._marked = self._marked, None
            for rank, count in counts.items():
                if count != self._told.get(rank):
                    self._transport.send(rank, codec.encode([Kept(count)]))
            self._told = counts


class StepAside:
    """Keeps the worker beside a hub out of work for as long as the others can do it.

    A task that holds the interpreter, or crashes, would take the hub along.
    """

    WHY = "it leads the run now, and the others can do the work"

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._needed_since: float | None = None

    def events(self, state: RunState) -> Sequence[AnyEvent]:
        """What is to change; asked for every so often."""
        own = state.workers.get(self._rank)
        if own is None or own.state in GONE:
            return ()
        others = [
            worker
            for worker in state.workers.values()
            if worker is not own and worker.state not in GONE and not worker.disabled
        ]
        aside = own.disabled == self.WHY
        if self._is_needed(state, any(other.tasks for other in others)) or not others:
            return [WorkerSwitched(self._rank, enabled=True)] if aside else ()
        if not own.disabled and not own.tasks:
            return [WorkerSwitched(self._rank, enabled=False, why=self.WHY, by_hand=False)]
        return ()

    def _is_needed(self, state: RunState, others_work: bool) -> bool:
        """Whether something is ready, and has been for a while, that the others do not take."""
        if others_work or not state.ready or state.paused:
            self._needed_since = None
            return False
        if self._needed_since is None:
            self._needed_since = state.now
        return state.now >= self._needed_since + NEEDED_AFTER_S
