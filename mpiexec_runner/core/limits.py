"""Limits on how many tasks run at the same time: in the run, on a host, of a label. Counting only.

What counts is what workers hold: a task that was sent and has not begun takes its place already.
"""

from collections import Counter

from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.core.queue import Requirement
from mpiexec_runner.core.settings import LimitSettings
from mpiexec_runner.core.tasks import Worker


class Usage:
    """How much of each limit is in use. ``moved`` are the hosts on which it has changed since last asked."""

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self.total = 0
        self.by_host: Counter[str] = Counter()
        self.by_label: Counter[str] = Counter()
        self.moved: set[str] = set()

    @staticmethod
    def is_needed(limits: LimitSettings) -> bool:
        """Whether there is anything to count."""
        return bool(limits.concurrent or limits.per_host or limits.per_label)

    def book(self, worker: Worker, kind: Kind, count: int, *, follows: bool = False) -> None:
        """Take note of tasks that a worker was given; a negative count takes them back.

        ``follows``: as a further rank of a gang, which is one task and counts once.
        """
        if self._limits.per_host:
            self.by_host[worker.host] += count
            self.moved.add(worker.host)
        if follows:
            return
        self.total += count
        for label in self._limited(kind.spec.labels, kind.spec.needs.tags):
            self.by_label[label] += count

    def room(self, requirement: Requirement) -> int:
        """How many more tasks of a sort the run has room for, wherever."""
        limits = self._limits
        rooms = [limits.concurrent - self.total] if limits.concurrent else []
        labels = self._limited(requirement.labels, requirement.needs.tags)
        rooms += [limits.per_label[label] - self.by_label[label] for label in labels]
        return max(0, min(rooms, default=2**31))

    @property
    def most_on_host(self) -> int:
        """How many tasks, or ranks of a gang, a host may have at the same time."""
        return self._limits.per_host or 2**31

    def room_on(self, host: str) -> int:
        """How many more tasks a host has room for."""
        per_host = self._limits.per_host
        return max(0, per_host - self.by_host[host]) if per_host else 2**31

    def why_none(self, requirement: Requirement) -> str:
        """Which limit is reached, in words; empty for none."""
        limits = self._limits
        if limits.concurrent and self.total >= limits.concurrent:
            return f"limits.concurrent: {limits.concurrent} tasks are held"
        for label in self._limited(requirement.labels, requirement.needs.tags):
            if self.by_label[label] >= limits.per_label[label]:
                return f"limits.per_label: {limits.per_label[label]} tasks with {label} are held"
        return ""

    def _limited(self, labels: tuple[str, ...], tags: tuple[str, ...]) -> list[str]:
        return [label for label in {*labels, *tags} if label in self._limits.per_label]
