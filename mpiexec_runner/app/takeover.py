"""What a rank does when the lead falls to it, or when nobody leads it any more.

It moves the rank's worker beside a hub in the same process, and ends the process when that hub is done. What
the hub does is ``run.py``'s; whether and when this rank is the one is ``runtime/failover.py``'s.
"""

import functools
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

from mpiexec_runner.app import ranks
from mpiexec_runner.app.doors import OwnDoors
from mpiexec_runner.errors import ExitCode, Fenced, RunnerError
from mpiexec_runner.runtime.clock import SYSTEM, Clock, Thread
from mpiexec_runner.runtime.worker import Worker
from mpiexec_runner.storage.lease import Lease
from mpiexec_runner.storage.owner import Owner, is_here
from mpiexec_runner.transport.loopback import SharedRank
from mpiexec_runner.transport.port import Transport


class Office(NamedTuple):
    """What a hub that follows another one starts from.

    Attributes
    ----------
    lease
        The run directory is this process's.
    former
        The hub before it, if it came so far as to have the directory.
    transport
        Leads to all workers, the one in this process among them.
    workers
        Ranks that may be there.
    gone
        Those that are not to be listened to any more, and why.
    worker
        The one in this process.
    """

    lease: Lease
    former: Owner | None
    transport: SharedRank
    workers: list[int]
    gone: Mapping[int, str]
    worker: Worker

    @property
    def why(self) -> str:
        """Which ranks are gone, and why."""
        return ", ".join(f"rank {rank} is gone ({why})" for rank, why in sorted(self.gone.items()))

    @property
    def is_heard_of(self) -> bool:
        """Whether the run had begun: then its own configuration is the one to go by."""
        return self.lease.epoch != self.lease.life

    def end_former(self) -> None:
        """Kill the hub before this one if it only hangs, on this machine: a launcher may wait for it."""
        if self.former is not None and is_here(self.former):
            ranks.end_hung([self.former.pid])


class Takeover:
    """The heir of one rank. See :class:`~mpiexec_runner.runtime.failover.Heir`.

    Parameters
    ----------
    transport
        Leads to the other ranks.
    run_dir
        Where the run is, where this rank knows without being told.
    lead
        Leads the run to its end; returns the exit code of this process.
    say
        Prints a line for the user.
    clock
        Starts the hub's thread.
    """

    def __init__(
        self,
        transport: Transport,
        run_dir: str,
        lead: Callable[[Office], int],
        say: Callable[[str], None],
        clock: Clock = SYSTEM,
    ) -> None:
        self.run_dir = run_dir
        self.worker: Worker | None = None
        self._transport, self._lead, self._say = transport, lead, say
        self._doors = OwnDoors(transport, say)
        self._clock = clock
        self._thread: Thread | None = None

    def lead(self, lease: Lease, former: Owner | None, gone: Mapping[int, str]) -> None:
        """See :class:`~mpiexec_runner.runtime.failover.Heir`."""
        if self.worker is None:
            return
        ranks.leave_without_finalize()
        shared = SharedRank(self._transport)
        self.worker.move_to(shared.worker_end)
        workers = [rank for rank in range(shared.size) if rank not in gone and shared.leads_to(rank)]
        office = Office(lease, former, shared, workers, gone, self.worker)
        self._thread = self._clock.start(functools.partial(self._run, office), "hub")

    def meet(self, directory: Path, owner: Owner) -> bool:
        """See :class:`~mpiexec_runner.runtime.failover.Heir`."""
        if self._transport.leads_to(owner.rank):
            return False
        self._doors.open_to(directory, owner)
        return True

    def give_up(self, why: str) -> NoReturn:
        """See :class:`~mpiexec_runner.runtime.failover.Heir`."""
        where = f"; what had finished is on record. Go on with: mpiexec-runner resume {self.run_dir}"
        self._say(f"error: rank {self._transport.rank} ends: {why}{where if self.run_dir else ''}")
        self._leave(int(ExitCode.INTERNAL))

    def wait(self) -> None:
        """Return only if this rank does not lead: else the hub's thread ends the process."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, office: Office) -> None:
        try:
            code = self._lead(office)
        except Fenced as error:
            self._say(f"rank {self._transport.rank}: {error}")
            self._leave(0)
        except BaseException as error:  # noqa: BLE001 - the end of this thread is the end of the job
            if isinstance(error, RunnerError):
                self._say(f"error: {error}")
            else:
                traceback.print_exc()
            ranks.abort(int(ExitCode.INTERNAL))
            return
        self._leave(code)

    def _leave(self, code: int) -> NoReturn:
        if self.worker is not None:
            self.worker.abandon()
        ranks.leave(code)


class Forsaken:
    """The heir of a rank that a Python program leads: nobody can take the program's place."""

    run_dir = ""

    def lead(self, lease: Lease, former: Owner | None, gone: Mapping[int, str]) -> None:
        """Never called: a run that cannot be taken over names no directory."""

    def meet(self, directory: Path, owner: Owner) -> bool:  # noqa: ARG002
        """Never called, for the same reason."""
        return False

    def give_up(self, why: str) -> NoReturn:
        """See :class:`~mpiexec_runner.runtime.failover.Heir`."""
        print(
            f"error: {why}. The run belongs to the program on that rank and ends with it: run that again",
            file=sys.stderr,
        )
        ranks.leave(int(ExitCode.INTERNAL))
