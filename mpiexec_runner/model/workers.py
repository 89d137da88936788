"""What a worker is: what it says of itself when it joins, and its states."""

import enum

import msgspec


class WorkerState(enum.IntEnum):
    """Where a worker is in its life. Legal moves are in ``core/transitions.py``."""

    JOINING = 0
    ALIVE = 1
    SUSPECT = 2
    LOST = 3
    DRAINED = 4


class Health(enum.IntEnum):
    """What a worker's own checks say of it. Told over the wire: numbers never change their meaning."""

    HEALTHY = 0
    DEGRADED = 1
    UNHEALTHY = 2


class CheckPlan(msgspec.Struct, frozen=True, array_like=True):
    """Which checks a worker runs on itself, how often, and how long each may take, in seconds.

    A name is one of those in ``execute/health.py`` or ``module:function``. ``hub_host`` is where the hub is.
    """

    names: tuple[str, ...] = ()
    every_s: float = 60.0
    timeout_s: float = 10.0
    hub_host: str = ""


class WorkerInfo(msgspec.Struct, frozen=True):
    """What a worker announces: its host, process, slots, and its own share of the host.

    ``cores`` and ``memory_bytes`` are what tasks on this worker may use together, ``gpus`` how many devices.
    ``tags`` is sorted.
    """

    host: str
    pid: int
    slots: int = 1
    cores: int = 1
    memory_bytes: int = 0
    gpus: int = 0
    tags: tuple[str, ...] = ()


class Load(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What rides along with a heartbeat.

    1-minute load average, peak resident memory of the rank in bytes, tasks held; the CPU use of the host in
    percent of all its cores, and the memory that the rank and all below it use, in bytes. ``running`` of the
    tasks have begun. ``health`` is the worst that the worker's checks found, and ``note`` says what that was.
    """

    load: float = 0.0
    memory_bytes: int = 0
    held: int = 0
    cpu_percent: float = 0.0
    used_bytes: int = 0
    running: int = 0
    health: Health = Health.HEALTHY
    note: str = ""
