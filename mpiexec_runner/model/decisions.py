"""What the core tells its policies, and what they answer beyond a number. Records only."""

from typing import NamedTuple

from mpiexec_runner.model.tasks import Needs


class Demand(NamedTuple):
    """What a placement policy may know of the tasks that it places: they are of one kind and one site.

    Attributes
    ----------
    priority
        1 to 10.
    needs
        What each of them claims; every candidate has it free.
    mean_s
        How long they are expected to take on an ordinary worker, in seconds; 0 when nobody knows.
    near
        The worker that had tasks of the same site, or a task that they depend on; -1 for none.
    waiting
        How many more tasks are ready in the run.
    speed
        What the workers that may get such tasks do together, the candidates among them: the sum of
        ``slots / slowness``; 0 when nobody says.
    held_s
        Expected seconds of work that the same workers hold, as an ordinary worker would take for it;
        exactly 0 when none of them holds anything.
    quiet_s
        How many seconds ago a task was last placed or ended in the run.
    """

    priority: int
    needs: Needs
    mean_s: float
    near: int
    waiting: int
    speed: float = 0.0
    held_s: float = 0.0
    quiet_s: float = 0.0


class Again(NamedTuple):
    """How a failed task is tried again: after ``delay_s`` seconds, with so many times its memory."""

    delay_s: float
    memory_factor: float = 1.0
    elsewhere: bool = True


class AttemptView(NamedTuple):
    """What a speculation policy knows of a running attempt.

    Attributes
    ----------
    elapsed_s
        How long it runs already.
    mean_s, median_s, high_s
        Of its kind on ordinary workers: mean, median and 90th percentile; 0 when nothing is measured.
    slowness
        Of the worker that runs it.
    """

    elapsed_s: float
    mean_s: float
    median_s: float
    high_s: float
    slowness: float
