"""One rank's part in a call that several ranks make together.

It knows how a group meets and parts, and what its members' errors mean; not how one is chosen.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import msgspec

from mpiexec_runner.execute import calls
from mpiexec_runner.execute.ending import Reason, verdict_of
from mpiexec_runner.execute.port import Result
from mpiexec_runner.model.tasks import Failure, FailureClass, Outcome, Verdict
from mpiexec_runner.runtime.holdings import Held
from mpiexec_runner.runtime.oversight import interruptible
from mpiexec_runner.transport.port import Transport

HUB_SPEAKS_WITHIN_S = 30.0
"""How long the survivors of a group wait for the hub, which hears of a dead rank and ends the attempt."""
OTHERS_SPEAK_WITHIN_S = 2.0
"""The same for an error of MPI alone: a member that knows more may have left the communicator first."""
_LOOK_EVERY_S = 0.005


def call_together(
    transport: Transport,
    held: Held,
    function: Callable[..., Any],
    make: Callable[[Callable[..., Any]], Result],
    stopped: Callable[[], bool],
) -> Result:
    """Make one attempt with the other ranks of the group; ``function`` is given their communicator first.

    Parameters
    ----------
    transport
        Brings the ranks together.
    held
        The task, with its group.
    make
        Makes an attempt with the function that it is given.
    stopped
        Whether the hub has ended the attempt.

    Returns
    -------
    (Outcome, buffers)
        Only the first rank's has a value. A failure of one member ends what the others do in their
        communicator, where MPI can revoke it.
    """
    spec, number, _, beside = held
    groups, ranks = transport.groups, beside.group if beside is not None else ()
    began, clock = time.time(), time.perf_counter()

    def unmade(verdict: Verdict, failure: Failure | None = None) -> Result:
        elapsed_s = time.perf_counter() - clock
        return Outcome(spec.id, number, verdict, began, elapsed_s, failure=failure), []

    if groups is None:
        text = f"a task of {len(ranks)} ranks needs MPI, and this run has none"
        return unmade(Verdict.FAILED, Failure(FailureClass.NOT_FOUND, text))
    try:
        comm = groups.meet(ranks, (spec.id, number), stopped)
    except Exception as error:  # noqa: BLE001 - whatever MPI says; told as the failure of this attempt
        failure = calls.describe(error)
        text = f"no communicator of ranks {', '.join(map(str, ranks))} can be made: {failure.message}"
        return unmade(Verdict.FAILED, msgspec.structs.replace(failure, message=text))
    if comm is None:
        return unmade(*verdict_of(Reason.CANCEL, time.perf_counter() - clock))
    if stopped():
        groups.part(clean=False)
        return unmade(Verdict.CANCELLED)
    outcome, buffers = make(interruptible(functools.partial(function, comm), stopped))
    clean = outcome.verdict is Verdict.SUCCEEDED
    if not clean and groups.lost():
        _await_hub(stopped, HUB_SPEAKS_WITHIN_S)
    elif outcome.failure is not None and outcome.failure.name.endswith("MPI.Exception"):
        _await_hub(stopped, OTHERS_SPEAK_WITHIN_S)
    groups.part(clean=clean)
    if ranks[0] != transport.rank:
        outcome, buffers = msgspec.structs.replace(outcome, value=b"", more=b""), []
    return outcome, buffers


def _await_hub(stopped: Callable[[], bool], within_s: float) -> None:
    """A member may be dead, which is no failure of the task: the hub says so, perhaps later."""
    give_up_at = time.monotonic() + within_s
    while not stopped() and time.monotonic() < give_up_at:
        time.sleep(_LOOK_EVERY_S)
