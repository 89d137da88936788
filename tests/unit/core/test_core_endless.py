"""A group that waits beside single tasks without end is begun within a bounded time, whatever places them."""

import random

import pytest
from core_env import beat, kind, scheduler
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mpiexec_runner.core import invariants
from mpiexec_runner.core.settings import LimitSettings, SchedulerSettings
from mpiexec_runner.model.commands import RetractTasks, RunGroup, RunTasks
from mpiexec_runner.model.events import (
    AnyEvent,
    KindsRegistered,
    RunOpened,
    TasksFinished,
    TasksReturned,
    TasksStarted,
    TasksSubmitted,
    WorkerJoined,
)
from mpiexec_runner.model.tasks import Needs, Outcome, TaskSpec, TaskState, Verdict
from mpiexec_runner.model.workers import WorkerInfo
from mpiexec_runner.policies.placement import PLACEMENTS

LONGEST = 5
"""Seconds that a single task takes at most; a step of these stories is one second."""
AGEING_S = 10.0
Key = tuple[int, int]


class Stream:
    """Workers, and more single tasks than they can take, however many have ended."""

    def __init__(
        self, seed: int, choice: SchedulerSettings, limit: LimitSettings, infos: list[WorkerInfo], ranks: int
    ) -> None:
        self._draw = random.Random(seed)
        self.core, self.now = scheduler(choice, seed=seed, limits=limit), 1000.0
        self.urgency = self._draw.randint(1, 9)
        self._slots = {worker: info.slots for worker, info in enumerate(infos, start=1)}
        self._many = 3 * sum(self._slots.values())
        self._held: dict[int, list[Key]] = {worker: [] for worker in self._slots}
        self._left: dict[Key, int] = {}
        self.ended, self.group_has_begun = 0, False
        kinds = (kind(1, priority=self.urgency), kind(2, needs=Needs(ranks=ranks), priority=1))
        self._handle([RunOpened(1, len(infos)), KindsRegistered(kinds)])
        self._handle([WorkerJoined(worker, 0, info) for worker, info in enumerate(infos, start=1)])
        for _ in range(20):
            self.step()
        self._handle([TasksSubmitted([TaskSpec(self.core.state.next_task, 2, b"")])])

    @property
    def bound(self) -> int:
        """Steps until what is new goes behind the group, and what was before it has begun and ended."""
        passes = int(AGEING_S) * (self.urgency - 1)
        return passes + LONGEST * (self._many + 2)

    def step(self) -> None:
        """All that runs goes on for a second, and what has ended is replaced by as much."""
        self.now += 1.0
        state, told = self.core.state, list[AnyEvent]()
        for worker in self._slots:
            told += [beat(worker), *self._work(worker)]
        first, ready = state.next_task, state.counts[TaskState.READY]
        fresh = range(first, first + max(0, self._many - ready))
        self._handle([*told, TasksSubmitted([TaskSpec(id_, 1, b"") for id_ in fresh])])

    def _work(self, worker: int) -> list[AnyEvent]:
        told: list[AnyEvent] = []
        for key in self._held[worker][: self._slots[worker]]:
            if key not in self._left:
                self._left[key] = self._draw.randint(1, LONGEST)
                told.append(TasksStarted(worker, [key]))
            self._left[key] -= 1
            if not self._left[key]:
                self._held[worker].remove(key)
                self.ended += 1
                elapsed_s = self._draw.uniform(1.0, LONGEST)
                told.append(TasksFinished(worker, [Outcome(*key, Verdict.SUCCEEDED, self.now, elapsed_s)]))
        return told

    def _handle(self, events: list[AnyEvent]) -> None:
        while events:
            returned: list[AnyEvent] = []
            for command in self.core.handle(events, self.now):
                match command:
                    case RunTasks():
                        keys = [spec.id for spec in command.tasks]
                        self._held[command.worker] += zip(keys, command.attempts, strict=True)
                    case RetractTasks():
                        unbegun = [key for key in command.attempts if key not in self._left]
                        for key in unbegun:
                            self._held[command.worker].remove(key)
                        returned.append(TasksReturned(command.worker, unbegun))
                    case RunGroup():
                        self.group_has_begun = True
            invariants.check(self.core.state)
            events = returned


@pytest.mark.parametrize("placement", sorted(PLACEMENTS))
@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    seed=st.integers(0, 2**32),
    slots=st.lists(st.integers(1, 3), min_size=2, max_size=6),
    ranks=st.integers(2, 6),
    hosts=st.integers(1, 3),
    per_host=st.sampled_from([None, None, 2, 4]),
    prefetch_s=st.sampled_from([0.0, 10.0]),
    stealing=st.booleans(),
)
def test_a_group_is_begun_beside_single_tasks_without_end(
    placement: str,
    seed: int,
    slots: list[int],
    ranks: int,
    hosts: int,
    per_host: int | None,
    prefetch_s: float,
    stealing: bool,
) -> None:
    infos = [WorkerInfo(f"host{n % hosts}", n, slots=most) for n, most in enumerate(slots)]
    room = sum(min(per_host or len(slots), len(slots[host::hosts])) for host in range(hosts))
    choice = SchedulerSettings(
        placement=placement,
        ageing_s=AGEING_S,
        prefetch_s=prefetch_s,
        work_stealing=stealing,
        speculation=False,
    )
    stream = Stream(seed, choice, LimitSettings(per_host=per_host), infos, min(ranks, room))
    for _ in range(stream.bound):
        if stream.group_has_begun:
            break
        stream.step()
    assert stream.ended
    assert stream.group_has_begun, f"not begun after {stream.bound} steps"
