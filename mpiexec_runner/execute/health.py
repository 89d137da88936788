"""What a worker looks at in itself: checks by name, or a user's own, each with a limit on its time.

It knows no hub: what follows for a worker that is not well is decided there. A check is a callable without
arguments that says how things are: ``"healthy"``, ``"degraded"`` or ``"unhealthy"``, alone or with a message;
nothing, or True, for healthy; False for unhealthy. One that raises says unhealthy.
"""

import contextlib
import importlib
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from mpiexec_runner.model.workers import CheckPlan, Health

Check = Callable[[], object]
Finding = tuple[Health, str]
_WELL: Finding = (Health.HEALTHY, "")
LONGEST_NOTE = 300
"""Messages are cut to so many characters: they travel with every heartbeat."""
_ANY_PORT = 9
"""The discard service (RFC 863): a host where it is closed refuses at once, which is a round trip, too."""


# --- examples, usable by name


def disk_space(
    *paths: str | Path, degraded_bytes: int = 5 * 2**30, unhealthy_bytes: int = 2**29
) -> tuple[str, str]:
    """How much room is left where tasks write: on the file systems of some paths.

    Parameters
    ----------
    paths
        The directory for temporary files when left out.
    degraded_bytes, unhealthy_bytes
        With less room than this, a worker is so.
    """
    places = paths or (tempfile.gettempdir(),)
    free_bytes, place = min((shutil.disk_usage(path).free, str(path)) for path in places)
    text = f"{free_bytes / 2**30:.1f} GiB are free on {place}"
    return _graded(-free_bytes, -degraded_bytes, -unhealthy_bytes), text


def gpu_memory(degraded: float = 0.95, unhealthy: float = 0.99) -> tuple[str, str]:
    """How much memory of the devices is in use, by anybody, as NVML tells; healthy where there are none.

    Parameters
    ----------
    degraded, unhealthy
        A worker is so when more than this share of the memory of any of its devices is in use.
    """
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # noqa: BLE001 - no driver, no library: many ways to have no devices
        return "healthy", "no devices that can be asked"
    try:
        share, device = max(_gpu_shares(nvml), default=(0.0, 0))
    finally:
        nvml.nvmlShutdown()
    return _graded(share, degraded, unhealthy), f"{100 * share:.0f} % of the memory of GPU {device} is in use"


def _gpu_shares(nvml: Any) -> list[tuple[float, int]]:
    found = []
    for number in range(nvml.nvmlDeviceGetCount()):
        memory = nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(number))
        found.append((memory.used / max(1, memory.total), number))
    return found


def network_latency(
    host: str, port: int = _ANY_PORT, degraded_s: float = 0.1, unhealthy_s: float = 2.0
) -> tuple[str, str]:
    """How long a host takes to answer: to take a connection, or to refuse it.

    Parameters
    ----------
    host, port
        Whom to ask. Nobody has to listen there.
    degraded_s, unhealthy_s
        A worker is so when the answer takes longer.
    """
    begin = time.monotonic()
    with contextlib.suppress(ConnectionRefusedError), socket.socket() as line:
        line.settimeout(unhealthy_s)
        try:
            line.connect((host, port))
        except TimeoutError:
            return "unhealthy", f"{host} has not answered for {unhealthy_s:g} s"
    took_s = time.monotonic() - begin
    return _graded(took_s, degraded_s, unhealthy_s), f"{host} took {1000 * took_s:.1f} ms to answer"


def _graded(value: float, degraded: float, unhealthy: float) -> str:
    if value > unhealthy:
        return "unhealthy"
    return "degraded" if value > degraded else "healthy"


NAMED: dict[str, Callable[[CheckPlan, str], object]] = {
    "disk_space": lambda _, run_dir: disk_space(*(path for path in (run_dir, tempfile.gettempdir()) if path)),
    "gpu_memory": lambda *_: gpu_memory(),
    "network_latency": lambda plan, _: network_latency(plan.hub_host) if plan.hub_host else None,
}
"""The checks that a configuration can name, as they are made with what a worker knows."""


def find_check(name: str, plan: CheckPlan, run_dir: str = "") -> Check:
    """A check by its name, or a user's own by ``module:function``.

    Raises
    ------
    LookupError
        When there is none of that name.
    Exception
        Whatever importing the user's module raises.
    """
    if name in NAMED:
        return lambda: NAMED[name](plan, run_dir)
    module, colon, path = name.partition(":")
    if not colon:
        raise LookupError(f"there is no check {name}: there are {', '.join(NAMED)}, and module:function")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise LookupError(f"{name} is no function, but {type(found).__name__}")  # noqa: TRY004
    return found  # type: ignore[no-any-return]


# --- running them


class HealthWatch:
    """Runs checks from time to time, each in a thread of its own, so that nobody waits for them.

    Parameters
    ----------
    plan
        Which ones, how often, and how long each may take.
    run_dir
        The run's directory; empty for none.
    """

    def __init__(self, plan: CheckPlan, run_dir: str = "") -> None:
        self._plan, self._run_dir = plan, run_dir
        self._running: dict[str, _Round] = {}
        self._found: dict[str, Finding] = {}
        self._next_round = 0.0

    def look(self, now: float) -> Finding:
        """The worst that the checks have found, as far as they are through; begins a round when one is due.

        Parameters
        ----------
        now
            The time, in seconds, on a clock that never goes back.
        """
        for name, one in list(self._running.items()):
            if one.finding is not None:
                self._found[name] = one.finding
                del self._running[name]
            elif now - one.since > self._plan.timeout_s:
                # It goes on: a thread cannot be ended. It is not begun again before it is through.
                self._found[name] = (Health.UNHEALTHY, f"{name} has not ended for {now - one.since:.0f} s")
        if now >= self._next_round:
            self._next_round = now + self._plan.every_s
            for name in self._plan.names:
                if name not in self._running:
                    self._running[name] = _Round(name, self._plan, self._run_dir, now)
        return max(self._found.values(), key=lambda finding: finding[0], default=_WELL)


class _Round:
    """One run of one check."""

    def __init__(self, name: str, plan: CheckPlan, run_dir: str, now: float) -> None:
        self.since = now
        self.finding: Finding | None = None
        self._name, self._plan, self._run_dir = name, plan, run_dir
        threading.Thread(target=self._run, name=f"check-{name}", daemon=True).start()

    def _run(self) -> None:
        try:
            health, note = _read(find_check(self._name, self._plan, self._run_dir)())
        except BaseException as error:  # noqa: BLE001 - a check is the user's and may raise anything
            health, note = Health.UNHEALTHY, f"{type(error).__name__}: {error}"
        note = " ".join(note.split())[:LONGEST_NOTE]
        self.finding = (health, f"{self._name}: {note}" if note else self._name) if health else _WELL


def _read(said: object) -> Finding:
    """What a check said, as a state and a message.

    Raises
    ------
    ValueError
        When it said nothing that means anything.
    """
    note = ""
    if isinstance(said, tuple) and len(said) == 2:
        said, text = cast("tuple[object, object]", said)
        note = str(text)
    if said is None or said is True:
        return Health.HEALTHY, note
    if said is False:
        return Health.UNHEALTHY, note
    if isinstance(said, Health):
        return said, note
    states = {state.name.lower(): state for state in Health}
    if isinstance(said, str) and said in states:
        return states[said], note
    raise ValueError(f"it said {said!r:.80}, not healthy, degraded or unhealthy")
