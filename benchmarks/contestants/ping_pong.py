"""A bare mpi4py loop: pickled objects, one task in flight for each worker; what MPI from Python can give."""

import os
import sys

from mpi4py import MPI

from benchmarks.contestants.work import check, no_op, tell_idle, tell_rate


def lead(comm: MPI.Intracomm, tasks: int) -> list[int]:
    """Rank 0: give each worker a task, and another one for each result."""
    results = [-1] * tasks
    status = MPI.Status()
    given = min(tasks, comm.size - 1)
    for number in range(given):
        comm.send((number, number), number + 1)
    for _ in range(tasks):
        number, result = comm.recv(source=MPI.ANY_SOURCE, status=status)
        results[number] = result
        if given < tasks:
            comm.send((given, given), status.source)
            given += 1
    return results


def work(comm: MPI.Intracomm) -> None:
    """Any other rank: do what comes, until there is nothing."""
    while (task := comm.recv(source=0)) is not None:
        number, argument = task
        comm.send((number, no_op(argument)), 0)


if __name__ == "__main__":
    world = MPI.COMM_WORLD
    pids = world.gather(os.getpid())
    if pids is None:
        work(world)
    else:
        if sys.argv[1] == "idle":
            tell_idle(set(pids[1:]))
        else:
            tell_rate(lambda tasks: check(lead(world, tasks), tasks), float(sys.argv[2]))
        for rank in range(1, world.size):
            world.send(None, rank)
