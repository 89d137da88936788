"""Speculation policies: when a second attempt beside a running one is worth its while.

They fit the ``Speculation`` port of ``core/ports.py`` without importing it. Who is idle, and which of several
late attempts goes first, is the core's.
"""

import math

from mpiexec_runner.model.decisions import AttemptView

LATE = 1.5
"""An attempt is late from this many medians on, and beyond the 90th percentile of its kind."""
SLOW = 1.5
"""A worker is known to be slow from this slowness on; below, it may be chance."""
MARGIN = 1.2
"""A second attempt has to be so much shorter than what is left of the first..."""
COST_S = 0.05
"""...and by this much: what it takes to send, to begin and to end an attempt."""


class LateAttempts:
    """A second attempt for what is expected to run on for longer than a second attempt would take.

    What is left of an attempt is the larger of two estimates. On a worker that is known to be slow it is
    what the median takes there, less what is over: such an attempt is found from its beginning, as in LATE
    (Zaharia et al., "Improving MapReduce performance in heterogeneous environments", OSDI 2008), which goes
    by the estimated time to the end and not by progress. Of a late attempt, whatever the worker, it is as
    long as it has run beyond what was expected: the older, the longer it lasts, as with all heavy tails
    (Lindy's law).

    A second attempt is taken to last a median, as the cause of lateness is more often the place than the
    task: the backup tasks of Dean and Ghemawat ("MapReduce", OSDI 2004). Where it is the task, a slot that
    had nothing to do has been used in vain, which near the end of a job is cheap (Ananthanarayanan et al.,
    "Effective straggler mitigation: attack of the clones" - Dolly -, NSDI 2013).
    """

    def begin_after_s(self, attempt: AttemptView) -> float:
        """See ``core/ports.py``. The earliest time at which an idle ordinary worker would do."""
        if not _is_measured(attempt):
            return math.inf
        least_s = MARGIN * attempt.median_s + COST_S
        expected_s = attempt.median_s * attempt.slowness
        if attempt.slowness >= SLOW and expected_s > least_s:
            return 0.0
        return max(_late_s(attempt), expected_s + least_s)

    def is_worth(self, attempt: AttemptView, idle_slowness: float) -> bool:
        """See ``core/ports.py``."""
        if not _is_measured(attempt):
            return False
        return _remaining_s(attempt) > MARGIN * attempt.median_s * idle_slowness + COST_S


def _is_measured(attempt: AttemptView) -> bool:
    return attempt.median_s > 0


def _late_s(attempt: AttemptView) -> float:
    return max(LATE * attempt.median_s, attempt.high_s) * max(1.0, attempt.slowness)


def _remaining_s(attempt: AttemptView) -> float:
    """How long it is expected to run on, at least; 0 where nothing is out of the ordinary."""
    expected_s = attempt.median_s * attempt.slowness
    remaining_s = expected_s - attempt.elapsed_s if attempt.slowness >= SLOW else 0.0
    if attempt.elapsed_s > _late_s(attempt):
        remaining_s = max(remaining_s, attempt.elapsed_s - expected_s)
    return remaining_s
