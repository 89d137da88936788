"""The program of a child process: takes calls from its rank over a socket, one after the other.

It never touches MPI: its environment says nothing of the launcher, and it imports nothing that would.
"""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import msgspec
from typing_extensions import Buffer

from mpiexec_runner.execute import additions, calls, frames, guard
from mpiexec_runner.execute.allowance import hold_process, with_threads
from mpiexec_runner.execute.process import Beginning, Order
from mpiexec_runner.model.tasks import CommandLine, Failure, Outcome, PickledCall, Verdict

_PR_SET_PDEATHSIG = 1
_orders = msgspec.msgpack.Decoder(Order)
_encoder = msgspec.msgpack.Encoder()


def main(descriptor: int) -> None:
    """Serve until the rank closes its end."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a killed rank leaves nothing behind
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sock = socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    reader = frames.Reader(sock)
    functions: dict[int, Callable[..., Any]] = {}
    surroundings = calls.Surroundings()
    problem: Failure | None = None
    everywhere = tuple(os.sched_getaffinity(0))
    held: tuple[int, ...] = ()
    additions.begin()
    keeper = guard.Guard()
    keeper.begin()
    try:
        if (first := reader.read()) is not None:
            beginning = msgspec.msgpack.decode(first[0], type=Beginning)
            sys.path[:] = beginning.path
            problem = calls.set_up(beginning.setup) if beginning.setup else None
        while (parts := reader.read()) is not None:
            order = _orders.decode(parts[0])
            surroundings.enter(order.environment)
            if order.allowance.mask != held:
                held = order.allowance.mask
                hold_process(held or everywhere)
            with with_threads(order.allowance.threads):
                result = _failed(order, problem) if problem else _serve(order, parts[1:], functions)
            keeper.mend()
            frames.send(sock, [_encoder.encode(result[0]), *result[1]])
    except EOFError:
        return


def _serve(
    order: Order, buffers: list[memoryview], functions: dict[int, Callable[..., Any]]
) -> tuple[Outcome, list[Buffer]]:
    work = order.kind.work
    if isinstance(work, CommandLine):
        raise TypeError("a command was sent to a child process for calls")
    try:
        function = functions.get(order.kind.id)
        if function is None:
            function = functions[order.kind.id] = calls.blocking(calls.resolve(work))
    except BaseException as error:  # noqa: BLE001 - importing runs the user's code, which may exit
        return _failed(order, calls.describe(error))
    return calls.attempt(function, order.spec, order.attempt, buffers, pickled=isinstance(work, PickledCall))


def _failed(order: Order, failure: Failure) -> tuple[Outcome, list[Buffer]]:
    return Outcome(order.spec.id, order.attempt, Verdict.FAILED, 0.0, 0.0, failure=failure), []


if __name__ == "__main__":
    main(int(sys.argv[1]))
