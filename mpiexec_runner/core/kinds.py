"""Kinds, and what was measured of them: how long their tasks take on an ordinary worker.

It knows nothing of queues or workers.
"""

import math

import msgspec

from mpiexec_runner.model.tasks import CommandLine, TaskKind

SMOOTHING = 0.1
"""Weight of the newest duration in a kind's running mean."""
PER_OCTAVE = 8
"""Buckets for durations between one and its double: quantiles are told to within 9 %."""
SHORTEST_S = 1e-6
ENOUGH = 3
"""From so many measured durations on a kind's quantiles mean something."""


class Durations(msgspec.Struct):
    """A histogram of durations in buckets of equal ratio: quantiles of a stream, in little memory.

    The idea is that of HDR histograms and of DDSketch (Masson, Rim and Lee, 2019): the relative error of a
    quantile is bounded by the width of a bucket.
    """

    counts: dict[int, int] = {}
    total: int = 0

    def add(self, elapsed_s: float) -> None:
        """Take in one more."""
        bucket = math.floor(math.log2(max(elapsed_s, SHORTEST_S)) * PER_OCTAVE)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.total += 1

    def quantile(self, share: float) -> float:
        """The duration, in seconds, that ``share`` of them do not exceed; 0 when there are none."""
        wanted = share * self.total
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return float(2.0 ** ((bucket + 0.5) / PER_OCTAVE))
        return 0.0


class Kind(msgspec.Struct):
    """A task kind and what was measured of it.

    ``median_s`` and ``high_s`` (the 90th percentile) are brought up to date as measurements come, less and
    less often. ``claims`` is whether its tasks claim more of a worker than a slot; ``plain`` ones neither
    claim anything nor are gangs, nor is their result kept.
    """

    spec: TaskKind
    measured: int = 0
    mean_s: float = 0.0
    durations: Durations = msgspec.field(default_factory=Durations)
    median_s: float = 0.0
    high_s: float = 0.0
    claims: bool = False
    plain: bool = False

    def __post_init__(self) -> None:
        self.renew(self.spec)

    def renew(self, spec: TaskKind) -> None:
        """Take other settings; what was measured stays."""
        self.spec = spec
        needs = spec.needs
        self.claims = bool(needs.cpus or needs.memory_bytes or needs.gpus)
        self.plain = not (self.claims or self.is_gang or spec.keep_result)

    def measure(self, elapsed_s: float, slowness: float = 1.0) -> bool:
        """Take in the duration of one more task; whether that may have moved the median.

        The mean is that of an ordinary worker. Quantiles are of durations as they were: slowness is measured
        by them, and would keep itself up if they went by it. What no clock can have said is passed over.
        """
        if not 0.0 <= elapsed_s < math.inf:
            return False
        self.measured += 1
        weight = SMOOTHING if self.measured > 1 else 1.0
        self.mean_s += weight * (elapsed_s / slowness - self.mean_s)
        # Most of a million tasks add nothing to what the first thousands told.
        if self.measured < 1024 or not self.measured % 16:
            self.durations.add(elapsed_s)
            total = self.durations.total
            if total < 16 or not total % (total // 8):
                self.median_s, self.high_s = self.durations.quantile(0.5), self.durations.quantile(0.9)
                return True
        return False

    @property
    def expected_s(self) -> float:
        """How long a task is expected to take on an ordinary worker; 0 when nobody knows."""
        return self.mean_s if self.measured else self.spec.expected_s or 0.0

    @property
    def time_out_s(self) -> float:
        """How long an attempt may take, where that is relative to the median; infinite where nobody knows."""
        factor = self.spec.timeout_factor
        return factor * self.median_s if factor is not None and self.measured >= ENOUGH else math.inf

    @property
    def is_known(self) -> bool:
        """Whether there is any expectation."""
        return self.measured > 0 or self.spec.expected_s is not None

    @property
    def is_gang(self) -> bool:
        """Whether its tasks run on several workers at once; a command brings its own launcher."""
        return self.spec.needs.ranks > 1 and not isinstance(self.spec.work, CommandLine)
