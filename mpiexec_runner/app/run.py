"""One life of a run on the rank that leads: it keeps the record and schedules. The others are ``rank.py``'s.

The first life and every resume are the same: the record says what is done, the configuration what is to be
done, and the difference is run.
"""

import signal
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from mpiexec_runner.app import ranks
from mpiexec_runner.app.adding import TaskAdder
from mpiexec_runner.app.books import Books, count_bad
from mpiexec_runner.app.doors import Porter
from mpiexec_runner.app.rank import Request, Say, do_nothing
from mpiexec_runner.app.record import Past, is_made_by_a_program, read_snapshot, reopen_record, replay
from mpiexec_runner.app.replacing import ReplacingTransport, replacing
from mpiexec_runner.app.takeover import Office
from mpiexec_runner.app.wiring import make_scheduler
from mpiexec_runner.app.wording import counted
from mpiexec_runner.app.workload import Difference, compare, find_dropped
from mpiexec_runner.config.callables import check_callables
from mpiexec_runner.config.expansion import expand
from mpiexec_runner.config.loading import load, loads, resolved_yaml
from mpiexec_runner.config.models import RunConfig
from mpiexec_runner.core.fleet import GONE
from mpiexec_runner.core.listener import Listener
from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.state import RunState
from mpiexec_runner.errors import ExitCode, Fenced, UserError
from mpiexec_runner.execute.machine import host_name
from mpiexec_runner.model.commands import EndRun
from mpiexec_runner.model.events import (
    AnyEvent,
    DrainRequested,
    HubReplaced,
    RunOpened,
    StopReason,
    WorkerLeft,
)
from mpiexec_runner.model.messages import Leave, RollCall
from mpiexec_runner.runtime.hub import Hub, RunClock
from mpiexec_runner.runtime.interpreter import Interpreter
from mpiexec_runner.runtime.keeper import DirectoryKeeper
from mpiexec_runner.runtime.term import StepAside, Term
from mpiexec_runner.runtime.worker import Worker
from mpiexec_runner.storage.lease import Lease
from mpiexec_runner.storage.roster import Roster
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.loopback import SharedRank
from mpiexec_runner.transport.port import DIED, Transport


def load_new(request: Request) -> RunConfig:
    """The configuration of a new run, checked down to its tasks and callables.

    Raises
    ------
    ConfigError
        With all that is wrong.
    """
    path = Path(request.config)
    config = load(path, request.overrides)
    here = (str(path.absolute().parent), str(Path.cwd()))
    run = config.run
    searched = tuple(dict.fromkeys((*run.python_path, *here)))
    config = config.model_copy(
        update={"run": run.model_copy(update={"python_path": searched, "dir": str(Path(run.dir).absolute())})}
    )
    check_callables(config, path.absolute().parent)
    expand(config)
    make_scheduler(config.scheduler, config.heartbeat, config.seed)
    return config


def create(config: RunConfig, run_dir: str = "") -> RunDirectory:
    """Make the directory of a new run.

    Raises
    ------
    UserError, StorageError
        When that is not possible; nothing is left behind.
    """
    exact = Path(run_dir) if run_dir else None
    return RunDirectory.create(Path(config.run.dir), config.name, exact=exact, config=resolved_yaml(config))


def load_old(directory: RunDirectory, overrides: tuple[str, ...] = ()) -> RunConfig:
    """The configuration that a run was made with, with changes for the lives to come."""
    text = directory.read_config()
    if is_made_by_a_program(text):
        raise UserError(
            f"{directory.path} was made by a Python program: run that program again, with another run_dir"
        )
    return loads(text, overrides, source=str(directory.config), directory=directory.path, name="run")


def lead(
    request: Request, transport: Transport, listener: Callable[[RunDirectory], Listener], say: Say
) -> ExitCode:
    """Be the first hub of a job: see :func:`~mpiexec_runner.app.rank.take_place`."""
    if request.resume:
        directory = RunDirectory.open(Path(request.run_dir))
        config = load_old(directory, request.overrides)
    else:
        config = load_new(request)
        directory = create(config, request.run_dir)
    for note in directory.notes:
        say(f"note: {note}")
    return Life(directory, config, transport, say).live(request, listener(directory))


def follow(
    request: Request,
    office: Office,
    transport: Transport,
    listener: Callable[[RunDirectory], Listener],
    say: Say,
) -> int:
    """Be the hub that follows one that is gone; the exit code of this process."""
    directory = RunDirectory.open(office.lease.directory)
    config = load_old(directory, () if office.is_heard_of else request.overrides)
    return int(Life(directory, config, transport, say).go_on(request, office, listener))


class _Lead(NamedTuple):
    """How a hub stands to the ranks; see :class:`~mpiexec_runner.runtime.hub.Hub`."""

    transport: Transport
    workers: Sequence[int]
    term: Term
    gone: Collection[int] = ()
    mind: Callable[[RunState], Sequence[AnyEvent]] = lambda _: ()


class Life:
    """One life of a run on the rank that leads, from the lease to the exit code."""

    def __init__(self, directory: RunDirectory, config: RunConfig, transport: Transport, say: Say) -> None:
        self._directory, self._config, self._transport, self._say = directory, config, transport, say
        self._dismissing = transport
        """Leads to those that are on their way, too."""

    def live(self, request: Request, listener: Listener) -> ExitCode:
        """Open the record, run what is missing, close the record."""
        lease = Lease.acquire(self._directory.path, take_over=request.take_over)
        try:
            scheduler, keeper, missing = self._catch_up(lease, request)
        except BaseException:
            lease.release()
            raise
        try:
            code, hub = self._lead(scheduler, keeper, listener, missing, lease)
        except Fenced as error:
            self._leave_if_followed(lease, error)
            raise
        if not hub.everyone_left():
            ranks.leave_without_finalize()
        ranks.dismiss(self._dismissing)
        if not hub.everyone_left():
            self._end_hung(hub, scheduler.state)
            ranks.leave(int(code))
        return code

    def go_on(
        self, request: Request, office: Office, listener: Callable[[RunDirectory], Listener]
    ) -> ExitCode:
        """Follow a hub that is gone: call the workers, replay the record, run what is left, close the record.

        The workers go on meanwhile. Beside one of them, in a thread.
        """
        lease, shared, path = office.lease, office.transport, self._directory.path
        self._say(f"{office.why}: rank {shared.rank} leads the run on {path} now (epoch {lease.epoch})")
        heartbeat = self._config.heartbeat
        call = RollCall(lease.epoch, lease.life, str(path))
        term = Term(shared, office.workers, call, heartbeat, office.gone)
        term.begin()
        Porter(path, lease.epoch, self._transport, term.call, self._say)
        if request.overrides and not office.is_heard_of:
            self._directory.write_config(resolved_yaml(self._config))
        past = read_snapshot(self._directory)
        scheduler = _scheduler(self._config, past.state)
        told = replay(self._directory, scheduler, past.position, request.salvage)
        state = scheduler.state
        keeper = reopen_record(
            self._directory, lease, told.position or past.position, self._config.run, self._config.checkpoint
        )
        self._say_notes([*past.notes, *told.notes])
        books = Books(keeper, lease.epoch, shared.size, lease.life)
        self._say_notes(books.open(state))
        mind = StepAside(shared.rank).events if self._config.workers.hub_works is not True else lambda _: ()
        listening = listener(self._directory)
        transport = self._replacing(shared, state, listening, lease)
        if isinstance(transport, ReplacingTransport):
            _take_stock(transport, office, state)
        lead = _Lead(transport, office.workers, term, office.gone, mind)
        hub = self._make_hub(scheduler, keeper, listening, lead)
        opening: AnyEvent = RunOpened(lease.epoch, len(office.workers))
        if state.epoch >= lease.life:  # this life had begun
            opening = HubReplaced(lease.epoch, len(office.workers))
            hub.post(*(WorkerLeft(rank, why) for rank, why in office.gone.items() if rank in state.workers))
        if not (state.epoch >= lease.life and state.closed):
            hub.post(*compare(expand(self._config), state).events())
        office.worker.soon(lambda: _heed_signals(hub))
        try:
            end = hub.run(lease.epoch, opening)
        except BaseException as error:
            books.note_broken(state, error)
            raise
        dropped = find_dropped(expand(self._config), state) if count_bad(state) else frozenset()
        code, notes = books.close(state, end, dropped)
        self._say_notes(notes)
        term.end()
        ranks.dismiss(transport)
        self._end_hung(hub, state)
        office.end_former()
        return code

    def _replacing(
        self, transport: Transport, state: RunState, listener: Listener, lease: Lease
    ) -> Transport:
        """The hub's transport, with replacement where it is wanted."""
        settings, note = self._config.workers, listener.worker_noted
        return replacing(transport, self._transport, settings, state, note, self._say, lease)

    def _leave_if_followed(self, lease: Lease, error: Fenced, worker: Worker | None = None) -> None:
        """End this process at once where another rank of this job leads the run now."""
        if lease.is_inherited():
            self._say(f"rank {self._transport.rank}: {error}")
            if worker is not None:
                worker.abandon()
            ranks.leave(0)

    def _end_hung(self, hub: Hub, state: RunState) -> None:
        known = state.workers
        hung = (known[rank].info for rank in hub.missing() if rank in known and rank != self._transport.rank)
        ranks.end_hung(info.pid for info in hung if info.host == host_name())

    def _catch_up(self, lease: Lease, request: Request) -> tuple[TaskScheduler, DirectoryKeeper, Difference]:
        """Bring the scheduler to where the record ends, and find what it does not know yet."""
        directory, config = self._directory, self._config
        # What is lost of the journal is run again, also where a checkpoint knows that it had been done: the
        # results were in the journal alone.
        past = Past(None, None, []) if request.salvage else read_snapshot(directory)
        # The past is told under the settings that it was lived with; what comes may have others.
        replaying = _scheduler(load_old(directory), past.state)
        told = replay(directory, replaying, past.position, request.salvage)
        scheduler = _scheduler(config, told.state)
        workload = expand(config)
        missing = compare(workload, scheduler.state)
        if request.overrides and request.resume:
            directory.write_config(resolved_yaml(config))
        tail = told.position or past.position
        keeper = reopen_record(directory, lease, tail, config.run, config.checkpoint)
        self._say_notes([*lease.notes, *past.notes, *told.notes])
        if workload.duplicates:
            left_out = counted(workload.duplicates, "duplicate")
            self._say(f"note: {left_out} left out: tasks with the same parameters are run once")
        return scheduler, keeper, missing

    def _say_notes(self, notes: list[str]) -> None:
        for note in notes:
            self._say(f"note: {note}")

    def _lead(
        self,
        scheduler: TaskScheduler,
        keeper: DirectoryKeeper,
        listener: Listener,
        missing: Difference,
        lease: Lease,
    ) -> tuple[ExitCode, Hub]:
        books = Books(keeper, lease.epoch, self._transport.size)
        self._say_notes(books.open(scheduler.state))
        try:
            end, hub, term = self._run(scheduler, keeper, listener, missing, books, lease)
        except BaseException as error:
            books.note_broken(scheduler.state, error)
            raise
        code, notes = books.close(scheduler.state, end, missing.dropped)
        term.end()
        self._say_notes(notes)
        return code, hub

    def _run(
        self,
        scheduler: TaskScheduler,
        keeper: DirectoryKeeper,
        listener: Listener,
        missing: Difference,
        books: Books,
        lease: Lease,
    ) -> tuple[EndRun, Hub, Term]:
        """Run the hub; where this rank works too, in a thread beside the worker."""
        works = self._config.workers.hub_works
        shared = works is True or (works == "auto" and self._transport.size == 1)
        transport = SharedRank(self._transport) if shared else self._transport
        if not shared and self._transport.size == 1:
            raise UserError(
                "with one rank and hub_works: false nobody works; start more ranks or leave it out"
            )
        workers = range(0 if shared else 1, self._transport.size)
        call = RollCall(books.epoch, books.epoch, str(self._directory.path))
        term = Term(transport, workers, call, self._config.heartbeat)
        Roster(lease.directory, lease.life).begin()
        self._dismissing = self._replacing(transport, scheduler.state, listener, lease)
        if isinstance(self._dismissing, ReplacingTransport):
            Porter(self._directory.path, lease.epoch, self._transport, term.call, self._say)
        hub = self._make_hub(scheduler, keeper, listener, _Lead(self._dismissing, workers, term))
        hub.post(*missing.events())
        _heed_signals(hub)
        if not isinstance(transport, SharedRank):
            return hub.run(books.epoch), hub, term
        worker = ranks.make_worker(transport.worker_end, self._config.workers)

        def leave_a_busy_worker(end: EndRun) -> None:
            """The main thread is in a task that will not end: what is left to do is done without it."""
            code, notes = books.close(scheduler.state, end, missing.dropped)
            self._say_notes(notes)
            ranks.leave_without_finalize()
            ranks.dismiss(self._dismissing)
            ranks.leave(int(code))

        def leave_fenced(error: Fenced) -> None:
            """The main thread may be in a task: it is not waited for."""
            self._leave_if_followed(lease, error, worker)

        return _run_beside(hub, transport, books.epoch, worker, leave_a_busy_worker, leave_fenced), hub, term

    def _make_hub(
        self, scheduler: TaskScheduler, keeper: DirectoryKeeper, listener: Listener, lead: _Lead
    ) -> Hub:
        state, heartbeat = scheduler.state, self._config.heartbeat
        checks = heartbeat.check_plan(host_name())
        return Hub(
            lead.transport,
            lead.workers,
            scheduler,
            keeper,
            listener,
            Interpreter(lead.transport, keeper, listener, state, heartbeat.interval_s, checks=checks),
            RunClock(state.now),
            TaskAdder(self._config, state),
            term=lead.term,
            gone=lead.gone,
            mind=lead.mind,
        )


def _take_stock(transport: ReplacingTransport, office: Office, state: RunState) -> None:
    """Let a hub that follows another one replace whoever died, and await those whom it cannot reach yet."""
    dead = {rank for rank, why in office.gone.items() if why == DIED}
    known = {
        rank: None if worker.state in GONE else worker.info
        for rank, worker in state.workers.items()
        if worker.state in GONE or not office.transport.leads_to(rank)
    }
    transport.take_stock(dead, office.former.rank if office.former is not None else 0, known)


def _scheduler(config: RunConfig, state: RunState | None) -> TaskScheduler:
    return make_scheduler(config.scheduler, config.heartbeat, config.seed, state, config.limits)


def _run_beside(
    hub: Hub,
    transport: SharedRank,
    epoch: int,
    worker: Worker,
    leave: Callable[[EndRun], None],
    leave_fenced: Callable[[Fenced], None],
) -> EndRun:
    """Run the hub in a thread and the worker in this one: tasks may expect to have the main thread."""
    future: Future[EndRun] = Future()

    def lead() -> None:
        try:
            end = hub.run(epoch)
            if transport.rank in hub.missing():
                leave(end)
            future.set_result(end)
        except BaseException as error:  # noqa: BLE001 - raised again below, once the worker is free
            if isinstance(error, Fenced):
                leave_fenced(error)
            future.set_exception(error)
        transport.send(transport.rank, codec.encode([Leave(orderly=True)]))

    threading.Thread(target=lead, name="hub", daemon=True).start()
    worker.serve()
    return future.result()


def _heed_signals(hub: Hub) -> None:
    """Ctrl-C once drains, twice cancels; a batch system's signal drains. All leave a resumable run."""
    asked = 0

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of handlers
        nonlocal asked
        asked += 1
        reason = StopReason.INTERRUPTED if number == signal.SIGINT else StopReason.SIGNAL
        hub.post_from_handler(DrainRequested(reason, abandon=asked > 1))

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, interrupt)
    signal.signal(signal.SIGUSR1, do_nothing)
