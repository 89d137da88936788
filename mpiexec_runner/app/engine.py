"""The engine below the Python interface: a hub in a thread of rank 0, workers on the other ranks.

With one rank only, a worker in a second thread. See ``api/port.py``.
"""

import atexit
import threading
from pathlib import Path

import mpiexec_runner.api.port as api
from mpiexec_runner.app import ranks
from mpiexec_runner.app.books import Books
from mpiexec_runner.app.record import create_record, made_by_a_program
from mpiexec_runner.app.takeover import Forsaken
from mpiexec_runner.app.wiring import find_placement, make_scheduler
from mpiexec_runner.core.listener import Listener
from mpiexec_runner.core.settings import HeartbeatSettings, LimitSettings, SchedulerSettings
from mpiexec_runner.core.state import RunState
from mpiexec_runner.errors import UserError
from mpiexec_runner.execute.machine import host_name
from mpiexec_runner.model.commands import EndRun, RunEnd
from mpiexec_runner.model.events import AnyEvent, SubmissionsClosed
from mpiexec_runner.model.messages import Leave
from mpiexec_runner.runtime.hub import Hub, RunClock
from mpiexec_runner.runtime.interpreter import Interpreter
from mpiexec_runner.runtime.keeper import DirectoryKeeper, MemoryKeeper
from mpiexec_runner.runtime.settings import WorkerSettings
from mpiexec_runner.storage.port import BlobPort
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.loopback import SharedRank
from mpiexec_runner.transport.port import Transport


class MpiEngine:
    """See :class:`~mpiexec_runner.api.port.Engine`.

    Parameters
    ----------
    run_dir
        A new directory for the record; ``None`` keeps none.
    slots
        Tasks that one rank runs at the same time.
    final
        Whether the workers may leave at the end of this run, or wait for the next one of this process.
    scheduler, limits
        Settings of the core.
    monitoring_interval_s
        Seconds between two looks of a worker at what it uses, told with its heartbeats.
    """

    def __init__(
        self,
        *,
        run_dir: str | Path | None = None,
        slots: int = 1,
        final: bool = False,
        scheduler: SchedulerSettings | None = None,
        limits: LimitSettings | None = None,
        monitoring_interval_s: float | None = None,
    ) -> None:
        self._outer = ranks.world_transport()
        self._slots, self._final = slots, final
        self._settings, self._limits = scheduler or SchedulerSettings(), limits
        self._heartbeat = _heartbeat(monitoring_interval_s)
        self._worker_settings = WorkerSettings(slots=slots)
        if monitoring_interval_s is not None:
            self._worker_settings = WorkerSettings(slots=slots, monitoring_interval_s=monitoring_interval_s)
        self.state: RunState | None = None
        self.hub_here = self._outer.rank == 0
        self._keeper: MemoryKeeper | DirectoryKeeper = MemoryKeeper()
        self._books: Books | None = None
        if self.hub_here:
            try:
                self._prepare(run_dir)
            except BaseException:
                ranks.dismiss(self._outer)  # the others wait to work
                raise
        self._shared: SharedRank | None = None
        self._hub: Hub | None = None
        self._thread: threading.Thread | None = None
        self._end = EndRun(RunEnd.STARVED, "the run was never started")
        self._error: BaseException | None = None

    def _prepare(self, run_dir: str | Path | None) -> None:
        if not self._outer.threaded and self._outer.size > 1:
            raise UserError(
                "this MPI gives no MPI_THREAD_MULTIPLE, which ParallelExecutor needs on rank 0: use "
                "`mpiexec-runner run` with a configuration, or another MPI"
            )
        find_placement(self._settings.placement)  # a wrong name is told here, not in the hub's thread
        if run_dir is not None:
            path = Path(run_dir)
            self._keeper = create_record(path.parent, path.name, made_by_a_program(path.name), exact=path)
            self._books = Books(self._keeper, 1, self._outer.size)

    @property
    def capacity(self) -> int:
        """See :class:`~mpiexec_runner.api.port.Engine`."""
        return max(1, self._outer.size - 1) * self._slots

    @property
    def scheduling_s(self) -> float:
        """See :class:`~mpiexec_runner.api.port.Engine`."""
        return self._hub.scheduling_s if self._hub is not None else 0.0

    @property
    def blobs(self) -> BlobPort:
        """See :class:`~mpiexec_runner.api.port.Engine`."""
        return self._keeper.blobs

    def start(self, listener: api.Audience, setup: bytes) -> None:
        """See :class:`~mpiexec_runner.api.port.Engine`."""
        transport, workers = self._outer, range(1, self._outer.size)
        if self._outer.size == 1:
            self._shared = SharedRank(self._outer)
            worker = ranks.make_worker(self._shared.worker_end, self._worker_settings)
            threading.Thread(target=worker.serve, name="worker", daemon=True).start()
            transport, workers = self._shared, range(1)
        heartbeat = self._heartbeat
        scheduler = make_scheduler(self._settings, heartbeat, limits=self._limits)
        self.state = scheduler.state
        checks = heartbeat.check_plan(host_name())
        interpreter = Interpreter(
            transport, self._keeper, listener, scheduler.state, heartbeat.interval_s, setup, checks
        )
        self._hub = Hub(
            transport, workers, scheduler, self._keeper, listener, interpreter, RunClock(), adder=listener
        )
        self._thread = threading.Thread(
            target=self._run, args=(self._hub, scheduler.state, listener), name="hub", daemon=True
        )
        self._thread.start()
        if not self._final:
            _dismiss_at_exit(self._outer)
        atexit.register(self._finish)  # after the line above, and so done before it

    def post(self, event: AnyEvent) -> None:
        """See :class:`~mpiexec_runner.api.port.Engine`."""
        if self._hub is None:
            raise UserError("the executor has not been started")
        self._hub.post(event)

    def join(self) -> EndRun:
        """See :class:`~mpiexec_runner.api.port.Engine`."""
        if self._thread is not None:
            self._thread.join()
            atexit.unregister(self._finish)
        if self._error is not None:
            raise self._error
        return self._end

    def _finish(self) -> None:
        """At the end of a program that did not wait: finish what it submitted, as Python itself does."""
        if self._hub is not None and self._thread is not None:
            self._hub.post(SubmissionsClosed())
            self._thread.join()

    def serve(self) -> None:
        """See :class:`~mpiexec_runner.api.port.Engine`."""
        if ranks.make_worker(self._outer, self._worker_settings, Forsaken()).serve():
            return
        ranks.leave_without_finalize()
        if not self._final:  # nothing is left to do here, and some other rank is dead or hangs
            ranks.leave(0)

    def _run(self, hub: Hub, state: RunState, listener: Listener) -> None:
        try:
            if self._books is not None:
                for note in self._books.open(state):
                    listener.noted(note)
            self._end = hub.run(epoch=1)
            if not hub.everyone_left():
                ranks.leave_without_finalize()
            if self._books is not None:
                for note in self._books.close(state, self._end)[1]:
                    listener.noted(note)
        except BaseException as error:  # noqa: BLE001 - raised again where the run is waited for
            self._error = error
            if self._books is not None:
                self._books.note_broken(state, error)
            listener.ended(RunEnd.STARVED, f"the hub failed: {error}")
        finally:
            if self._shared is not None:
                self._shared.send(self._shared.rank, codec.encode([Leave(orderly=True)]))
            if self._final:
                ranks.dismiss(self._outer)


def _heartbeat(monitoring_interval_s: float | None) -> HeartbeatSettings:
    """What a worker uses comes with its heartbeats: they are as far apart as looks are wanted, at most."""
    usual = HeartbeatSettings()
    if monitoring_interval_s is None:
        return usual
    return HeartbeatSettings(interval_s=min(monitoring_interval_s, usual.timeout_s / 3))


_dismissing: list[Transport] = []


def _dismiss_at_exit(transport: Transport) -> None:
    """When this program ends, tell the other ranks that no further run will come."""
    if transport not in _dismissing:
        _dismissing.append(transport)
        atexit.register(ranks.dismiss, transport)


api.provide(MpiEngine)
