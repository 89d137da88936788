"""What a rank of the simulation follows a hub with: the real takeover, with virtual processes around it.

In place of what ends processes, and of what the system knows of them. Which hub leads, and what it
does, is ``loop_world.py``'s.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn
from unittest import mock

from loop_net import Network
from loop_threads import Killed

from mpiexec_runner.app import takeover
from mpiexec_runner.errors import ExitCode
from mpiexec_runner.runtime import worker
from mpiexec_runner.storage import lease, owner
from mpiexec_runner.storage.owner import Owner
from mpiexec_runner.transport.loopback import SharedRank

PIDS_PER_LIFE = 1000


class Processes:
    """Stands for ``app/ranks.py``, and for what /proc says: all ranks of all lives are in one process.

    Parameters
    ----------
    network
        Knows which ranks are dead.
    life
        Which job of the run it is.
    rank
        Tells on whose behalf this is called.
    leave
        Ends the process of a rank.
    """

    def __init__(
        self, network: Network, life: int, rank: Callable[[], int], leave: Callable[[int], None]
    ) -> None:
        self._network, self._life, self._rank, self._leave = network, life, rank, leave

    # --- as ``app/ranks.py``

    def leave_without_finalize(self) -> None:
        """There is no MPI to finalise."""

    def end_hung(self, pids: Iterable[int]) -> None:
        """The end of the simulation ends them."""

    def leave(self, code: int) -> NoReturn:
        if code == ExitCode.INTERNAL:
            raise AssertionError(f"rank {self._rank()} gives up, though the others may lead")
        self._leave(self._rank())
        raise Killed

    # --- as ``os`` in ``runtime/worker.py``

    def _exit(self, code: int) -> NoReturn:
        self.leave(code)

    # --- as ``storage/owner.py``

    def this_process(self, epoch: int, rank: int = 0, life: int = 0) -> Owner:
        return Owner(
            host="host",
            pid=self._life * PIDS_PER_LIFE + rank,
            pid_start=1,
            machine="virtual",
            job_id="",
            epoch=epoch,
            taken="then",
            rank=rank,
            life=life or epoch,
        )

    def start_of(self, pid: int) -> int | None:
        life, rank = divmod(pid, PIDS_PER_LIFE)
        return 1 if life == self._life and rank not in self._network.dead else None

    @contextlib.contextmanager
    def virtual(self) -> Iterator[None]:
        """Let leases and takeovers see these processes."""
        network = self._network

        class WakingShared(SharedRank):
            """Wakes who waits: here nobody looks every few milliseconds."""

            def __init__(self, outer: object) -> None:
                super().__init__(outer)
                for end in (self._inner, self.worker_end._inner):
                    end._wake = lambda _: network._wake(self.rank)

        with (
            mock.patch.object(takeover, "ranks", self),
            mock.patch.object(worker, "os", self),
            mock.patch.object(takeover, "SharedRank", WakingShared),
            mock.patch.object(lease, "this_process", self.this_process),
            mock.patch.object(owner, "_start_of", self.start_of),
            mock.patch.object(owner, "_machine", return_value="virtual"),
        ):
            yield
