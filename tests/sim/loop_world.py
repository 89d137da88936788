"""One simulation of the real loops: hub, interpreter and workers as they are, on virtual ranks.

``simulate(seed)`` runs the plan of a seed to its end, life by life, and raises when anything is not as it
has to be. ``python -m tests.sim.replay SEED`` does one again and says more.
"""

import random
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from loop_disk import Disk, WatchedJournal, virtual_disk
from loop_heir import Processes
from loop_net import Network
from loop_plan import HUB, Fault, LifePlan, Plan, draw_plan
from loop_threads import Actor, Killed, Stage, VirtualClock, VirtualTime
from loop_watch import Listener, LoopWatch, WatchedScheduler, fingerprint
from loop_work import VirtualAttempts, Watcher, parts_of

from mpiexec_runner.app.record import read_snapshot, reopen_record, replay
from mpiexec_runner.app.takeover import Office, Takeover
from mpiexec_runner.app.wiring import make_scheduler
from mpiexec_runner.app.workload import compare
from mpiexec_runner.config.kinds import Workload
from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.state import RunState
from mpiexec_runner.errors import Fenced, PeerError, StorageError
from mpiexec_runner.model.commands import EndRun, RunEnd
from mpiexec_runner.model.events import AnyEvent, HubReplaced, RunOpened, TasksSubmitted, WorkerLeft
from mpiexec_runner.model.messages import Leave, RollCall
from mpiexec_runner.model.tasks import Outcome, TaskSpec
from mpiexec_runner.model.workers import WorkerInfo
from mpiexec_runner.runtime import group
from mpiexec_runner.runtime.hub import GOODBYE_GRACE_S, Hub, RunClock
from mpiexec_runner.runtime.interpreter import Interpreter
from mpiexec_runner.runtime.keeper import DirectoryKeeper
from mpiexec_runner.runtime.term import StepAside, Term
from mpiexec_runner.runtime.worker import Worker
from mpiexec_runner.storage.lease import Lease
from mpiexec_runner.storage.port import Position
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.storage.settings import CheckpointSettings, RunSettings
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.port import Transport

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
        self.hubs: list[int] = []

    def run(self) -> None:
        """Live until the run is complete."""
        for number, life_plan in enumerate(self.plan.lives, 1):
            life = Life(self, life_plan, number)
            self.stage = life.stage
            try:
                life.live()
            finally:
                self.steps += life.stage.steps
                self.seconds += life.stage.now
            self.ends.append(life.how)
            self.hubs.append(len(life.leads))
            self.say(f"life {number} ended after {life.stage.now:.3f} s: {life.how}")
            if life.how == RunEnd.COMPLETE:
                return
        raise AssertionError(f"the last life did not complete the run: {self.ends}")

    def scheduler(self, state: RunState | None) -> TaskScheduler:
        plan = self.plan
        return make_scheduler(plan.scheduler, plan.heartbeat, plan.seed, state, plan.limits)


@dataclass
class Lead:
    """One hub, and what it leads with."""

    rank: int
    lease: Lease
    scheduler: TaskScheduler
    keeper: DirectoryKeeper
    journal: WatchedJournal
    transport: Transport
    hub: Hub
    term: Term | None


class Life:
    """One life of the run, as ``app/run.py`` leads it: one hub, or several that follow one another."""

    def __init__(self, world: World, plan: LifePlan, number: int) -> None:
        self.world, self.plan, self.number = world, plan, number
        seed = f"{world.plan.seed}/{number}"
        self.draws = random.Random(f"{seed}/life")
        self.stage = Stage(f"{seed}/stage", MOST_STEPS)
        self.network = Network(self.stage, plan.workers + 1, plan.delays, plan.cuts, f"{seed}/network")
        self.disk = Disk(self.stage, f"{seed}/disk")
        self.processes = Processes(self.network, number, lambda: self.stage.current.rank, self._leave)
        self.watch = world.watch
        self.how = "nothing"
        self.leads: list[Lead] = []
        self.followed_at = -1000.0
        self._trips = 0
        self._asked: list[AnyEvent] = []
        """What people want of the run and is not on record: it waits for the next hub, as files do."""

    @property
    def lead(self) -> Lead:
        """The newest hub."""
        return self.leads[-1]

    def live(self) -> None:
        """From the lease to the end of the job."""
        virtual_time = mock.patch.object(group, "time", VirtualTime(self.stage))
        with virtual_disk(self.disk), virtual_time, self.processes.virtual():
            try:
                self._open()
                self._start_ranks()
                self._bring_faults()
                plan, patience_s = self.plan, self.world.plan.patience_s
                self.stage.run(self._is_over, plan.horizon + patience_s)
                self._see_workers_off()
            finally:
                self.stage.close()  # while processes are virtual: some end theirs on the way out
                for lead in self.leads:
                    self.disk.abandon(lead.journal.inner)
            self._check_record()

    def _is_over(self) -> bool:
        return self.how != "nothing" if self.plan.follows else self.hub_thread.done

    # --- hubs

    def _open(self) -> None:
        """The first hub."""
        world, post = self.world, self.network.posts[0]
        lease = Lease.acquire(world.directory.path, take_over=True)
        workers = range(1, self.plan.workers + 1)
        term = self._term(lease, post, workers) if self.plan.follows else None
        self._replay(lease, 0, post, workers, term)
        if self.number == 1:
            for spec in world.plan.tasks:
                if spec.blob is not None:
                    self.lead.keeper.blobs.put(spec.blob.key, parts_of(spec.id))
        self.disk.faults = self.plan.disk
        self.lead.hub.post(*self._missing(self.lead))

    def _follow(self, office: Office) -> int:
        """As ``Life.go_on`` of ``app/run.py``, without the files for people."""
        try:
            self._go_on(office)
        except Fenced:
            self.world.say(f"{self.stage.now:10.4f}  rank {office.transport.rank} is fenced")
            raise
        except Killed:
            return 0
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            self.stage.fail(error)
        return 0

    def _go_on(self, office: Office) -> None:
        lease, shared, former = office.lease, office.transport, self.lead
        self.world.say(f"{self.stage.now:10.4f}  {office.why}: rank {shared.rank} leads, epoch {lease.epoch}")
        self.followed_at = self.stage.now
        term = self._term(lease, shared, office.workers, office.gone)
        term.begin()
        whole = self.watch.is_between_batches
        lead = self._replay(lease, shared.rank, shared, office.workers, term, office.gone)
        state = lead.scheduler.state
        if whole:
            _compare(fingerprint(former.scheduler.state), fingerprint(state), "the next hub's replay")
        opening: AnyEvent = RunOpened(lease.epoch, len(office.workers))
        if state.epoch >= lease.life:  # this life had begun
            opening = HubReplaced(lease.epoch, len(office.workers))
            gone = [WorkerLeft(rank, why) for rank, why in office.gone.items() if rank in state.workers]
            lead.hub.post(*gone)
        if not (state.epoch >= lease.life and state.closed):
            lead.hub.post(*self._missing(lead))
        lead.hub.post(*self._asked)
        self._close(lead, lead.hub.run(lease.epoch, opening))

    def _term(
        self, lease: Lease, transport: Transport, workers: Collection[int], gone: Collection[int] = ()
    ) -> Term:
        call = RollCall(lease.epoch, lease.life, str(self.world.directory.path))
        clock = VirtualClock(self.stage, transport.rank)
        return Term(transport, workers, call, self.world.plan.heartbeat, gone, clock)

    def _missing(self, lead: Lead) -> list[AnyEvent]:
        plan = self.world.plan
        return list(compare(Workload(plan.kinds, plan.tasks), lead.scheduler.state).events())

    def _replay(
        self,
        lease: Lease,
        rank: int,
        transport: Transport,
        workers: Sequence[int],
        term: Term | None,
        gone: Collection[int] = (),
    ) -> Lead:
        """Make the hub of what the record says."""
        world, plan = self.world, self.world.plan
        past = read_snapshot(world.directory)
        told = replay(world.directory, world.scheduler(past.state), past.position)
        scheduler = world.scheduler(told.state)
        if self.leads:
            self.watch.hub_follows(scheduler)
        else:
            self.watch.life_begins(told.state, self.watch.safe(world.synced))
        keeper = reopen_record(
            world.directory,
            lease,
            told.position or past.position,
            RunSettings(fsync_s=plan.fsync_s),
            CheckpointSettings(every_s=plan.checkpoint_every_s),
        )
        self.watch.blobs = keeper.blobs
        journal = keeper.journal = WatchedJournal(
            keeper.journal, lambda: self._before_record(lease), self._after_record
        )
        listener, state = Listener(self.watch), scheduler.state
        interpreter = Interpreter(transport, keeper, listener, state, plan.heartbeat.interval_s)
        hub = Hub(
            transport,
            workers,
            WatchedScheduler(scheduler, self.watch),
            keeper,
            listener,
            interpreter,
            RunClock(state.now, VirtualClock(self.stage, rank)),
            _Adder(plan.kinds[0].id, state),
            term=term,
            gone=gone,
            mind=StepAside(rank).events if rank else lambda _: (),
        )
        lead = Lead(rank, lease, scheduler, keeper, journal, transport, hub, term)
        self.leads.append(lead)
        return lead

    def _before_record(self, lease: Lease) -> None:
        assert lease is self.lead.lease, f"the hub of epoch {lease.epoch} writes, and was followed"
        if lease.epoch == lease.life:
            self._trip("before a record")

    def _after_record(self, events: Sequence[AnyEvent], now: float) -> None:
        self.world.say(f"{self.stage.now:10.4f}  {events}")
        self._asked = [one for one in self._asked if not any(one is event for event in events)]
        self.watch.recorded(self.lead.journal.position())
        if self.lead.rank == 0:
            self._trip("after a record")

    def _check_record(self) -> None:
        """What is on disk says the same as what was in memory, from the start and from a checkpoint."""
        world, live = self.world, fingerprint(self.lead.scheduler.state)
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
            writer = self.lead.journal.inner
            world.synced = Position(writer._number, writer._synced)
            self.disk.cut_power(writer)
        else:
            world.synced = None

    # --- ranks

    def _start_ranks(self) -> None:
        network = self.network
        network.posts[0].before_send = lambda: self._trip("before a packet")
        for one in network.posts:
            one.threaded = self.plan.threaded
        self.hub_thread = self.stage.spawn(0, "hub", self._lead)
        network.wakes[0] = lambda delay_s: self.stage.wake(self.hub_thread, delay_s)
        self.worker_threads: dict[int, Actor] = {}
        for rank in range(1, self.plan.workers + 1):
            self._start_worker(rank)
        self.world.say(f"life {self.number} begins: {self.plan}")

    def _lead(self) -> None:
        lead = self.lead
        try:
            self._close(lead, lead.hub.run(lead.lease.epoch))
        except Fenced:
            assert lead is not self.lead, "fenced, though nobody has followed"
            self.world.say(f"{self.stage.now:10.4f}  rank 0 is fenced")
            self._kill(0, told_s=1.0)
        except StorageError as error:
            self.how = f"broken: {error}"
            self.world.say(f"{self.stage.now:10.4f}  {self.how}")
            assert self.plan.disk, "the record cannot be written, though the disk is well"
            self._kill(0, told_s=1.0)

    def _close(self, lead: Lead, end: EndRun) -> None:
        """As ``app/books.py`` does it, without the files for people."""
        for rank in lead.hub.missing():
            assert self._is_excused(rank), f"rank {rank} did not leave, and nothing kept it"
        lead.keeper.checkpoint(lead.scheduler.state)
        lead.keeper.close()
        if lead.term is not None:
            lead.term.end()
        for rank in range(self.network.size):
            if rank != lead.rank or rank != 0:
                lead.transport.send(rank, codec.encode([Leave(orderly=lead.hub.everyone_left())]))
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
        heir = None
        if self.plan.follows:
            run_dir = str(self.world.directory.path)
            heir = Takeover(transport, run_dir, self._follow, self.world.say, clock)
        worker = Worker(transport, info, {}, heir=heir, clock=clock, attempts=attempts)
        if heir is not None:
            heir.worker = worker

        def serve() -> None:
            try:
                worker.serve()
                if heir is not None:
                    heir.wait()
            except PeerError:
                if 0 not in self.network.dead:
                    raise

        self.worker_threads[rank] = self.stage.spawn(rank, "worker", serve)
        self.network.wakes[rank] = lambda delay_s: self._wake(rank, delay_s)

    def _wake(self, rank: int, delay_s: float) -> None:
        """Whoever looks for packets: the worker, and the hub beside it."""
        for thread in self.stage.alive(rank):
            if thread.name in ("worker", "hub"):
                self.stage.wake(thread, delay_s)

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
            stage.at(fault.at, lambda one=fault: self._bring(one))
        for at, event in self.plan.requests:
            stage.at(at, lambda one=event: self._ask(one))

    def _ask(self, event: AnyEvent) -> None:
        self._asked.append(event)
        self.lead.hub.post(event)

    def _bring(self, fault: Fault) -> None:
        rank = self.lead.rank if fault.rank == HUB else fault.rank
        if rank in self.plan.unharmed and (fault.rank == HUB or rank == self.lead.rank):
            return  # somebody has to be left
        match fault.what:
            case "hang":
                self.world.say(f"{self.stage.now:10.4f}  rank {rank} hangs for {fault.lasts_s:.1f} s")
                self.stage.freeze(rank, self.stage.now + fault.lasts_s)
            case "kill":
                self._kill(rank, self.draws.uniform(0.01, 3.0))
            case "vanish":
                self._kill(rank, None)

    def _leave(self, rank: int) -> None:
        """A process ends by itself: it was fenced, or the run has ended."""
        if self.how == "nothing":
            self._kill(rank, told_s=1.0)
        else:
            self.stage.kill(rank)

    def _is_excused(self, rank: int) -> bool:
        """Whether something kept a worker from saying goodbye in time."""
        since = self.stage.now - 2 * GOODBYE_GRACE_S
        led = {HUB, *(lead.rank for lead in self.leads)}
        harms = [fault.at + fault.lasts_s for fault in self.plan.faults if fault.rank in {rank, *led}]
        harms.append(self.followed_at)
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
