"""Communicators for groups: several ranks that run one task together.

It knows ranks, and keys that tell one meeting from another; not what a group does. To make a communicator
is collective, and a rank that does not come would hold up all others for good. So the ranks of a group meet
first, by messages that nobody has to wait for:

    each rank -> leader   HERE, with the communicator that it has kept of these ranks, if any
    leader -> each rank   READY? once all are here
    each rank -> leader   YES, if it still waits; from now on it obeys the leader
    leader -> each rank   GO, with the communicator to use or to make; or STOP

The leader is the first rank of the group. Communicators are kept by membership, and freed by each rank on
its own: MPI calls that collective, but neither Open MPI nor MPICH waits in it.

Sources: MPI 4.0, section 7.4.2 (MPI_Comm_create_from_group); ULFM specification (MPI_Comm_revoke).
"""

import contextlib
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from mpi4py import MPI

from mpiexec_runner.errors import PeerError
from mpiexec_runner.transport.mpi_post import Post

KEPT = 32
"""Communicators that are kept; MPICH has about two thousand in all."""
LONGEST_S = 0.005
ANSWER_WITHIN_S = 30.0
"""How long a rank that is to stop waits for a leader that it has said YES to."""

_Ranks = tuple[int, ...]
_Key = tuple[int, int]
_HERE, _READY, _YES, _GO, _STOP, _PORT = 1, 2, 3, 4, 5, 6
_WORD = struct.Struct("<qqqqq")


class _Word(NamedTuple):
    """What ranks say to each other: about which attempt, with which communicator (0: none).

    ``meeting`` is how many times ``rank``, which came, has done so: an answer to an earlier time is none.
    """

    key: _Key
    number: int
    meeting: int
    rank: int


class MpiGroups:
    """See :class:`~mpiexec_runner.transport.port.Groups`.

    Parameters
    ----------
    post
        Carries words to the other ranks.
    founders
        How many ranks were started together: all of them have lower numbers than those that joined later.
    comm
        Of the founders, with errors returned; ``None`` on a rank that joined later.
    """

    def __init__(self, post: Post, founders: int, comm: MPI.Intracomm | None) -> None:
        self.post, self._founders, self._comm = post, founders, comm
        self._rank = post.rank
        self._kept: OrderedDict[_Ranks, tuple[int, MPI.Intracomm]] = OrderedDict()
        self._made = 0
        self._meetings = 0
        self._ports: dict[tuple[int, int], str] = {}
        self._heard: dict[tuple[int, int], _Word] = {}
        self._lock = threading.Lock()
        self._current: tuple[_Ranks, MPI.Intracomm] | None = None

    def meet(self, ranks: _Ranks, key: _Key, stopped: Callable[[], bool]) -> MPI.Intracomm | None:
        """See :class:`~mpiexec_runner.transport.port.Groups`."""
        kept, _ = self._kept.get(ranks, (0, None))
        number = (
            self._lead(ranks, key, kept, stopped)
            if ranks[0] == self._rank
            else self._follow(ranks[0], key, kept, stopped)
        )
        if not number:
            return None
        comm = self._get(ranks, number)
        with self._lock:
            self._current = ranks, comm
        return comm

    def follow(self, hub: int) -> None:
        """See :class:`~mpiexec_runner.transport.port.Groups`."""
        self.post.follow(hub)

    def revoke(self) -> bool:
        """See :class:`~mpiexec_runner.transport.port.Groups`."""
        with self._lock:
            return self._current is not None and _revoke(self._current[1])

    def lost(self) -> list[int]:
        """Ranks of the group that has met here which are dead, as far as MPI tells."""
        with self._lock:
            if self._current is None:
                return []
            ranks, comm = self._current
            if self._comm is not None and self._are_founders(ranks):
                # Asked of all ranks: the group's own communicator may have been revoked.
                return [rank for rank in _find_failed(self._comm) if rank in ranks]
            return [ranks[place] for place in _find_failed(comm)]

    def part(self, *, clean: bool) -> None:
        """See :class:`~mpiexec_runner.transport.port.Groups`."""
        with self._lock:
            if self._current is None:
                return
            (ranks, comm), self._current = self._current, None
            if not clean:
                del self._kept[ranks]
                # Where others cannot be made to leave it, it must stay for them.
                if _revoke(comm):
                    _free(comm)

    # --- meeting

    def _lead(self, ranks: _Ranks, key: _Key, kept: int, stopped: Callable[[], bool]) -> int:
        """Gather the others; the number of the communicator to use, 0 when it was stopped."""
        others = ranks[1:]
        asked: set[_Word] = set()
        sure: set[int] = set()
        here: dict[int, _Word] = {}
        wait = _Wait()
        while len(sure) < len(others):
            for rank in others:
                self._listen(rank)
                if (word := self._heard.get((_HERE, rank))) is not None and word.key == key:
                    here[rank] = word
                if (word := self._heard.get((_YES, rank))) is not None and word in asked:
                    sure.add(rank)
            if stopped():
                for rank, word in here.items():
                    self._say(rank, _STOP, word)
                return 0
            if len(here) == len(others):
                for rank, word in here.items():
                    if word not in asked:
                        self._say(rank, _READY, word)
                        asked.add(word)
            wait.once()
        number = kept
        if not kept or any(word.number != kept for word in here.values()):
            # Even or odd tells all of them by which way; who leads decides.
            self._made += 2
            number = self._made + self._someone_is_dead()
        for rank, word in here.items():
            self._say(rank, _GO, word._replace(number=number))
            del self._heard[_HERE, rank], self._heard[_YES, rank]
        return number

    def _follow(self, leader: int, key: _Key, kept: int, stopped: Callable[[], bool]) -> int:
        """Say that this rank is here, and obey the leader; the number of the communicator, 0 for none."""
        self._meetings += 1
        mine = _Word(key, kept, self._meetings, self._rank)
        self._say(leader, _HERE, mine)
        sure, give_up_at = False, float("inf")
        wait = _Wait()
        while True:
            self._listen(leader)
            for tag in (_GO, _STOP):
                word = self._heard.get((tag, leader))
                if word is not None and word.meeting == mine.meeting:
                    return word.number if tag == _GO else 0
            if stopped():
                if not sure:
                    return 0
                give_up_at = min(give_up_at, time.monotonic() + ANSWER_WITHIN_S)
                if time.monotonic() >= give_up_at:
                    return 0
            elif not sure and self._heard.get((_READY, leader)) == mine:
                sure = True
                self._say(leader, _YES, mine)
            wait.once()

    def _say(self, rank: int, tag: int, word: "_Word") -> None:
        # What cannot be sent is for a dead rank: the hub hears of that, and ends the meeting.
        self.post.say(rank, tag, _WORD.pack(*word.key, word.number, word.meeting, word.rank))

    def _listen(self, rank: int) -> None:
        """Take in what a rank has said. The last word of a sort counts: it does one thing at a time."""
        for tag, source, data in self.post.hear(rank):
            task, attempt, number, meeting, of = _WORD.unpack_from(data)
            if tag == _PORT:
                self._ports[source, number] = data[_WORD.size :].decode()
            else:
                self._heard[tag, source] = _Word((task, attempt), number, meeting, of)

    # --- communicators

    def _get(self, ranks: _Ranks, number: int) -> MPI.Intracomm:
        """The communicator of this number, kept or made now; all of these ranks are in this very call."""
        kept = self._kept.pop(ranks, None)
        if kept is not None and kept[0] != number:
            _free(kept[1])
            kept = None
        if kept is None:
            kept = number, self._make(ranks, number)
        self._kept[ranks] = kept
        if len(self._kept) > KEPT:
            _free(self._kept.popitem(last=False)[1][1])
        return kept[1]

    def _make(self, ranks: _Ranks, number: int) -> MPI.Intracomm:
        comm = (
            self._make_of_founders(ranks, number) if self._are_founders(ranks) else self._join(ranks, number)
        )
        comm.Set_errhandler(MPI.ERRORS_RETURN)
        return comm

    def _are_founders(self, ranks: Iterable[int]) -> bool:
        return all(rank < self._founders for rank in ranks)

    def _join(self, ranks: _Ranks, number: int) -> MPI.Intracomm:
        """Founders make a communicator of their own; the others connect to it, one after the other.

        MPI 4.0, section 11.9.
        """
        order = sorted(ranks)  # so the founders come first
        mine = order.index(self._rank)
        founders = tuple(rank for rank in order if rank < self._founders)
        comm: MPI.Intracomm = MPI.COMM_SELF
        if len(founders) > 1 and mine < len(founders):
            comm = self._make_of_founders(founders, number)
        for place in range(max(mine, len(founders), 1), len(order)):
            before = comm
            if place == mine:
                hall = comm.Connect(self._await_port(order[0], number))
            else:
                port = ""
                if mine == 0:
                    port = MPI.Open_port()
                    word = _WORD.pack(0, 0, number, 0, self._rank)
                    self.post.say(order[place], _PORT, word + port.encode())
                hall = comm.Accept(port)
                if port:
                    MPI.Close_port(port)
            comm = hall.Merge(high=place == mine)
            comm.Set_errhandler(MPI.ERRORS_RETURN)
            _free(hall)
            if before != MPI.COMM_SELF:
                _free(before)
        if tuple(order) == ranks:
            return comm
        sorted_ = MPI.Intracomm(comm.Split(0, ranks.index(self._rank)))
        _free(comm)
        return sorted_

    def _await_port(self, opener: int, number: int) -> str:
        give_up_at = time.monotonic() + ANSWER_WITHIN_S
        wait = _Wait()
        while (port := self._ports.pop((opener, number), None)) is None:
            if time.monotonic() >= give_up_at:
                raise PeerError(f"rank {opener} opened no port within {ANSWER_WITHIN_S:g} s")
            self._listen(opener)
            wait.once()
        return port

    def _make_of_founders(self, ranks: _Ranks, number: int) -> MPI.Intracomm:
        if self._comm is None:
            raise PeerError("a rank that joined later is in no communicator of those that were there before")
        group = self._comm.Get_group().Incl(list(ranks))
        try:
            # Over a communicator with a dead member the first fails, also for a group without it; the second
            # goes through the launcher, and was seen to hang when several groups were made at once.
            if number % 2 == 0:
                comm = self._comm.Create_group(group, number % 32768)
            else:
                comm = MPI.Intracomm.Create_from_group(group, f"mpiexec_runner.{ranks[0]}.{number}")
        finally:
            group.Free()
        comm.Set_errhandler(MPI.ERRORS_RETURN)
        return comm

    def _someone_is_dead(self) -> bool:
        if self._comm is None:
            return True  # or this rank would not be here
        try:
            failed = self._comm.Get_failed()
        except NotImplementedError:  # without ULFM the job would have ended
            return False
        return bool(failed.size)


class _Wait:
    """Waits in steps that grow with the time waited."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def once(self) -> None:
        """Wait once."""
        time.sleep(min((time.monotonic() - self._began) / 4, LONGEST_S))


def _find_failed(comm: MPI.Intracomm) -> list[int]:
    try:
        failed = comm.Get_failed()
    except (MPI.Exception, NotImplementedError):
        return []
    return MPI.Group.Translate_ranks(failed, list(range(failed.size)), comm.Get_group())


def _revoke(comm: MPI.Intracomm) -> bool:
    try:
        comm.Revoke()
    except (MPI.Exception, NotImplementedError):
        return False
    return True


def _free(comm: MPI.Comm) -> None:
    with contextlib.suppress(MPI.Exception):
        comm.Free()
