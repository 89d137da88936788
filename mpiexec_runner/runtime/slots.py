"""The attempts that run beside a worker's main thread: commands, child processes, threads, coroutines.

It looks after them and keeps what they have claimed; it neither starts them nor talks to the hub.
"""

import math

from mpiexec_runner.execute.ending import Reason
from mpiexec_runner.execute.port import Result, Running
from mpiexec_runner.runtime.attendant import BUSY_S
from mpiexec_runner.runtime.claims import Claim, Claims
from mpiexec_runner.runtime.waiting import Waiter

Key = tuple[int, int]
"""A task and the number of its attempt."""


class _Begun:
    """An attempt, when it began, what it has claimed, and whether the hub was told that it lasts."""

    __slots__ = ("claim", "running", "since", "told")

    def __init__(self, running: Running, since: float, claim: Claim) -> None:
        self.running, self.since, self.claim, self.told = running, since, claim, False

    @property
    def next_act(self) -> float:
        """When it has to be looked after at the latest."""
        return self.running.next_act if self.told else min(self.running.next_act, self.since + BUSY_S)


class Slots:
    """So many attempts at the same time, at most.

    Parameters
    ----------
    count
        How many.
    waiter
        Is told which descriptors to watch.
    claims
        Get back what ended attempts had claimed.
    """

    def __init__(self, count: int, waiter: Waiter, claims: Claims) -> None:
        self.count = count
        self._waiter, self._claims = waiter, claims
        self._begun: dict[Key, _Begun] = {}

    def __len__(self) -> int:
        return len(self._begun)

    @property
    def free(self) -> bool:
        """Whether one more may begin."""
        return len(self._begun) < self.count

    def add(self, key: Key, running: Running, claim: Claim, now: float) -> None:
        """An attempt began."""
        self._begun[key] = _Begun(running, now, claim)
        self._waiter.watch(running.fileno())

    def look_after(self, now: float) -> tuple[list[Result], list[Key]]:
        """The results of those that have ended, and those of which the hub is to be told that they last."""
        ended: list[Result] = []
        lasting: list[Key] = []
        for key, begun in list(self._begun.items()):
            descriptor = begun.running.fileno()
            result = begun.running.poll(now)
            if result is not None:
                del self._begun[key]
                self._waiter.forget(descriptor)
                self._claims.give_back(begun.claim)
                ended.append(result)
            elif not begun.told and now - begun.since >= BUSY_S:
                begun.told = True
                lasting.append(key)
        return ended, lasting

    def keys(self) -> list[Key]:
        """The attempts that have begun."""
        return list(self._begun)

    def stop(self, key: Key, reason: Reason, now: float) -> bool:
        """Ask an attempt to end; whether it is here."""
        begun = self._begun.get(key)
        if begun is None:
            return False
        begun.running.stop(reason, now)
        return True

    def stop_all(self, now: float) -> None:
        """Ask all of them to end."""
        for begun in self._begun.values():
            begun.running.stop(Reason.CANCEL, now)

    def abandon(self) -> None:
        """Kill all of them at once."""
        for begun in self._begun.values():
            begun.running.abandon()

    def next_due(self) -> float:
        """When one of them has to be looked after at the latest."""
        return min((begun.next_act for begun in self._begun.values()), default=math.inf)
