"""The ready queue against a plain list of lanes, whatever ceases to be ready in between."""

from core_env import kind
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.core.queue import FEW_LINES, URGENT, URGENT_LEVELS, ReadyQueue
from mpiexec_runner.core.tasks import Task
from mpiexec_runner.model.tasks import TaskSpec, TaskState

AGEING_S = 10.0
operations = st.lists(
    st.one_of(
        st.tuples(st.just("back"), st.integers(0, 3)),
        st.tuples(st.just("front"), st.integers(0, 3)),
        st.tuples(st.just("many"), st.lists(st.integers(0, 3), max_size=5)),
        st.tuples(st.just("wait"), st.sampled_from([1, 9, 10, 25])),
        st.tuples(st.just("drop"), st.integers(0, 20)),
        st.tuples(st.just("take"), st.integers(1, 4)),
    ),
    max_size=40,
)


class Model:
    """Lanes as lists: one for each kind."""

    def __init__(self, kinds: list[Kind]) -> None:
        self.lanes: list[list[Task]] = [[] for _ in kinds]

    def due(self, task: Task) -> tuple[float, int]:
        """When a task should have begun."""
        levels = URGENT_LEVELS if task.priority >= URGENT else task.priority
        return task.ready_at - levels * AGEING_S, task.spec.id

    def head(self) -> Task | None:
        return min((lane[0] for lane in self.lanes if lane), key=self.due, default=None)

    def all(self) -> list[Task]:
        return [
            task
            for lane in sorted(filter(None, self.lanes), key=lambda lane: self.due(lane[0]))
            for task in lane
        ]


@settings(max_examples=200, deadline=None, print_blob=True)
@given(operations=operations)
def test_queue_like_lists(operations: list[tuple[str, object]]) -> None:
    kinds = [Kind(kind(id_, priority=(3, 5, 5, 10)[id_])) for id_ in range(4)]
    queue, model, made, now = ReadyQueue(AGEING_S), Model(kinds), 0, 100.0

    def make(which: int) -> Task:
        nonlocal made
        made += 1
        return Task(
            TaskSpec(made, which, b""), kinds[which], priority=kinds[which].spec.priority, ready_at=now
        )

    for name, argument in operations:
        match name, argument:
            case "wait", int(seconds):
                now += seconds
            case "back", int(which):
                model.lanes[which].append(task := make(which))
                queue.push(task)
            case "front", int(which):
                task = make(which)
                queue.push(task, front=True)
                model.lanes[which].insert(0, task)
            case "many", list(several):
                tasks = [make(which) for which in several]
                queue.extend(tasks)
                for task in tasks:
                    model.lanes[task.spec.kind].append(task)
            case "drop", int(place) if place < len(model.all()):
                task = model.all()[place]
                model.lanes[task.spec.kind].remove(task)
                task.state = TaskState.CANCELLED
                queue.discard()
            case "take", int(limit):
                expected = model.head()
                (line,) = queue.lines.values() or (None,)
                head = line.head() if line is not None else None
                assert (head is None) == (expected is None)
                if head is None or expected is None:
                    continue
                lane = head[2]
                assert lane.head() is expected
                taken = queue.take(line, lane, limit)
                its = model.lanes[expected.spec.kind]
                others = [model.due(lane[0]) for lane in model.lanes if lane and lane is not its]
                bound = min(others, default=(float("inf"), 0))
                run = next((n for n, task in enumerate(its) if n and model.due(task) > bound), len(its))
                assert taken == its[: min(limit, run)]
                del its[: len(taken)]
                for task in taken:
                    task.state = TaskState.ASSIGNED
        assert list(queue) == model.all()
        assert len(queue) == len(model.all())


def test_a_priority_is_worth_so_much_waiting_and_no_more() -> None:
    low, high = Kind(kind(1, priority=4)), Kind(kind(2, priority=5))
    queue = ReadyQueue(AGEING_S)
    queue.push(old := Task(TaskSpec(1, 1, b""), low, priority=4, ready_at=100.0))
    queue.push(late := Task(TaskSpec(2, 2, b""), high, priority=5, ready_at=111.0))
    queue.push(early := Task(TaskSpec(3, 2, b""), high, priority=5, ready_at=109.0))
    assert next(iter(queue)) is old, "the head of the other lane came too late to pass it"
    assert list(queue)[1:] == [late, early]


def test_a_longer_chain_behind_goes_first_among_equals() -> None:
    one, other = Kind(kind(1)), Kind(kind(2))
    queue = ReadyQueue(AGEING_S)
    queue.push(short := Task(TaskSpec(1, 1, b""), one, ready_at=100.0), path=0.1)
    queue.push(long := Task(TaskSpec(2, 2, b""), other, ready_at=100.0), path=1.0)
    assert list(queue) == [long, short]


def test_lines_of_tasks_that_failed_here_and_there_do_not_pile_up() -> None:
    queue, some = ReadyQueue(AGEING_S), Kind(kind(1))
    stays = Task(TaskSpec(1, 1, b""), some)
    queue.push(stays, avoid=(0,))
    for id_ in range(2, 1000):
        task = Task(TaskSpec(id_, 1, b""), some)
        queue.push(task, avoid=(id_,))
        if id_ % 2:
            task.state = TaskState.CANCELLED
            queue.discard()
        else:
            (line,) = [line for line in queue.lines.values() if line.requirement.avoid == (id_,)]
            head = line.head()
            assert head is not None
            assert queue.take(line, head[2], 1) == [task]
    assert len(queue.lines) <= FEW_LINES
    assert list(queue) == [stays]
