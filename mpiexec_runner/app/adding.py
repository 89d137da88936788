"""Tasks that running tasks add to their run: written as in a configuration, they become events.

It knows nothing of workers and messages.
"""

from collections.abc import Sequence

import msgspec

from mpiexec_runner.config.additions import expand_additions
from mpiexec_runner.config.models import RunConfig
from mpiexec_runner.core.state import RunState
from mpiexec_runner.model.events import AnyEvent, KindsRegistered, TasksSubmitted
from mpiexec_runner.model.tasks import Outcome


class TaskAdder:
    """See :class:`~mpiexec_runner.runtime.port.Adder`.

    Parameters
    ----------
    config
        Whose tools the added tasks may use.
    state
        The run; only read.
    """

    def __init__(self, config: RunConfig, state: RunState) -> None:
        self._tools = config.tools
        self._state = state
        self._names: dict[str, int] = {}
        self._named_to = 0
        self._next_id = 0

    def expand(self, outcome: Outcome) -> Sequence[AnyEvent]:
        """See :class:`~mpiexec_runner.runtime.port.Adder`."""
        state = self._state
        self._learn_names()
        entries = msgspec.msgpack.decode(outcome.more)
        parent = state.tasks[outcome.task].spec
        kinds = [kind.spec for kind in state.kinds.values()]
        self._next_id = max(self._next_id, state.next_task)
        added = expand_additions(entries, parent, self._names, self._next_id, kinds, self._tools or {})
        self._next_id += len(added.tasks)
        events: list[AnyEvent] = [KindsRegistered(added.kinds)] if added.kinds else []
        return [*events, TasksSubmitted(added.tasks)] if added.tasks else events

    def _learn_names(self) -> None:
        """Names of the tasks that came since the last time."""
        state = self._state
        for id_ in range(self._named_to, state.next_task):
            task = state.tasks.get(id_)
            if task is not None and task.spec.name:
                self._names[task.spec.name] = id_
        self._named_to = state.next_task
