"""Asking a running run for something: leave a request in its control box and wait for the answer.

It works from any process that sees the run directory, without MPI. What a request does is the hub's matter.
"""

import time
from pathlib import Path

from mpiexec_runner.errors import UserError
from mpiexec_runner.runtime.control import Answer, AnyAsk, ControlBox
from mpiexec_runner.storage.owner import Owner, find_owner, is_alive
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.storage.status import RunPhase, find_status

LOOK_EVERY_S = 0.05
CHECK_EVERY_S = 1.0
"""How often it is looked whether the run is still alive, in seconds."""


def ask(run_dir: Path, what: AnyAsk, wait_s: float = 10.0) -> Answer:
    """Ask the run on ``run_dir`` for something.

    Parameters
    ----------
    run_dir
        Its directory.
    what
        The request.
    wait_s
        How long to wait for the answer, in seconds. A request that was not taken by then is withdrawn.

    Raises
    ------
    UserError
        When no run is alive there, or there was no answer.
    StorageError
        The disk refused.
    """
    directory = RunDirectory.open(run_dir)
    owner = get_alive(directory)
    box = ControlBox(directory.control)
    id_ = box.drop(what, owner.epoch)
    answer = None
    try:
        answer = _wait(directory, box, id_, wait_s)
    finally:
        withdrawn = answer is None and box.withdraw(id_)
    # The hub may have answered between the last look and now.
    answer = answer or box.find_answer(id_)
    if answer is not None:
        return answer
    get_alive(directory)  # says how it ended, if it did
    if withdrawn:
        raise UserError(
            f"the run on {directory.path} did not take the request in {wait_s:g} s; it was withdrawn. Try "
            "again with a longer --wait: file servers may show a new file to other hosts after a minute only"
        )
    raise UserError(
        f"the run on {directory.path} took the request and did not answer in {wait_s:g} s: it may still be "
        "carried out"
    )


def _wait(directory: RunDirectory, box: ControlBox, id_: str, wait_s: float) -> Answer | None:
    """The answer; ``None`` when there is none in time, or nobody is left to give it."""
    begun = time.monotonic()
    check_at = begun + CHECK_EVERY_S
    while (answer := box.find_answer(id_)) is None:
        now = time.monotonic()
        if now >= begun + wait_s:
            break
        if now >= check_at:
            check_at = now + CHECK_EVERY_S
            if find_alive(directory) is None:
                break
        time.sleep(min(LOOK_EVERY_S, wait_s))
    return answer


def find_alive(directory: RunDirectory) -> Owner | None:
    """Who runs the run on this directory; ``None`` when nobody does."""
    owner = find_owner(directory.path)
    return owner if owner is not None and is_alive(directory.path, owner) else None


def get_alive(directory: RunDirectory) -> Owner:
    """Who runs the run on this directory.

    Raises
    ------
    UserError
        When nobody does; it says how the last life ended.
    """
    owner = find_alive(directory)
    if owner is None:
        raise UserError(f"no run is alive on {directory.path}: {how_it_stands(directory)}")
    return owner


def how_it_stands(directory: RunDirectory) -> str:
    """How the last life of a run that is not alive ended, and what can be done."""
    status = find_status(directory.status)
    resume = f"go on with: mpiexec-runner resume {directory.path}"
    if status is None:
        return "it has not begun"
    if status.state is RunPhase.RUNNING:
        return f"its last life died without a word; {resume}"
    if status.state is RunPhase.COMPLETE:
        return "it is complete"
    why = f" ({status.why})" if status.why else ""
    return f"it ended as {status.state}{why}; {resume}"
