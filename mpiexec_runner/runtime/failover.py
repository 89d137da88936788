"""Failover, as workers see it: whom they obey, when that hub is gone, who follows it.

It knows ranks, silence and the lease; what a new hub does is ``app/takeover.py``'s.

The hub with the largest epoch is to be obeyed. When it is gone, the lowest rank that is not known to be dead
takes the lease, which one process alone can do, and calls the others. Each rank above waits a little longer
before it tries; so it does not matter whether all of them know the same dead.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol

from typing_extensions import Buffer

from mpiexec_runner.errors import PeerError, UserError
from mpiexec_runner.model.messages import AnyMessage, Finished, Leave, RollCall
from mpiexec_runner.storage.lease import Lease
from mpiexec_runner.storage.owner import Owner, find_owner, is_alive
from mpiexec_runner.transport.port import Transport

LOOK_EVERY_S = 0.02
RETRY_EVERY_S = 0.5
CLAIM_WITHIN_S = 3.0
"""How long a rank is waited for that should follow the hub, before the next one tries."""
CALL_WITHIN_S = 15.0
"""How long a rank that has taken the lease may take to call the others."""
GIVE_UP_S = 120.0
KEPT_BYTES = 256 * 2**20
"""Results that may not be on record are kept up to this size; beyond it their tasks may run again."""
COPIED_BYTES = 64 * 2**20
"""Larger results are not kept at all: to keep one is to copy it, since its task's code may write into it."""


class Heir(Protocol):
    """What a rank can do when its hub is gone."""

    run_dir: str
    """Where the run is, for a hub that died before it called; empty where only the hub knew."""

    def lead(self, lease: Lease, former: Owner | None, gone: Mapping[int, str]) -> None:
        """Be the hub from now on, after ``former``. Called under the worker's lock, to return at once.

        ``gone`` are the ranks that are not to be listened to any more, and why.
        """

    def meet(self, directory: Path, owner: Owner) -> bool:
        """Whether the transport does not lead to a new hub; then see to it that this can call all the same.

        To be asked again until it has called.
        """

    def give_up(self, why: str) -> NoReturn:
        """End this rank: nobody leads it any more, and nobody will."""


class Vacancy(NamedTuple):
    """There is no hub: since when (monotonic, in seconds), and what became of it."""

    since: float
    why: str


class Unconfirmed:
    """Results that were sent and may not be on record yet, oldest first."""

    def __init__(self) -> None:
        self._sent: deque[tuple[Finished | None, list[Buffer], int]] = deque()
        self._before = 0
        """How many were sent to this hub before the oldest that is left."""
        self._bytes = 0

    def __iter__(self) -> Iterator[tuple[Finished, list[Buffer]]]:
        return iter([(finished, buffers) for finished, buffers, _ in self._sent if finished is not None])

    def add(self, finished: Finished, buffers: list[Buffer]) -> None:
        """One more was sent."""
        size = sum(len(outcome.value) + 100 for outcome in finished.outcomes)
        size += sum(memoryview(part).nbytes for part in buffers)
        if size > COPIED_BYTES:
            self._sent.append((None, [], 0))
            return
        self._sent.append((finished, [bytes(memoryview(part)) for part in buffers], size))
        self._bytes += size
        while self._bytes > KEPT_BYTES:
            self._forget()

    def confirm(self, count: int) -> None:
        """The first ``count`` that this hub got are on record."""
        while self._sent and self._before < count:
            self._forget()

    def restart(self) -> None:
        """All that are kept go to a new hub, which counts from the beginning."""
        self._sent = deque(entry for entry in self._sent if entry[0] is not None)
        self._before = 0

    def _forget(self) -> None:
        self._bytes -= self._sent.popleft()[2]
        self._before += 1


class Allegiance:
    """Whom a worker obeys. Used under the worker's lock.

    Parameters
    ----------
    transport
        Leads to the hub; tells who is dead.
    hub
        The rank of the first hub.
    heir
        What can be done when it is gone; ``None`` when nothing can.
    monotonic
        The clock it goes by, in seconds.

    Attributes
    ----------
    hub, epoch
        The hub that is obeyed; the epoch is 0 for one that has not called, or cannot be replaced.
    dead
        Ranks that are known to be dead, and why.
    passed
        Ranks that the last hub did not listen to any more: they are not waited for.
    unconfirmed
        Results that the next hub may need.
    """

    def __init__(
        self,
        transport: Transport,
        hub: int,
        heir: Heir | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._rank = transport.rank
        self._heir = heir if transport.threaded else None
        self.hub, self.epoch = hub, 0
        self.dead: dict[int, str] = {}
        self.passed: set[int] = set()
        self.unconfirmed = Unconfirmed()
        self._since, self._run_dir, self._silence_s = 0, "", 0.0
        self._heard = self._looked = self._monotonic()
        self._look_at = 0.0
        self._vacancy: Vacancy | None = None
        self._is_awaited = False
        self._claimed, self._call_by = 0, 0.0

    @property
    def is_vacant(self) -> bool:
        """Whether there is no hub: what would be told to it has to wait."""
        return self._vacancy is not None

    # --- the hub speaks

    def heard(self, source: int) -> bool:
        """Something came; whether it came from the hub."""
        if source != self.hub:
            return False
        self._heard = self._monotonic()
        if self._vacancy is not None and source not in self.dead:
            self._vacancy = None  # it was silent, and nobody has followed it yet
        return True

    def called(self, source: int, call: RollCall) -> bool:
        """A hub calls; whether it is to be obeyed."""
        if call.epoch < self.epoch or (call.epoch == self.epoch and source != self.hub):
            return False
        self.hub, self.epoch, self._since = source, call.epoch, call.since
        self._run_dir, self._silence_s = call.run_dir, call.silence_s
        self._heard, self._vacancy, self._is_awaited = self._monotonic(), None, False
        return True

    def await_call(self, call: RollCall, gone: Iterable[int]) -> None:
        """There is a hub, or was, that has never called: whoever leads now is to be met."""
        self.called(self.hub, call)
        self.passed.update(gone)
        self._is_awaited = True
        self._vacancy = Vacancy(self._heard, "it has not called")

    def sent(self, messages: list[AnyMessage], buffers: list[Buffer]) -> None:
        """Note what was told to the hub."""
        if self.epoch:
            for message in messages:
                if isinstance(message, Finished):
                    self.unconfirmed.add(message, buffers)

    # --- the hub is gone

    def look(self, now: float) -> Leave | None:
        """See whether there is a hub, and do what is due when there is none.

        Returns
        -------
        Leave | None
            The order to leave, where the hub has ended the run before it went.

        Raises
        ------
        PeerError
            Nobody leads this rank any more, and it has no heir to tell.
        """
        # What this rank missed while it was itself away was nobody's silence.
        away_s = now - self._looked
        self._looked = now
        if self._silence_s and away_s > self._silence_s / 4:
            self._heard += away_s
        if self._vacancy is None:
            if self.hub in self.dead:
                self._vacancy = Vacancy(now, self.dead[self.hub])
            elif self._silence_s and now - self._heard >= self._silence_s:
                self._vacancy = Vacancy(now, f"it was silent for {now - self._heard:.1f} s")
            else:
                return None
        if now < self._look_at:
            return None
        self._look_at = now + LOOK_EVERY_S
        return self._follow(now, self._vacancy)

    def _follow(self, now: float, vacancy: Vacancy) -> Leave | None:
        run_dir = self._run_dir or (self._heir.run_dir if self._heir is not None and not self.epoch else "")
        if self._heir is None or not run_dir:
            self._give_up(vacancy, "")
        directory = Path(run_dir)
        owner = find_owner(directory)
        if self.epoch and owner is not None:
            if owner.released and owner.epoch >= self.epoch:
                return Leave(orderly=False)
            if owner.life != self._since:
                self._give_up(vacancy, f"; {directory} was taken over by {owner}")
        if now >= vacancy.since + GIVE_UP_S:
            self._give_up(vacancy, f"; no other rank has followed it in {GIVE_UP_S:g} s")
        ahead = set(range(self._rank)) - {self.hub} - self.dead.keys() - self.passed
        called = self._is_about_to_be_called(directory, owner, now)
        if called or now < vacancy.since + CLAIM_WITHIN_S * len(ahead):
            return None
        try:
            if self.epoch and owner is not None:
                lease = Lease.succeed(directory, owner, self._rank)
            else:
                lease = Lease.acquire(directory, rank=self._rank)
        except UserError:  # somebody was faster and will call, or a host must be silent for longer
            self._look_at = now + RETRY_EVERY_S
            return None
        self._heir.lead(lease, owner, self.dead | {self.hub: vacancy.why})
        return None

    def _is_about_to_be_called(self, directory: Path, owner: Owner | None, now: float) -> bool:
        """Whether another rank has taken the lease just now, and lives."""
        if owner is None or not self.epoch or owner.rank in self.dead:
            return False
        if owner.epoch < self.epoch or (owner.epoch == self.epoch and not self._is_awaited):
            return False
        if self._heir is not None and self._heir.meet(directory, owner):
            return is_alive(directory, owner)  # whose death MPI does not tell of
        if owner.epoch != self._claimed:
            self._claimed, self._call_by = owner.epoch, now + CALL_WITHIN_S
        return now < self._call_by

    def _give_up(self, vacancy: Vacancy, more: str) -> NoReturn:
        why = f"the hub, rank {self.hub}, is gone: {vacancy.why}{more}"
        if self._heir is not None:
            self._heir.give_up(why)
        raise PeerError(why)
