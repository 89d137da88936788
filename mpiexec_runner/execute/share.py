"""A worker's share of its host: what is left of it by affinity, control group and batch system, divided.

It knows neither MPI nor the configuration. What each rank of a host sees is its :class:`View`; the ranks
tell each other theirs once, when their transport is made, and each works out its own share from all.
"""

import math
import os
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from mpiexec_runner.errors import PeerError
from mpiexec_runner.execute.devices import Devices, find_devices
from mpiexec_runner.execute.machine import find_cpu_quota, usable_memory_bytes
from mpiexec_runner.execute.tags import own_tags

_T = TypeVar("_T")
_encoder = msgspec.msgpack.Encoder()


class View(msgspec.Struct, frozen=True, array_like=True):
    """What one rank may use of its host, as the rank itself sees it; others may see the same.

    ``quota`` is in cores, 0 for none; ``memory_bytes`` is for all that run under the same limit. ``pid`` is
    the rank's process.
    """

    cores: tuple[int, ...]
    quota: float = 0.0
    memory_bytes: int = 0
    devices: Devices = Devices()
    pid: int = 0


class Share(msgspec.Struct, frozen=True):
    """What the tasks of one worker may use together.

    ``pinned`` tells whether ``cores`` are this worker's own, so that a task can be held to some of them.
    Where a control group grants time instead of cores, they only count.
    """

    cores: tuple[int, ...] = (0,)
    memory_bytes: int = 0
    devices: Devices = Devices()
    pinned: bool = False
    tags: tuple[str, ...] = ()


class Wish(msgspec.Struct, frozen=True):
    """What the user says a worker has, where that is to go before what is found; ``None`` to look."""

    cores: int | None = None
    memory_bytes: int | None = None
    gpus: int | None = None
    tags: tuple[str, ...] = ()


def own_view() -> View:
    """What this process may use."""
    return View(
        tuple(sorted(os.sched_getaffinity(0))),
        find_cpu_quota() or 0.0,
        usable_memory_bytes(),
        find_devices(os.environ),
        os.getpid(),
    )


def encode_view(view: View) -> bytes:
    """A view for the other ranks."""
    return _encoder.encode(view)


def decode_view(data: bytes) -> View:
    """A view that another rank sent.

    Raises
    ------
    PeerError
        When it is none.
    """
    try:
        return msgspec.msgpack.decode(data, type=View)
    except msgspec.DecodeError as error:
        raise PeerError(f"a malformed description of a rank's machine: {error}") from error


def divide(views: Mapping[int, View], rank: int, wish: Wish | None = None) -> Share:
    """The share of one rank.

    Parameters
    ----------
    views
        What each working rank of this host sees, by rank.
    rank
        Whose share is asked for.
    wish
        What goes before.

    Returns
    -------
    Share
        Ranks that see the same cores divide them in contiguous chunks, and so for devices; memory is divided
        among all. More ranks than cores share cores; a device is never shared.
    """
    mine, wish = views[rank], wish or Wish()
    cores, pinned = _cores(views, rank)
    if wish.cores is not None:
        pinned = pinned and wish.cores <= len(cores)
        cores = cores[: wish.cores] if wish.cores <= len(cores) else tuple(range(wish.cores))
    memory_bytes = mine.memory_bytes // len(views) if wish.memory_bytes is None else wish.memory_bytes
    devices = _devices(views, rank) if wish.gpus is None else _wished_devices(views, rank, wish.gpus)
    tags = own_tags(len(cores), memory_bytes, len(devices)) | set(wish.tags)
    return Share(cores, memory_bytes, devices, pinned, tuple(sorted(tags)))


def chunk(items: Sequence[_T], place: int, places: int) -> Sequence[_T]:
    """The contiguous part of ``items`` for one place of several; the first places get what is left over."""
    size, over = divmod(len(items), places)
    begin = place * size + min(place, over)
    return items[begin : begin + size + (place < over)]


def _cores(views: Mapping[int, View], rank: int) -> tuple[tuple[int, ...], bool]:
    mine = views[rank].cores
    sharing = sorted(other for other, view in views.items() if view.cores == mine)
    place, places = sharing.index(rank), len(sharing)
    own = tuple(chunk(mine, place, places)) or (mine[place % len(mine)],)
    quota = views[rank].quota
    if not quota or quota >= len(mine):
        return own, len(mine) >= places
    # Whose time the kernel grants on which core is its own affair: so many count, none is ours.
    count = len(chunk(range(max(1, math.ceil(quota))), place, places))
    return own[: max(1, count)], False


def _devices(views: Mapping[int, View], rank: int) -> Devices:
    mine = views[rank].devices
    sharing = sorted(other for other, view in views.items() if view.devices == mine)
    return Devices(tuple(chunk(mine.names, sharing.index(rank), len(sharing))), mine.variable)


def _wished_devices(views: Mapping[int, View], rank: int, count: int) -> Devices:
    """So many for each rank; named by number where fewer are found, for devices that nobody here knows."""
    mine = views[rank].devices
    begin = sorted(views).index(rank) * count
    if len(mine) >= len(views) * count:
        return Devices(mine.names[begin : begin + count], mine.variable)
    return Devices(tuple(str(number) for number in range(begin, begin + count)), mine.variable)
