"""What a worker has for tasks that ask for cores, devices or memory, and which of it is in use.

Plain book-keeping: what a claim means for a process is in ``execute/allowance.py``.
"""

import math
from typing import NamedTuple

from mpiexec_runner.execute.allowance import NOTHING, THREAD_VARIABLES, Allowance
from mpiexec_runner.execute.devices import Devices
from mpiexec_runner.execute.share import Share
from mpiexec_runner.model.tasks import Needs, TaskKind
from mpiexec_runner.runtime.oversight import Oversight


class Claim(NamedTuple):
    """Cores and devices that one attempt has to itself until they are given back."""

    cores: tuple[int, ...] = ()
    devices: tuple[str, ...] = ()


NO_CLAIM = Claim()


class Claims:
    """The worker's share of its host, and what is left of it.

    Parameters
    ----------
    share
        What there is.
    look_every_s
        How often an attempt with a memory limit is looked at.
    """

    def __init__(self, share: Share, look_every_s: float) -> None:
        self._share, self._look_every_s = share, look_every_s
        self._cores = list(share.cores)
        self._devices = list(share.devices.names)

    def problem(self, needs: Needs) -> str:
        """Why this worker could never run a task with these needs; empty if it could."""
        there, asked = len(self._share.cores), needs.cpus
        what = "cores"
        if asked <= there:
            there, asked, what = len(self._share.devices), needs.gpus, "GPUs"
        if asked <= there:
            return ""
        return f"it needs {asked} {what}, and this worker has {there}"

    def take(self, needs: Needs) -> Claim | None:
        """What a task needs, or ``None`` while that is not free."""
        if needs.cpus > len(self._cores) or needs.gpus > len(self._devices):
            return None
        claim = Claim(tuple(self._cores[: needs.cpus]), tuple(self._devices[: needs.gpus]))
        del self._cores[: needs.cpus], self._devices[: needs.gpus]
        return claim

    def give_back(self, claim: Claim) -> None:
        """The attempt is over."""
        if claim.cores:
            self._cores = sorted({*self._cores, *claim.cores})
        if claim.devices:
            order = self._share.devices.names
            self._devices = sorted({*self._devices, *claim.devices}, key=order.index)

    def allowance(self, needs: Needs, claim: Claim) -> Allowance:
        """What a claim lets an attempt use."""
        if claim == NO_CLAIM and not needs.memory_bytes:
            return NOTHING
        variables: dict[str, str] = {}
        if claim.cores:
            variables |= dict.fromkeys(THREAD_VARIABLES, str(len(claim.cores)))
        if claim.devices:
            variables[self._share.devices.variable] = ",".join(claim.devices)
        mask = claim.cores if self._share.pinned else ()
        return Allowance(
            mask, len(claim.cores), variables, claim.devices, needs.memory_bytes, self._look_every_s
        )

    def oversight(self, kind: TaskKind, now: float) -> Oversight:
        """What watches this rank's part in the call of a group."""
        timeout_s = math.inf if kind.timeout_s is None else kind.timeout_s
        return Oversight(kind.needs.memory_bytes, self._look_every_s, timeout_s, now)


def nothing_to_claim() -> Claims:
    """Of a worker that was given no share: one core that only counts."""
    return Claims(Share((0,), 0, Devices()), 1.0)
