"""What each command does. All effects of the scheduler's decisions leave through here.

It decides nothing: it turns commands into messages and calls.
"""

from typing import assert_never

import msgspec
from typing_extensions import Buffer

from mpiexec_runner.core.listener import Listener
from mpiexec_runner.core.state import RunState
from mpiexec_runner.model.commands import (
    AnyCommand,
    CancelAttempts,
    EndRun,
    NoteWorker,
    RetractTasks,
    RunGroup,
    RunTasks,
    SettleTasks,
    SettleWithout,
    WelcomeWorker,
)
from mpiexec_runner.model.messages import AnyMessage, Cancel, Retract, Run, Welcome
from mpiexec_runner.model.tasks import Result, TaskSpec
from mpiexec_runner.model.workers import CheckPlan
from mpiexec_runner.runtime.places import Places
from mpiexec_runner.runtime.port import Keeper
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.port import Transport

PART_BYTES = 16 * 2**20
"""Tasks for one worker are sent in parts of about this size."""


class Interpreter:
    """Carries out commands.

    Parameters
    ----------
    transport, keeper, listener
        Where the effects go.
    state
        To look kinds up in; only read.
    heartbeat_interval_s, setup, checks
        What a worker is told when it is welcomed.
    """

    def __init__(
        self,
        transport: Transport,
        keeper: Keeper,
        listener: Listener,
        state: RunState,
        heartbeat_interval_s: float,
        setup: bytes = b"",
        checks: CheckPlan | None = None,
    ) -> None:
        self._transport, self._keeper, self._listener, self._state = transport, keeper, listener, state
        self._heartbeat_interval_s, self._setup = heartbeat_interval_s, setup
        self._checks = checks or CheckPlan()
        self._known: dict[int, set[int]] = {}
        self.places = Places(
            keeper.run_dir if keeper.task_dirs else "",
            state,
            lambda what: listener.worker_noted(transport.rank, what),
        )
        self.end: EndRun | None = None

    def carry_out(self, commands: list[AnyCommand]) -> None:
        """Carry out commands in order."""
        for command in commands:
            match command:
                case RunTasks():
                    self._run_tasks(command)
                case SettleTasks():
                    self.places.settled(command.outcomes)
                    self._listener.settled(command.outcomes)
                case SettleWithout():
                    self._listener.settled_without(command.task, command.state, command.why)
                case RunGroup():
                    self._run_group(command)
                case RetractTasks():
                    self._send(command.worker, Retract(command.attempts))
                case CancelAttempts():
                    self.places.ending(command.attempts)
                    self._send(command.worker, Cancel(command.attempts, command.overdue))
                case WelcomeWorker():
                    self._welcome(command)
                case NoteWorker():
                    self._listener.worker_noted(command.worker, command.what)
                case EndRun():
                    self.end = command
                case _:
                    assert_never(command)

    def _welcome(self, command: WelcomeWorker) -> None:
        self._known[command.worker] = set()
        keeper = self._keeper
        message = Welcome(
            command.incarnation,
            keeper.run_dir,
            keeper.task_dirs,
            self._heartbeat_interval_s,
            keeper.python_path,
            self._setup,
            self._checks,
            command.keep,
        )
        self._send(command.worker, message)

    def _run_tasks(self, command: RunTasks) -> None:
        """Send tasks, with the kinds that their worker has not seen and the buffers of their arguments."""
        begin, size = 0, 0
        for at, spec in enumerate(command.tasks, 1):
            size += len(spec.payload)
            if size >= PART_BYTES or at == len(command.tasks):
                tasks, attempts = command.tasks[begin:at], command.attempts[begin:at]
                results = _used(command.results, tasks)
                isolate = command.isolate and [spec.id for spec in tasks if spec.id in command.isolate]
                run = Run((), tasks, attempts, command.urgent, (), results, command.aside, isolate)
                self._send_run(command.worker, run)
                begin, size = at, 0

    def _run_group(self, command: RunGroup) -> None:
        run = Run((), [command.task], [command.attempt], False, command.workers, command.results)
        for worker in command.workers:
            self._send_run(worker, run)

    def _send_run(self, worker: int, run: Run) -> None:
        """Send tasks, with the kinds that the worker has not seen, and the buffers of all that is sent."""
        known = self._known[worker]
        needed = {spec.kind for spec in run.tasks} - known
        if needed:
            kinds = tuple(self._state.kinds[id_].spec for id_ in sorted(needed))
            run = msgspec.structs.replace(run, kinds=kinds)
            known |= needed
        buffers: list[Buffer] = []
        blobs = [spec.blob for spec in run.tasks] + [result.blob for result in run.results]
        for blob in blobs:
            if blob is not None:
                buffers += self._keeper.blobs.get(blob)
        self._transport.send(worker, codec.encode([run]), buffers)

    def _send(self, worker: int, message: AnyMessage) -> None:
        self._transport.send(worker, codec.encode([message]))


def _used(results: list[Result], tasks: list[TaskSpec]) -> list[Result]:
    if not results:
        return results
    wanted = {id_ for spec in tasks for id_ in spec.uses}
    return [result for result in results if result.task in wanted]
