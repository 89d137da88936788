"""How a run ends: when all is done, when it is stopped, or when nobody is left who could do the rest."""

import math

from mpiexec_runner.core.outcomes import Desk, Outcomes
from mpiexec_runner.core.queue import requirement_of
from mpiexec_runner.model.commands import EndRun, RunEnd
from mpiexec_runner.model.events import BY_HAND
from mpiexec_runner.model.tasks import TaskState


class Endings:
    """Sees when nothing more is to come of a run, or of a task."""

    def __init__(self, desk: Desk, outcomes: Outcomes, silence_s: float) -> None:
        self._state, self._fleet, *_, self._out = desk
        self._outcomes, self._silence_s = outcomes, silence_s

    def refuse_impossible(self) -> None:
        """When all workers are there: end the tasks that none of them could ever run."""
        state = self._state
        if not 0 < state.expected_workers <= len(state.workers):
            return
        hopeless = set()
        for line in state.ready.lines.values():
            if not line.possible and line.head() is not None:
                line.possible = self._fleet.can_ever(line.requirement, also_gone=True)
                if not line.possible:
                    hopeless.add(line.requirement.anywhere)
        if not hopeless:
            return
        for task in list(state.ready):
            requirement = requirement_of(task.kind)
            if requirement in hopeless:
                why = f"no worker can run it: {self._fleet.why_never(requirement)}"
                self._outcomes.settle_without(task, TaskState.FAILED, why)

    def note_if_stuck(self) -> None:
        """Note since when all that is left fits none of the workers that are there."""
        state = self._state
        stuck = (
            len(state.ready) > 0
            and len(state.ready) == state.unfinished - len(state.blockers)
            and not state.paused
            and self._fleet.someone_is_there()
            and not any(
                line.head() is not None and self._fleet.can_ever(line.requirement)
                for line in state.ready.lines.values()
            )
        )
        if not stuck:
            state.stuck_since = math.inf
        elif state.stuck_since == math.inf:
            state.stuck_since = state.now

    def end_if_over(self) -> None:
        """End the run when nothing more is to come of it."""
        state = self._state
        end, why = None, ""
        if state.closed and not state.unfinished:
            end = RunEnd.COMPLETE
        elif state.drain is not None:
            if not self._held_somewhere() or state.now >= state.abandon_at:
                end = RunEnd.INTERRUPTED if state.drain.reason in BY_HAND else RunEnd.STOPPED
                why = f"stopped by {state.drain.reason.words}; {state.unfinished} tasks are left"
        elif self._is_left_alone() and state.now >= state.alone_since + self._silence_s:
            end = RunEnd.STARVED
            why = f"no worker was heard for {self._silence_s:g} s; {state.unfinished} tasks are left"
        elif state.now >= state.stuck_since + self._silence_s:
            end = RunEnd.STARVED
            why = f"no worker that is left can run what is left: {state.unfinished} tasks"
        if end is not None:
            state.ended = True
            self._out.append(EndRun(end, why))

    @property
    def due(self) -> float:
        """When the run ends if nothing happens until then, in seconds; infinite for never."""
        state = self._state
        starved = state.alone_since + self._silence_s if self._is_left_alone() else math.inf
        return min(state.abandon_at, starved, state.stuck_since + self._silence_s)

    def _is_left_alone(self) -> bool:
        waiting = bool(self._state.unfinished) or self._state.closed
        return waiting and not self._fleet.someone_is_there()

    def _held_somewhere(self) -> bool:
        return any(worker.tasks for worker in self._state.workers.values())
