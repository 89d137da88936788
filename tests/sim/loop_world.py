"""One simulation of the real loops: hub, interpreter and workers as they are, on virtual ranks.

``simulate(seed)`` runs the plan of a seed to its end, life by life, and raises when anything is not as it
has to be. ``python -m tests.sim.replay SEED`` does one again and says more.
"""

import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

from loop_disk import Disk, WatchedJournal, virtual_disk
from loop_net import Network
from loop_plan import LifePlan, Plan, draw_plan
from loop_threads import Actor, Killed, Stage, VirtualClock, VirtualTime
from loop_watch import Listener, LoopWatch, WatchedScheduler, fingerprint
from loop_work import VirtualAttempts, Watcher, parts_of

from mpiexec_runner.app.record import read_snapshot, reopen_record, replay
from mpiexec_runner.app.wiring import make_scheduler
from mpiexec_runner.app.workload import compare
from mpiexec_runner.config.kinds import Workload
from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.state import RunState
from mpiexec_runner.errors import PeerError, StorageError
from mpiexec_runner.model.commands import EndRun, RunEnd
from mpiexec_runner.model.events import AnyEvent, TasksSubmitted
from mpiexec_runner.model.messages import Leave
from mpiexec_runner.model.tasks import Outcome, TaskSpec
from mpiexec_runner.model.workers import WorkerInfo
from mpiexec_runner.runtime import group
from mpiexec_runner.runtime.hub import GOODBYE_GRACE_S, Hub, RunClock
from mpiexec_runner.runtime.interpreter import Interpreter
from mpiexec_runner.runtime.keeper import DirectoryKeeper
from mpiexec_runner.runtime.worker import Worker
from mpiexec_runner.storage.lease import Lease
from mpiexec_runner.storage.port import Position
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.storage.settings import CheckpointSettings, RunSettings
from mpiexec_runner.transport import codec

MOST_STEPS = 400_000
LEAVE_S = 60.0
IN_MEMORY = Path("/dev/shm")


def simulate(seed: int, say: Callable[[str], None] = lambda _: None) -> "World":
    """Run the plan of a seed; what it raises says how to do it again."""
    place = IN_MEMORY if IN_MEMORY.is_dir() else None
    base = Path(tempfile.mkdtemp(prefix="sim-", dir=place))
    plan = draw_plan(seed)
    world = World(plan, base, say)
    try:
        world.run()
    except BaseException as error:
        error.add_note(f"again with: python -m tests.sim.replay {seed}")
        raise
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return world


class World:
    """All lives of one run."""

    def __init__(self, plan: Plan, base: Path, say: Callable[[str], None]) -> None:
        self.plan, self.say = plan, say
        self.directory = RunDirectory.create(base, "sim", exact=base / "run", config="name: sim\n")
        self.stage = Stage("", 0)
        self.watch = LoopWatch(plan, lambda: self.stage.now)
        self.synced: Position | None = None
        self.steps = 0
        self.seconds = 0.0
        self.ends: list[str] = []

    def run(self) -> None:
        """Live until the run is complete."""
        for number, life_plan in enumerate(self.plan.lives, 1):
            life = Life(self, life_plan, number)
            self.stage = life.stage
            try:
                life.live()
            finally:
                life.stage.close()
                self.steps += life.stage.steps
                self.seconds += life.stage.now
            self.ends.append(life.how)
            self.say(f"life {number} ended after {life.stage.now:.3f} s: {life.how}")
            if life.how == RunEnd.COMPLETE:
                return
        raise AssertionError(f"the last life did not complete the run: {self.ends}")

    def scheduler(self, state: RunState | None) -> TaskScheduler:
        plan = self.plan
        return make_scheduler(plan.scheduler, plan.heartbeat, plan.seed, state, plan.limits)


class Life:
    """One life of the run, as ``app/run.py`` leads it."""

    def __init__(self, world: World, plan: LifePlan, number: int) -> None:
        self.world, self.plan, self.number = world, plan, number
        seed = f"{world.plan.seed}/{number}"
        self.draws = random.Random(f"{seed}/life")
        self.stage = Stage(f"{seed}/stage", MOST_STEPS)
        self.network = Network(self.stage, plan.workers + 1, plan.delays, plan.cuts, f"{seed}/network")
        self.disk = Disk(self.stage, f"{seed}/disk")
        self.watch = world.watch
        self.how = "nothing"
        self.keeper: DirectoryKeeper | None = None
        self._trips = 0

    def live(self) -> None:
        """From the lease to the end of the job."""
        with virtual_disk(self.disk), mock.patch.object(group, "time", VirtualTime(self.stage)):
            self._open()
            try:
                self._start_ranks()
                self._bring_faults()
                plan, patience_s = self.plan, self.world.plan.patience_s
                self.stage.run(lambda: self.hub_thread.done, plan.horizon + patience_s)
                self._see_workers_off()
            finally:
                self.disk.abandon(self.journal.inner)
            self._check_record()

    # --- the record

    def _open(self) -> None:
        world, plan = self.world, self.world.plan
        lease = Lease.acquire(world.directory.path, take_over=True)
        past = read_snapshot(world.directory)
        told = replay(world.directory, world.scheduler(past.state), past.position)
        self.watch.life_begins(told.state, self.watch.safe(world.synced))
        self.scheduler = world.scheduler(told.state)
        missing = compare(Workload(plan.kinds, plan.tasks), self.scheduler.state)
        self.keeper = keeper = reopen_record(
            world.directory,
            lease,
            told.position or past.position,
            RunSettings(fsync_s=plan.fsync_s),
            CheckpointSettings(every_s=plan.checkpoint_every_s),
        )
        self.disk.faults = self.plan.disk
        self.watch.blobs = keeper.blobs
        if self.number == 1:
            for spec in plan.tasks:
                if spec.blob is not None:
                    keeper.blobs.put(spec.blob.key, parts_of(spec.id))
        inner = keeper.journal
        self.journal = keeper.journal = WatchedJournal(inner, self._before_record, self._after_record)
        self.epoch = lease.epoch
        self.missing = list(missing.events())

    def _before_record(self) -> None:
        self._trip("before a record")

    def _after_record(self, events: Sequence[AnyEvent], now: float) -> None:
        self.world.say(f"{self.stage.now:10.4f}  {events}")
        self.watch.recorded(self.journal.position())
        self._trip("after a record")

    def _check_record(self) -> None:
        """What is on disk says the same as what was in memory, from the start and from a checkpoint."""
        world, live = self.world, fingerprint(self.scheduler.state)
        again = replay(world.directory, world.scheduler(None), None)
        if self.watch.is_between_batches:
            _compare(live, fingerprint(again.state), "the journal from its start")
        past = read_snapshot(world.directory)
        if past.state is not None:
            from_checkpoint = replay(world.directory, world.scheduler(past.state), past.position)
            _compare(
                fingerprint(again.state), fingerprint(from_checkpoint.state), "a checkpoint and the rest"
            )
        if self.how == "killed" and self.plan.power:
            writer = self.journal.inner
            world.synced = Position(writer._number, writer._synced)
            self.disk.cut_power(writer)
        else:
            world.synced = None

    # --- ranks

    def _start_ranks(self) -> None:
        world, plan, network = self.world, self.world.plan, self.network
        post = network.posts[0]
        post.before_send = lambda: self._trip("before a packet")
        for one in network.posts:
            one.threaded = self.plan.threaded
        listener = Listener(self.watch)
        watched = WatchedScheduler(self.scheduler, self.watch)
        state = self.scheduler.state
        interpreter = Interpreter(post, self.keeper, listener, state, plan.heartbeat.interval_s)
        clock = RunClock(state.now, VirtualClock(self.stage, 0))
        workers = range(1, self.plan.workers + 1)
        adder = _Adder(plan.kinds[0].id, state)
        self.hub = Hub(post, workers, watched, self.keeper, listener, interpreter, clock, adder)
        self.hub.post(*self.missing)
        self.hub_thread = self.stage.spawn(0, "hub", self._lead)
        network.wakes[0] = lambda delay_s: self.stage.wake(self.hub_thread, delay_s)
        self.worker_threads: dict[int, Actor] = {}
        for rank in workers:
            self._start_worker(rank)
        world.say(f"life {self.number} begins: {self.plan}")

    def _lead(self) -> None:
        try:
            end = self.hub.run(self.epoch)
            self._close(end)
        except StorageError as error:
            self.how = f"broken: {error}"
            self.world.say(f"{self.stage.now:10.4f}  {self.how}")
            assert self.plan.disk, "the record cannot be written, though the disk is well"
            self._kill(0, told_s=1.0)

    def _close(self, end: EndRun) -> None:
        """As ``app/books.py`` does it, without the files for people."""
        for rank in self.hub.missing():
            assert self._is_excused(rank), f"rank {rank} did not leave, and nothing kept it"
        self.keeper.checkpoint(self.scheduler.state)
        self.keeper.close()
        for rank in range(1, self.network.size):
            body = codec.encode([Leave(orderly=self.hub.everyone_left())])
            self.network.posts[0].send(rank, body)
        self.how = str(end.end)
        assert end.end is not RunEnd.STARVED, f"{end.why}, though there are workers"

    def _start_worker(self, rank: int) -> None:
        plan, transport = self.plan, self.network.posts[rank]
        slots = plan.slots
        info = WorkerInfo(f"host{rank % 2}", rank, slots, cores=slots)
        watcher = Watcher(self.watch.attempt_begins, self.watch.attempt_ends, self._poison)
        attempts = VirtualAttempts(
            self.stage,
            transport,
            info,
            self.world.plan.fates,
            watcher,
            inline=transport.threaded and slots == 1,
        )
        clock = VirtualClock(self.stage, rank)
        worker = Worker(transport, info, {}, clock=clock, attempts=attempts)

        def serve() -> None:
            try:
                worker.serve()
            except PeerError:
                if 0 not in self.network.dead:
                    raise

        self.worker_threads[rank] = thread = self.stage.spawn(rank, "worker", serve)
        self.network.wakes[rank] = lambda delay_s: self.stage.wake(thread, delay_s)

    def _see_workers_off(self) -> None:
        """All that are there have to leave, whether the run has ended or rank 0 is dead."""
        stage, frozen_s = self.stage, self.plan.horizon
        if not self.hub_thread.killed and self.how == "nothing":
            raise AssertionError("the hub has ended without an end")
        if self.hub_thread.killed and self.how == "nothing":
            self.how = "killed"
        there = [thread for rank, thread in self.worker_threads.items() if rank not in self.network.dead]
        longest_s = max(self.world.plan.fates.lasts_s.values()) * 10 + 1
        until = max(stage.now, frozen_s) + LEAVE_S + longest_s * 60
        stage.run(lambda: all(thread.done for thread in there), until)

    # --- what goes wrong

    def _bring_faults(self) -> None:
        stage = self.stage
        for fault in self.plan.faults:
            match fault.what:
                case "hang":
                    stage.at(fault.at, lambda one=fault: stage.freeze(one.rank, one.at + one.lasts_s))
                case "kill":
                    stage.at(fault.at, lambda one=fault: self._kill(one.rank, self.draws.uniform(0.01, 3.0)))
                case "vanish":
                    stage.at(fault.at, lambda one=fault: self._kill(one.rank, None))
        for at, event in self.plan.requests:
            stage.at(at, lambda one=event: self.hub.post(one))

    def _is_excused(self, rank: int) -> bool:
        """Whether something kept a worker from saying goodbye in time."""
        since = self.stage.now - 2 * GOODBYE_GRACE_S
        harms = [fault.at + fault.lasts_s for fault in self.plan.faults if fault.rank in (rank, 0)]
        harms += [cut.ends for cut in self.plan.cuts if rank in cut.ranks]
        busy = any(key[0] == rank for key in self.watch._running)
        return rank in self.network.dead or busy or any(end > since for end in harms)

    def _kill(self, rank: int, told_s: float | None) -> None:
        if rank in self.network.dead:
            return
        self.world.say(f"{self.stage.now:10.4f}  rank {rank} dies")
        self.network.die(rank, told_s)
        self.stage.kill(rank)
        self.watch.lost(rank)

    def _poison(self, rank: int) -> bool:
        if rank in self.plan.unharmed:
            return False
        self._kill(rank, self.draws.choice([0.1, 1.0, None]))
        return True

    def _trip(self, where: str) -> None:
        trip = self.plan.trip
        if trip is None or trip.where != where:
            return
        self._trips += 1
        if self._trips == trip.count:
            self._kill(0, self.draws.uniform(0.01, 3.0))
            raise Killed


class _Adder:
    """Two more tasks, named after the one that adds them."""

    def __init__(self, kind: int, state: RunState) -> None:
        self._kind, self._state = kind, state
        self._next = 0

    def expand(self, outcome: Outcome) -> Sequence[AnyEvent]:
        self._next = max(self._next, self._state.next_task)
        ids = range(self._next, self._next + int(outcome.more))
        self._next += len(ids)
        parent = outcome.task
        return [TasksSubmitted([TaskSpec(id_, self._kind, b"", f"a{id_}", parent=parent) for id_ in ids])]


def _compare(live: dict[str, object], again: dict[str, object], what: str) -> None:
    if live == again:
        return
    different = [
        f"{key}: {_first_difference(live[key], again[key])}" for key in live if live[key] != again[key]
    ]
    raise AssertionError(f"{what} leads to another state: {'; '.join(different)[:3000]}")


def _first_difference(live: object, again: object) -> str:
    if isinstance(live, list) and isinstance(again, list) and len(live) == len(again):
        for one, other in zip(live, again, strict=True):
            if one != other:
                return _first_difference(one, other)
    if isinstance(live, dict) and isinstance(again, dict):
        keys = [key for key in {**live, **again} if live.get(key) != again.get(key)]
        return ", ".join(f"{key}: {live.get(key)!r} and {again.get(key)!r}" for key in keys)
    return f"{live!r} and {again!r}"
