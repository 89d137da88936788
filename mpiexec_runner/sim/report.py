"""What a simulation found: records of plain values."""

from collections.abc import Sequence

import msgspec

from mpiexec_runner.model.commands import RunEnd


class Spread(msgspec.Struct, frozen=True):
    """The lowest, the middle and the highest of some values."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        ordered = sorted(values)
        return cls(ordered[0], ordered[len(ordered) // 2], ordered[-1])


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How one simulated run went. The same for the same input, on every machine.

    Attributes
    ----------
    end, why
        How the run ended, as the scheduler said.
    makespan_s
        From its beginning to that end, in virtual seconds.
    bound_s, oracle_s
        No schedule is shorter; and a real schedule that knows all. Faults do not cost an oracle anything.
    utilisation, of_workers, by_worker
        Share of the makespan in which slots worked: of all together, of single workers in brief, and of each
        worker in order of their ids.
    useful
        The same for attempts that succeeded only.
    attempts, retries, speculations, returned
        Attempts that began; those after a failure; those beside another attempt of their task; tasks given
        back unbegun, to be run elsewhere.
    turns
        Rounds of the hub.
    """

    placement: str
    seed: int
    end: RunEnd
    why: str
    workers: int
    slots: int
    tasks: int
    makespan_s: float
    bound_s: float
    oracle_s: float
    utilisation: float
    useful: float
    of_workers: Spread
    by_worker: tuple[float, ...]
    succeeded: int
    failed: int
    cancelled: int
    skipped: int
    attempts: int
    retries: int
    speculations: int
    returned: int
    superseded: int
    lost_workers: int
    turns: int

    @property
    def ratio(self) -> float:
        """How many times longer than an oracle's schedule it took."""
        return self.makespan_s / self.oracle_s if self.oracle_s else 1.0


class Cost(msgspec.Struct, frozen=True):
    """What a simulation cost on this machine, in seconds: of the scheduler, and in all."""

    scheduler_s: float
    all_s: float
