"""The transport over MPI: the ranks that were started together, and those that joined them later.

It knows bytes, not messages; how they travel on one communicator is ``mpi_links.py``'s. The ranks of the
world share one communicator. Each rank that joined later has one with the hub alone, and gets another with
each hub that follows.
"""

import os
import sys
import threading
from collections.abc import Sequence

import mpi4py
from typing_extensions import Buffer

from mpiexec_runner.transport.port import Groups, Packet

if "mpi4py.MPI" not in sys.modules:
    mpi4py.rc.initialize = False  # not at import, but when a rank takes its place
from mpi4py import MPI

from mpiexec_runner.transport.mpi_doors import own_comm
from mpiexec_runner.transport.mpi_groups import MpiGroups  # after the above: these load MPI
from mpiexec_runner.transport.mpi_links import LinkToOne, MpiLink
from mpiexec_runner.transport.mpi_post import Post

ABORT_GRACE_S = 5.0


class MpiTransport:
    """A rank of ``MPI.COMM_WORLD``, or of another communicator.

    Parameters
    ----------
    comm
        Duplicated, collectively: every rank must make its transport. Left out: the world.
    card
        What the other ranks of this host are to know of this one.
    """

    def __init__(self, comm: MPI.Intracomm | None = None, card: bytes = b"") -> None:
        initialise()
        comm = (comm or MPI.COMM_WORLD).Dup()
        self.neighbours = _meet_neighbours(comm, card)
        words = comm.Dup()
        self.founders = comm.size
        """How many ranks were there from the beginning."""
        self._post = Post(comm.rank, words, range(comm.size))
        self.groups: Groups | None = MpiGroups(self._post, comm.size, words)
        self._begin(comm.rank, MpiLink(comm, range(comm.size)))

    def _begin(self, rank: int, link: MpiLink) -> None:
        self.rank: int = rank
        self.size: int = max(link.ids) + 1
        self.threaded: bool = MPI.Query_thread() >= MPI.THREAD_MULTIPLE
        self._lock = threading.RLock()
        self._links = [link]
        self._ways = {id_: (link, place) for place, id_ in enumerate(link.ids)}

    def add(self, rank: int, link: LinkToOne) -> None:
        """Be led to a rank by a link from now on. From any thread."""
        with self._lock:
            self._post.add(link.words, link.ids)
            self._links.append(link)
            self._ways[rank] = link, link.ids.index(rank)
            self.size = max(self.size, rank + 1)

    def leads_to(self, rank: int) -> bool:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        return rank in self._ways

    def send(self, dest: int, body: Buffer, buffers: Sequence[Buffer] = ()) -> None:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        with self._lock:
            if (way := self._ways.get(dest)) is not None:
                link, place = way
                link.send(place, body, buffers)

    def receive(self) -> list[Packet]:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        with self._lock:
            arrived = self._links[0].receive()
            if len(self._links) > 1:
                for link in self._links[1:]:
                    arrived += link.receive()
                self._post.pass_on()
            return arrived

    def unsent(self) -> int:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        with self._lock:
            return sum(link.unsent() for link in self._links)

    def gone(self) -> list[tuple[int, str]]:
        """See :class:`~mpiexec_runner.transport.port.Transport`."""
        with self._lock:
            return [found for link in self._links for found in link.gone()]

    def close(self, *, orderly: bool) -> None:
        """Finalize when everybody will; else leave MPI as it is, since Finalize would wait for the dead."""
        safe = len(self._links) == 1 and not self._links[0].anyone_gone
        if orderly and safe and not MPI.Is_finalized():
            self._links[0].comm.Free()
            if not mpi4py.rc.initialize:  # whoever else initialised MPI finalises it
                MPI.Finalize()


class NewcomerTransport(MpiTransport):
    """A rank that was started while the run went on. It leads to nobody at first.

    Parameters
    ----------
    rank, hub
        What this rank is called in the run, and the one that started it.
    founders
        How many ranks were there from the beginning.
    neighbours
        See :class:`~mpiexec_runner.transport.port.Transport`.
    """

    def __init__(self, rank: int, hub: int, founders: int, neighbours: dict[int, bytes]) -> None:
        initialise()
        link = LinkToOne(own_comm(), (rank,))
        self.neighbours = neighbours
        self.founders = founders
        self._post = Post(rank, link.words, link.ids, hub)
        self.groups = MpiGroups(self._post, founders, None)
        self._begin(rank, link)


def _meet_neighbours(comm: MPI.Intracomm, card: bytes) -> dict[int, bytes]:
    """Learn which ranks share this host's memory, and their cards. Collective."""
    local = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
    met = dict(local.allgather((comm.rank, card)))
    local.Free()
    return met


def initialise() -> None:
    """Initialise MPI once, with as much thread support as the library gives."""
    if not MPI.Is_initialized():
        MPI.Init_thread(MPI.THREAD_MULTIPLE)


def world_size() -> int:
    """Ranks in the world, as the library sees it."""
    initialise()
    return int(MPI.COMM_WORLD.size)


def abort(code: int) -> None:
    """End every rank of the job at once; this one in any case, also where MPI's Abort hangs."""
    last = threading.Timer(ABORT_GRACE_S, os._exit, [code])
    last.daemon = True
    last.start()
    if MPI.Is_initialized() and not MPI.Is_finalized():
        MPI.COMM_WORLD.Abort(code)
    os._exit(code)
