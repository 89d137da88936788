"""What a process is in its MPI job: its transport, made once, and how it leaves.

MPI is initialised here when it is first needed, and finalised when the program ends in order.
"""

import atexit
import contextlib
import functools
import os
import shlex
import sys
import threading
import time
from collections.abc import Iterable
from typing import NoReturn

import psutil

from mpiexec_runner.app.launch import launch_prefix
from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.app.obituary import live_visibly
from mpiexec_runner.app.world import check_launcher_fits, check_not_singleton
from mpiexec_runner.execute.environment import clean
from mpiexec_runner.execute.machine import host_name
from mpiexec_runner.execute.reaper import MARK, Reaper
from mpiexec_runner.execute.segments import find_segments, remove_segments
from mpiexec_runner.execute.share import View, Wish, decode_view, divide, encode_view, own_view
from mpiexec_runner.model.messages import Leave
from mpiexec_runner.model.workers import WorkerInfo
from mpiexec_runner.runtime.attempts import Launcher
from mpiexec_runner.runtime.claims import Claims
from mpiexec_runner.runtime.failover import Heir
from mpiexec_runner.runtime.settings import WorkerSettings
from mpiexec_runner.runtime.waiting import Waiter
from mpiexec_runner.runtime.worker import LAST_WORDS_S, Worker
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.mpi_library import Vendor, find_library
from mpiexec_runner.transport.port import Transport


@functools.cache
def world_transport() -> Transport:
    """This rank's transport over all ranks of the job; collective at its first call.

    Raises
    ------
    UserError
        When the launcher started several ranks and the MPI library sees only one.
    """
    from mpiexec_runner.transport import mpi  # noqa: PLC0415 - loading it needs an MPI library

    live_visibly(os.environ)
    check_launcher_fits(os.environ)
    check_not_singleton(os.environ, mpi.world_size())
    transport = mpi.MpiTransport(card=encode_view(own_view()))
    if find_library().vendor is Vendor.MPICH:
        # Its ranks have met, and none looks for the segment by its name again: so it cannot outlive them.
        # (Open MPI's ranks open each other's when they first talk.)
        remove_segments(find_segments())
    atexit.register(_finalize, transport)
    # Begun now: at its end an interpreter may refuse to begin threads.
    threading.Thread(target=_watch_the_end, name="finalize", daemon=True).start()
    return transport


FINALIZE_GRACE_S = 30.0
"""How long MPI may take to finalise: MPICH was seen, once, not to come back from it on a busy machine."""

_orderly = True
_code = 0
_finalizing = threading.Event()


def end_with(code: int) -> int:
    """Remember the exit code of this process, for the case that MPI does not let it end."""
    global _code  # noqa: PLW0603 - there is one MPI in a process
    _code = code
    return code


def _finalize(transport: Transport) -> None:
    """Finalize MPI, but not for ever: by now all that the run has to say is on record."""
    _finalizing.set()
    transport.close(orderly=_orderly)


def _watch_the_end() -> None:
    _finalizing.wait()
    time.sleep(FINALIZE_GRACE_S)
    leave(_code or int(getattr(sys, "last_value", None) is not None))


def leave_without_finalize() -> None:
    """Remember that some rank is dead or hangs: MPI's Finalize would wait for it."""
    global _orderly  # noqa: PLW0603 - there is one MPI in a process
    _orderly = False


def dismiss(transport: Transport) -> None:
    """Tell the other ranks, from the hub's, that nothing more comes, and let that go out."""
    for rank in range(transport.size):
        if rank != transport.rank:
            transport.send(rank, codec.encode([Leave(orderly=_orderly)]))
    give_up_at = time.monotonic() + LAST_WORDS_S
    waiter = Waiter()
    while transport.unsent() and time.monotonic() < give_up_at:
        waiter.wait(give_up_at)


def end_hung(pids: Iterable[int]) -> None:
    """Kill ranks that do not answer, where they are on this machine; a launcher may wait for them."""
    launcher = os.getppid()
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.ppid() == launcher:  # a rank of this job, not a stranger with an old number
                process.kill()


def leave(code: int) -> NoReturn:
    """End this process without MPI's Finalize, which would wait for ranks that are dead or hang."""
    if _reaper.cache_info().currsize:
        _reaper().let_go()
    # What Finalize would remove, and what ranks have left that were killed.
    remove_segments(find_segments())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def abort(code: int) -> None:
    """End the whole job at once: for errors that nobody can repair."""
    from mpiexec_runner.transport import mpi  # noqa: PLC0415 - loading it needs an MPI library

    mpi.abort(code)


def make_worker(
    transport: Transport,
    settings: WorkerSettings,
    heir: Heir | None = None,
    *,
    place: int | None = None,
    hub: int = 0,
) -> Worker:
    """A worker for this rank, which tells what is its share of its host.

    Parameters
    ----------
    transport
        Knows the other ranks of this host.
    settings
        The same on every rank.
    heir
        What it can do when its hub is gone.
    place
        The rank whose share and tags it takes over, if not its own.
    hub
        The hub's rank.
    """
    host, place = host_name(), transport.rank if place is None else place
    wish = Wish(settings.cores, settings.memory, settings.gpus, settings.tags_of(host, place))
    share = divide(_working_views(transport, settings), place, wish)
    info = WorkerInfo(
        host,
        os.getpid(),
        settings.slots,
        len(share.cores),
        share.memory_bytes,
        len(share.devices),
        share.tags,
    )
    claims = Claims(share, settings.monitoring_interval_s)
    environment = _outside_environment() | {MARK: _reaper().mark}
    return Worker(transport, info, environment, claims, _launcher(settings), hub, heir)


@functools.cache
def _reaper() -> Reaper:
    """What ends this rank's commands if it is killed."""
    reaper = Reaper()
    atexit.register(reaper.let_go)
    return reaper


def _working_views(transport: Transport, settings: WorkerSettings) -> dict[int, View]:
    """What each rank sees that works on this host; the hub's takes no share unless it works, too."""
    hub_works = settings.hub_works is True or transport.size == 1
    return {
        rank: decode_view(card) if card and rank != transport.rank else own_view()
        for rank, card in transport.neighbours.items()
        if rank != 0 or hub_works or transport.rank == 0
    }


def _outside_environment() -> dict[str, str]:
    """This rank's environment without the launcher's variables, but with leave to start an MPI as root."""
    leave = {name: os.environ[name] for name in os.environ if name.startswith("OMPI_ALLOW_RUN_AS_ROOT")}
    return clean(os.environ) | leave


def _launcher(settings: WorkerSettings) -> Launcher:
    """What finds the words that start a command as several ranks; looked for when it is first needed."""

    @functools.cache
    def find() -> tuple[str, ...]:
        if settings.mpi_command is not None:
            return tuple(shlex.split(settings.mpi_command))
        return tuple(launch_prefix(find_launcher(find_library(), "auto", os.environ)))

    return find
