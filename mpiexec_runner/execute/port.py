"""What the worker loop needs of an attempt that runs outside of its own process."""

from typing import Protocol

from typing_extensions import Buffer

from mpiexec_runner.execute.ending import Reason
from mpiexec_runner.model.tasks import Outcome

Result = tuple[Outcome, list[Buffer]]
"""An outcome, and the large buffers of its value."""


class Running(Protocol):
    """One attempt that has begun and has not ended."""

    @property
    def next_act(self) -> float:
        """When :meth:`poll` has to be called at the latest, in seconds on the monotonic clock."""

    def fileno(self) -> int:
        """A descriptor that becomes readable when there is something to :meth:`poll` for."""

    def poll(self, now: float) -> Result | None:
        """Look after it; its result once it has ended. Never waits."""

    def stop(self, reason: Reason, now: float) -> None:
        """Ask it to end; :meth:`poll` tells when it has."""

    def abandon(self) -> None:
        """Kill it at once and forget it."""
