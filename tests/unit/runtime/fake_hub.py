"""The hub's end of a conversation with workers, as a test speaks it: messages out, outcomes in."""

import time
from collections.abc import Callable

from mpiexec_runner.execute import payload
from mpiexec_runner.model.messages import (
    Beat,
    Cancel,
    Finished,
    Hello,
    Leave,
    RollCall,
    Run,
    Started,
    Stop,
    Welcome,
)
from mpiexec_runner.model.tasks import Outcome, PlainArguments, TaskKind, TaskSpec
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.port import Transport

TIMEOUT_S = 200.0


def spec(id_: int, kind: TaskKind, *args: object, **fields: object) -> TaskSpec:
    """A task with plain arguments."""
    return TaskSpec(id_, kind.id, payload.encode_bound(PlainArguments(args, fields)))


class FakeHub:
    """Speaks with workers over any transport; keeps all that they say."""

    def __init__(self, transport: Transport, workers: list[int], run_dir: str = "") -> None:
        self.transport, self.workers, self.run_dir = transport, workers, run_dir
        self.outcomes: list[tuple[int, Outcome]] = []
        self.values: dict[tuple[int, int], object] = {}
        self.started: list[tuple[int, int]] = []
        self.beats: list[Beat] = []
        self.infos: dict[int, Hello] = {}
        for rank in workers:
            self.send(rank, RollCall())
            self.send(rank, Welcome(1, run_dir, bool(run_dir), 0.05))

    def send(self, rank: int, message: object, buffers: list[bytes] | None = None) -> None:
        self.transport.send(rank, codec.encode([message]), buffers or [])

    def run(self, rank: int, kind: TaskKind, *specs: TaskSpec, attempt: int = 1, **more: object) -> None:
        self.send(rank, Run((kind,), list(specs), [attempt] * len(specs), **more))

    def cancel(self, rank: int, *tasks: int, overdue: bool = False) -> None:
        self.send(rank, Cancel([(task, 1) for task in tasks], overdue))

    def hear(self) -> None:
        """Take in what has come."""
        for packet in self.transport.receive():
            buffers = list(packet.buffers)
            for message in codec.decode(packet.body):
                match message:
                    case Finished():
                        for outcome in message.outcomes:
                            count = len(outcome.blob.sizes) if outcome.blob else 0
                            parts, buffers = buffers[:count], buffers[count:]
                            self.outcomes.append((packet.source, outcome))
                            self.values[packet.source, outcome.task] = payload.decode(outcome.value, parts)
                    case Started():
                        self.started += message.attempts
                    case Beat():
                        self.beats.append(message)
                    case Hello():
                        self.infos[packet.source] = message

    def until(self, what: Callable[[], object]) -> None:
        """Listen until it is so."""
        give_up_at = time.monotonic() + TIMEOUT_S
        while not what():
            self.hear()
            assert time.monotonic() < give_up_at, f"it never came; there is {self.outcomes}"
            time.sleep(0.001)

    def outcome(self, task: int, rank: int | None = None) -> Outcome:
        """Wait for the outcome of a task, on some worker or on this one."""

        def find() -> Outcome | None:
            there = [o for source, o in self.outcomes if o.task == task and rank in (None, source)]
            return there[0] if there else None

        self.until(lambda: find() is not None)
        found = find()
        assert found is not None
        return found

    def value(self, task: int) -> object:
        """Wait for the value of a task."""
        outcome = self.outcome(task)
        assert outcome.failure is None, outcome.failure
        return next(value for (_, id_), value in self.values.items() if id_ == task)

    def dismiss(self) -> None:
        """End the run, and let the workers leave."""
        for rank in self.workers:
            self.send(rank, Stop())
            self.send(rank, Leave(orderly=True))
