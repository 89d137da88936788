"""Threads that take turns in virtual time: one runs, the others stand still, and a seed says who is next.

The real loops of hub and workers block where they wait. Here a wait hands the turn to whoever is due next,
so that a run of many threads is one sequence of steps, the same for the same seed. Nothing here knows what
runs in them.
"""

import heapq
import random
import threading
from collections.abc import Callable

from mpiexec_runner.runtime.waiting import SPIN_S, Waiter

EPOCH = 1_700_000_000.0
"""Seconds since the epoch when virtual time is 0."""
LEAST_S = 1e-6
"""No wait is shorter, so that nobody can keep the turn for ever."""
LONGEST_S = 3600.0
LOOKS_EVERY_S = 0.5
"""Who waits for packets looks this often, though nobody wakes it: it is not absent meanwhile."""
STUCK_S = 120.0
"""Real seconds after which a step is taken to have blocked for real."""


class Killed(BaseException):
    """Ends a thread whose process is dead."""


class Stuck(Exception):
    """The run gets nowhere."""


class Actor:
    """One thread of one rank."""

    def __init__(self, stage: "Stage", rank: int, name: str, run: Callable[[], None] | None) -> None:
        self.stage, self.rank, self.name = stage, rank, name
        self.ticket = 0
        self.killed = self.done = self.deaf = False
        self.turn = threading.Lock()
        self.turn.acquire()
        self._run = run
        if run is not None:
            threading.Thread(target=self._main, name=f"{name} of rank {rank}", daemon=True).start()

    def _main(self) -> None:
        self.turn.acquire()
        try:
            if not self.killed:
                self._run()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            self.stage.fail(error)
        self.done = True
        self.stage.leave(self)

    # --- as ``runtime/clock.py`` wants it of a thread

    def is_alive(self) -> bool:
        return not self.done

    def join(self, timeout: float | None = None) -> None:
        until = self.stage.now + (LONGEST_S if timeout is None else timeout)
        while not self.done and self.stage.now < until:
            self.stage.pause(min(until, self.stage.now + 0.01))


class Stage:
    """All threads, and the time.

    Attributes
    ----------
    now
        Virtual seconds.
    steps
        Turns that were taken.
    """

    def __init__(self, seed: str, most_steps: int) -> None:
        self.now = 0.0
        self.steps = 0
        self.failure: BaseException | None = None
        self._draws = random.Random(seed)
        self._most_steps = most_steps
        self._due: list[tuple[float, float, int, int, Actor | Callable[[], None]]] = []
        self._count = 0
        self._frozen: dict[int, float] = {}
        self._actors: list[Actor] = []
        self._closing = False
        self.main = Actor(self, -1, "main", None)
        self.current: Actor | None = self.main

    # --- what happens when

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Let something happen at a time."""
        self._push(when, 0, call)

    def spawn(self, rank: int, name: str, run: Callable[[], None]) -> Actor:
        """Start a thread of a rank."""
        actor = Actor(self, rank, name, run)
        self._actors.append(actor)
        self._push(self.now, actor.ticket, actor)
        return actor

    def pause(self, until: float, *, deaf: bool = False) -> None:
        """The thread at hand waits until a time, or until it is woken unless it is ``deaf``."""
        me = self.current
        if me.killed:
            raise Killed
        me.deaf = deaf
        self._push(min(max(until, self.now + LEAST_S), self.now + LONGEST_S), me.ticket, me)
        self._give_up_turn(me)
        if me.killed:
            raise Killed

    def sleep(self, until: float) -> None:
        """The thread at hand does something that takes until then."""
        while self.now < until:
            self.pause(until, deaf=True)

    def wake(self, actor: Actor, delay_s: float = 0.0) -> None:
        """Let a thread go on that waits."""
        if not actor.done and not actor.deaf and actor is not self.current:
            self._push(self.now + delay_s, actor.ticket, actor)

    def freeze(self, rank: int, until: float) -> None:
        """A process stops, and goes on later where it was."""
        self._frozen[rank] = max(until, self._frozen.get(rank, 0.0))

    def is_frozen(self, rank: int) -> bool:
        return self._frozen.get(rank, 0.0) > self.now

    def kill(self, rank: int) -> None:
        """End a process: each of its threads at its next step, the one at hand included."""
        for actor in self._actors:
            if actor.rank == rank and not actor.done:
                actor.killed = True
                if actor is not self.current:
                    self._push(self.now, actor.ticket, actor)

    def alive(self, rank: int) -> list[Actor]:
        """The threads of a rank that have not ended."""
        return [actor for actor in self._actors if actor.rank == rank and not actor.done]

    def fail(self, error: BaseException) -> None:
        """Something is wrong: end everything with this error."""
        if self.failure is None:
            self.failure = error

    # --- turns

    def run(self, over: Callable[[], bool], until: float) -> None:
        """To be called in the main thread: let time pass until something is the case.

        Raises
        ------
        Exception
            What any of the threads raised; ``Stuck`` when the time is over.
        """
        while not over():
            if self.now >= until:
                raise Stuck(f"it is not over after {self.now:g} virtual seconds")
            self.pause(min(until, self.now + 0.5))
            if self.failure is not None:
                raise self.failure

    def close(self) -> None:
        """End all threads."""
        self._closing = True
        for actor in self._actors:
            if not actor.done:
                actor.killed = True
                self.current = actor
                actor.turn.release()
                self._await(self.main)

    def leave(self, actor: Actor) -> None:
        """A thread has ended."""
        self._pass_on(self._next())

    def _push(self, when: float, ticket: int, what: Actor | Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (when, self._draws.random(), self._count, ticket, what))

    def _give_up_turn(self, me: Actor) -> None:
        successor = self._next()
        if successor is me:
            self.current = me
            return
        self._pass_on(successor)
        self._await(me)

    def _pass_on(self, successor: Actor) -> None:
        self.current = successor
        successor.turn.release()

    def _await(self, me: Actor) -> None:
        if me is not self.main:
            me.turn.acquire()
        elif not me.turn.acquire(timeout=STUCK_S):
            raise Stuck(f"{self.current and self.current.name} waits for something real")

    def _next(self) -> Actor:
        """Whose turn it is; what merely happens, happens on the way."""
        self.current = None
        while not self._closing and self.failure is None:
            when, _, _, ticket, what = heapq.heappop(self._due)
            if isinstance(what, Actor):
                if what.done or ticket != what.ticket:
                    continue
                thaws = self._frozen.get(what.rank, 0.0)
                if thaws > max(when, self.now) and not what.killed:
                    self._push(thaws, ticket, what)
                    continue
            self.now = max(self.now, when)
            self.steps += 1
            if self.steps > self._most_steps:
                self.fail(Stuck(f"it is not over after {self.steps} steps, {self.now:g} virtual seconds"))
                break
            if isinstance(what, Actor):
                what.ticket += 1
                return what
            try:
                what()
            except BaseException as error:  # noqa: BLE001 - raised in the main thread
                self.fail(error)
        self.main.ticket += 1
        return self.main


class VirtualClock:
    """See :class:`~mpiexec_runner.runtime.clock.Clock`; for one rank."""

    def __init__(self, stage: Stage, rank: int) -> None:
        self._stage, self._rank = stage, rank

    def time(self) -> float:
        return EPOCH + self._stage.now

    def monotonic(self) -> float:
        return self._stage.now

    def waiter(self, spin_s: float = SPIN_S) -> "VirtualWaiter":
        return VirtualWaiter(self._stage)

    def signal(self) -> "VirtualSignal":
        return VirtualSignal(self._stage)

    def start(self, run: Callable[[], None], name: str) -> Actor:
        return self._stage.spawn(self._rank, name, run)


class VirtualTime:
    """Stands for the module ``time`` in what has no clock of its own; the thread at hand sleeps."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def time(self) -> float:
        return EPOCH + self._stage.now

    def monotonic(self) -> float:
        return self._stage.now

    perf_counter = monotonic

    def sleep(self, seconds: float) -> None:
        self._stage.sleep(self._stage.now + seconds)


class VirtualWaiter(Waiter):
    """Waits until something is due or the rank is woken, instead of looking every few milliseconds."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def traffic(self) -> None:
        pass

    def watch(self, descriptor: int) -> None:
        pass

    def forget(self, descriptor: int) -> None:
        pass

    def next_s(self, until: float) -> float:
        return min(max(0.0, until - self._stage.now), LONGEST_S)

    def wait(self, until: float) -> None:
        self._stage.pause(min(until, self._stage.now + LOOKS_EVERY_S))


class VirtualSignal:
    """See :class:`~mpiexec_runner.runtime.clock.Signal`."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._is_set = False
        self._waiting: list[Actor] = []

    def set(self) -> None:
        self._is_set = True
        for actor in self._waiting:
            self._stage.wake(actor)

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_set:
            me = self._stage.current
            self._waiting.append(me)
            try:
                self._stage.pause(self._stage.now + (LONGEST_S if timeout is None else timeout))
            finally:
                self._waiting.remove(me)
        return self._is_set
