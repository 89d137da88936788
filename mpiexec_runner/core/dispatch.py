"""The dispatcher: keeps every worker supplied with work, and takes work back where it lies too long.

It knows which worker has room; who among them gets what is the placement policy's.
"""

import heapq
import itertools
from collections.abc import Iterable

from mpiexec_runner.core.fleet import (
    LOOKED_AT,
    MANY,
    Fleet,
    claimable,
    ends_before_gang,
    host_room,
    probe_room,
    room,
    shape_of,
)
from mpiexec_runner.core.gangs import Gangs
from mpiexec_runner.core.graph import Graph
from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.core.ports import Placement
from mpiexec_runner.core.queue import LAST, URGENT, Lane, Line, Place
from mpiexec_runner.core.settings import SchedulerSettings
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import NOBODY, Task, Worker
from mpiexec_runner.model.commands import AnyCommand, RetractTasks, RunGroup, RunTasks
from mpiexec_runner.model.decisions import Demand
from mpiexec_runner.model.tasks import Needs, TaskState
from mpiexec_runner.model.workers import Health

Candidates = list[tuple[Worker, int]]


class Dispatcher:
    """Keeps every worker supplied with about ``prefetch_s`` seconds of work.

    A kind whose duration is not known yet, or is longer than that, goes to free slots only: long tasks
    stay with the hub until a worker is free.
    """

    def __init__(
        self, settings: SchedulerSettings, placement: Placement, state: RunState, fleet: Fleet, graph: Graph
    ) -> None:
        self._settings = settings
        self._placement = placement
        self._state, self._fleet, self._graph = state, fleet, graph
        self._gangs = Gangs(state, fleet)

    def dispatch(self, commands: list[AnyCommand]) -> None:
        """Assign what is ready; when nothing is and somebody is idle, take work back from the busy."""
        state, fleet = self._state, self._fleet
        if state.paused:
            return
        if fleet.shrunk:  # those who avoid a worker, or are meant for one, may now go elsewhere
            state.ready.unpark()
            fleet.shrunk = False
        if state.ready and fleet.has_room():
            self._assign_all(commands)
        elif state.ready and fleet.surplus:
            self._assign_urgent(commands)
        if self._settings.work_stealing and fleet.surplus and fleet.has_idle() and self.nothing_to_place():
            self._steal(commands)
        fleet.fresh.clear()

    def forget_reservation(self) -> None:
        """Tell that the workers, or the tasks, are not those any more that a reservation was made for."""
        self._gangs.clear()

    def fleet_changed(self) -> None:
        """Who is there has changed: reservations are void, and every line is to be looked at again."""
        self.forget_reservation()
        self._state.ready.unpark()
        self._state.ready.doubt()

    # --- assigning

    def _assign_all(self, commands: list[AnyCommand]) -> None:
        """Line by line, the one whose first task is the most pressing first."""
        sent: dict[tuple[int, bool], RunTasks] = {}
        order = itertools.count()
        heap = [
            (*head[:2], next(order), line)
            for line in self._state.ready.lines.values()
            if self._may_be_placed(line) and (head := line.head()) is not None
        ]
        heapq.heapify(heap)
        reserved = False
        while heap:
            *_, line = heapq.heappop(heap)
            head = line.head()
            if head is None:
                continue
            if line.requirement.gang:
                placed = self._assign_gang(line, head[2], commands, may_reserve=not reserved)
                reserved |= not placed
            else:
                placed = self._assign(line, head[2], sent, heap[0][:2] if heap else LAST)
            head = line.head() if placed else None
            if head is not None:
                heapq.heappush(heap, (*head[:2], next(order), line))
        if not reserved and self._gangs.reserves:
            self._gangs.clear()
        commands.extend(sent.values())

    def _may_be_placed(self, line: Line) -> bool:
        """Whether a line is to be looked at: somebody has changed, or a limit has room again."""
        usage = self._state.usage
        if line.limited and usage is not None and usage.room(line.requirement):
            line.limited = False
        return not line.limited and not (line.parked and not self._fleet.fresh)

    def _assign_urgent(self, commands: list[AnyCommand]) -> None:
        """Nobody has room: urgent tasks pass what waits at the workers."""
        sent: dict[tuple[int, bool], RunTasks] = {}
        for line in list(self._state.ready.lines.values()):
            while (head := line.head()) is not None and head[2].priority >= URGENT:
                if line.requirement.gang or not self._assign(line, head[2], sent):
                    break
        commands.extend(sent.values())

    def _assign(
        self, line: Line, lane: Lane, sent: dict[tuple[int, bool], RunTasks], before: Place = LAST
    ) -> bool:
        """Place tasks from the head of a lane, as far as they come ``before``; False when nobody has room."""
        state = self._state
        limit = len(lane.tasks)
        if state.usage is not None:
            limit = min(limit, state.usage.room(line.requirement))
            line.limited = limit == 0
            if line.limited:
                line.parked = False  # whoever gets room meanwhile is not compared with it
                return False
        candidates = self._candidates(line, lane, before)
        urgent = lane.priority >= URGENT
        if not candidates:
            candidates = self._to_be_passed(line, lane) if urgent else []
        if not candidates:
            line.parked = True
            return False
        room_in_all = sum(room_ for _, room_ in candidates)
        tasks = state.ready.take(line, lane, min(limit, room_in_all), before)
        demand = self._demand(lane, tasks, len(candidates))
        shares = self._placement.share(len(tasks), candidates, state.placed, demand)
        if not shares and not (state.counts[TaskState.ASSIGNED] or state.counts[TaskState.RUNNING]):
            shares = [(candidates[0][0], 1)]  # nothing will happen to wait for
        begin = 0
        for view, count in shares:
            self._send(state.workers[view.id], lane, tasks[begin : begin + count], urgent, sent)
            begin += count
        if begin < len(tasks):
            state.ready.give_back(line, lane, tasks[begin:])
        if begin == 0:
            line.parked = False  # somebody has room and was held back: it is to be asked again
        return begin > 0

    def _send(
        self,
        worker: Worker,
        lane: Lane,
        part: list[Task],
        urgent: bool,
        sent: dict[tuple[int, bool], RunTasks],
    ) -> None:
        run = sent.get((worker.id, urgent))
        if run is None:
            run = sent[worker.id, urgent] = RunTasks(worker.id, [], [], urgent, [])
        self._state.give(worker, lane.kind, part)
        run.tasks.extend([task.spec for task in part])
        run.attempts.extend([task.attempt for task in part])
        if self._state.suspects:
            run.isolate.extend(task.spec.id for task in part if task.spec.id in self._state.suspects)
        if self._state.dependents:
            known = {result.task for result in run.results}
            run.results.extend(r for r in self._graph.results_for(part) if r.task not in known)
        self._fleet.given(worker)

    def _candidates(self, line: Line, lane: Lane, before: Place) -> Candidates:
        """Workers with room for tasks of a lane, in order of their ids: enough of them to choose from."""
        state, prefetch_s = self._state, self._settings.prefetch_s
        by_host = _Hosts(state)
        found: Candidates = []
        full: list[Worker] = []
        enough = LOOKED_AT
        near = self._near(lane)
        for worker in self._looked_at(line, near):
            room_ = room(state, worker, lane.kind, prefetch_s)
            if by_host.count and room_ > 0:
                room_ = by_host.take(worker, room_)
            elif room_ <= 0 and worker.held >= worker.slots:
                full.append(worker)
            if room_ > 0:
                found.append((worker, room_))
                if len(found) >= enough:
                    if not line.goes_beyond(lane, enough // 4, before):
                        break
                    enough *= 2
        for worker in full:
            self._fleet.set_full(worker)
        if state.degraded:
            found = _degraded_last(found, line, lane, before)
        if len(found) > 1:
            found.sort(key=lambda candidate: candidate[0].id)
        return found

    def _looked_at(self, line: Line, near: int) -> Iterable[Worker]:
        """Who may have room for a line and is wanted for it: the one that is near first, each once."""
        state, fleet, requirement = self._state, self._fleet, line.requirement
        needs = requirement.needs
        if requirement.only != NOBODY:
            only = state.workers.get(requirement.only)
            if only is not None and only.takes_work and shape_of(only).fits(needs):
                return [only]
        workers: Iterable[Worker]
        workers = fleet.fresh_with_room(needs) if line.parked else fleet.with_room(needs)
        first = state.workers.get(near)
        if first is not None and first.takes_work and (not line.parked or near in fleet.fresh):
            workers = itertools.chain((first,), (worker for worker in workers if worker.id != near))
        if needs.tags or needs.ranks > 1 or line.parked or near != NOBODY:
            workers = (worker for worker in workers if shape_of(worker).fits(needs))
        if requirement.avoid and self._others_than(requirement.avoid, needs):
            workers = (worker for worker in workers if worker.id not in requirement.avoid)
        return workers

    def _others_than(self, avoid: tuple[int, ...], needs: Needs) -> bool:
        return any(
            worker.takes_work and worker.id not in avoid and shape_of(worker).fits(needs)
            for worker in self._state.workers.values()
        )

    def _to_be_passed(self, line: Line, lane: Lane) -> Candidates:
        """Workers that hold work which has not begun: an urgent task passes it."""
        state, kind = self._state, lane.kind
        by_host = _Hosts(state)
        found: Candidates = []
        for worker in self._looked_at_to_pass(line):
            if worker.in_gang or worker.held <= worker.slots or not ends_before_gang(state, worker, kind):
                continue
            room_ = worker.slots - sum(task.priority >= URGENT for task in worker.tasks.values())
            if kind.claims:
                room_ = min(room_, claimable(worker, kind))
            if by_host.count and room_ > 0:
                room_ = by_host.take(worker, room_, passing=True)
            if room_ > 0:
                found.append((worker, room_))
                if len(found) >= LOOKED_AT:
                    break
        found.sort(key=lambda candidate: candidate[0].id)
        return found

    def _looked_at_to_pass(self, line: Line) -> list[Worker]:
        requirement, surplus = line.requirement, self._fleet.surplus.values()
        fitting = [worker for worker in surplus if shape_of(worker).fits(requirement.needs)]
        if requirement.only != NOBODY:
            fitting = [worker for worker in fitting if worker.id == requirement.only]
        others = [worker for worker in fitting if worker.id not in requirement.avoid]
        return others or fitting

    def _demand(self, lane: Lane, tasks: list[Task], candidates: int) -> Demand:
        state = self._state
        near = self._near_to(tasks[0])
        waiting = len(state.ready)
        # Where not all that have room are candidates, nobody can be held back for the sake of the others.
        told = candidates < LOOKED_AT and waiting < 4 * len(state.workers)
        speed, held_s = self._fleet.able(lane.kind.spec.needs) if told else (0.0, 0.0)
        quiet_s = state.now - state.stirred
        expected_s = lane.kind.expected_s
        return Demand(lane.priority, lane.kind.spec.needs, expected_s, near, waiting, speed, held_s, quiet_s)

    def _near(self, lane: Lane) -> int:
        head = lane.head()
        return NOBODY if head is None else self._near_to(head)

    def _near_to(self, task: Task) -> int:
        """The worker that had tasks of the same site, or one that the task depends on."""
        sites, spec = self._state.sites, task.spec
        if not sites or not (spec.site or spec.after):
            return NOBODY
        if spec.site in sites:
            return sites[spec.site]
        for before in spec.after:
            near = sites.get(f"#{before}")
            if near is not None:
                return near
        return NOBODY

    # --- gangs

    def _assign_gang(self, line: Line, lane: Lane, commands: list[AnyCommand], *, may_reserve: bool) -> bool:
        state = self._state
        task = lane.head()
        if task is None or (state.usage is not None and not state.usage.room(line.requirement)):
            return False
        workers = self._gangs.find_workers(task)
        if not workers:
            if may_reserve:
                self._gangs.reserve(task)
            return False
        if state.reserved_for == task.spec.id:
            self._gangs.clear()
        state.ready.take(line, lane, 1)
        state.give_gang(workers, task)
        for worker in workers:
            self._fleet.given(worker)
            self._fleet.set_full(worker)
        ids = tuple(worker.id for worker in workers)
        commands.append(RunGroup(ids, task.spec, task.attempt, self._graph.results_for([task])))
        return True

    # --- stealing

    def nothing_to_place(self) -> bool:
        """Whether all that is ready has to wait, whoever has nothing to do. To be asked after a dispatch."""
        lines = self._state.ready.lines.values()
        return not self._state.ready or not any(
            not (line.parked or line.limited or line.requirement.gang) and line.head() is not None
            for line in lines
        )

    def _steal(self, commands: list[AnyCommand]) -> None:
        """Ask the worker with the longest queue to give back half of what it has not begun."""
        surplus_of = self._fleet.surplus
        victims: list[Worker] = []
        over: list[int] = []
        for worker in surplus_of.values():
            if worker.held <= worker.slots:
                over.append(worker.id)
            elif not worker.retracting:
                victims.append(worker)
                if len(victims) >= LOOKED_AT:
                    break
        for id_ in over:
            del surplus_of[id_]
        if not victims:
            return
        victim = max(victims, key=lambda worker: (worker.backlog_s * worker.slowness, -worker.id))
        # Only what lasts is told to have begun: behind such a task the prefetched ones are stuck.
        if not victim.running and victim.backlog_s * victim.slowness < self._settings.prefetch_s / 2:
            return
        unbegun = [task for task in victim.tasks.values() if task.state is TaskState.ASSIGNED]
        surplus = min(len(unbegun), victim.held - victim.slots)
        taken = unbegun[-((surplus + 1) // 2) :] if surplus > 0 else []
        wanted: dict[int, bool] = {}
        for task in taken:
            if task.kind.spec.id not in wanted:
                wanted[task.kind.spec.id] = self._somebody_waits_for(task.kind)
        taken = [task for task in taken if wanted[task.kind.spec.id]]
        if taken:
            victim.retracting = victim.robbed = True
            self._state.tally.stolen += len(taken)
            commands.append(RetractTasks(victim.id, [(task.spec.id, task.attempt) for task in taken]))

    def _somebody_waits_for(self, kind: Kind) -> bool:
        """Whether an idle worker could begin a task of a kind at once."""
        state, prefetch_s = self._state, self._settings.prefetch_s
        return any(
            room(state, worker, kind, prefetch_s) > 0 and _Hosts(state).take(worker, 1) > 0
            for worker in itertools.islice(self._fleet.idle(kind.spec.needs), LOOKED_AT)
        )


def _degraded_last(found: Candidates, line: Line, lane: Lane, before: Place) -> Candidates:
    """Workers that are not quite well get only what the others have no room for."""
    well = [(worker, room_) for worker, room_ in found if worker.load.health is Health.HEALTHY]
    number = sum(room_ for _, room_ in well)
    for worker, room_ in found:
        if worker.load.health is Health.HEALTHY:
            continue
        last = number + room_
        begin = number
        while number < last and line.goes_beyond(lane, number, before):
            number += 1
        if number > begin:
            well.append((worker, number - begin))
    return well


class _Hosts:
    """What hosts have room for while workers are looked at: it counts once, and not for each worker anew."""

    __slots__ = ("_left", "_state", "count")

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._left: dict[str, int] = {}
        self.count = state.usage is not None or bool(state.hosts)

    def take(self, worker: Worker, room_: int, *, passing: bool = False) -> int:
        """Take up to so much of the room of a worker's host.

        Where a host is short of room, none of it is for tasks that wait at a worker, but for urgent ones.
        """
        if not self.count:
            return room_
        left = self._left.get(worker.host)
        if left is None:
            left = host_room(self._state, worker.host)
        if left < MANY and not passing:
            room_ = min(room_, worker.slots - worker.held)
        room_ = max(0, min(room_, left, probe_room(self._state, worker)))
        self._left[worker.host] = left - room_ if left < MANY else left
        return room_
