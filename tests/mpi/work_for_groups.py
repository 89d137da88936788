"""What groups of ranks do together in the tests."""

import time

import numpy as np
from mpi4py import MPI


def product(comm, n):
    """C = A B, each rank with some rows of A and of B, which go round in a ring; checked by its trace."""
    rows = [range(n)[rank * n // comm.size : (rank + 1) * n // comm.size] for rank in range(comm.size)]
    mine = rows[comm.rank]
    a = np.array([[i + 2.0 * j for j in range(n)] for i in mine]).reshape(len(mine), n)
    block = np.array([[i * j % 7.0 for j in range(n)] for i in mine]).reshape(len(mine), n)
    c = np.zeros((len(mine), n))
    for step in range(comm.size):
        owner = (comm.rank + step) % comm.size
        c += a[:, rows[owner]] @ block
        block = comm.sendrecv(block, dest=(comm.rank - 1) % comm.size, source=(comm.rank + 1) % comm.size)
    return comm.allreduce(sum(c[at, row] for at, row in enumerate(mine)))


def trace(n):
    """What :func:`product` must give."""
    a = np.array([[i + 2.0 * j for j in range(n)] for i in range(n)])
    b = np.array([[i * j % 7.0 for j in range(n)] for i in range(n)])
    return float(np.trace(a @ b))


def diffuse(comm, cells, steps):
    """Heat in a ring of cells, with halos from the neighbours; the total heat stays the same."""
    heat = np.zeros(cells + 2)
    heat[1] = 100.0 * (comm.rank + 1)
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    for _ in range(steps):
        comm.Sendrecv(heat[1:2].copy(), left, 0, heat[-1:], right, 0)
        comm.Sendrecv(heat[-2:-1].copy(), right, 1, heat[:1], left, 1)
        heat[1:-1] += 0.25 * (heat[:-2] - 2 * heat[1:-1] + heat[2:])
    return comm.allreduce(float(heat[1:-1].sum()))


def members(comm):
    """The ranks of the world, in the order of the group."""
    return comm.allgather(MPI.COMM_WORLD.rank)


def fail_on_the_last(comm):
    """One raises, while the others wait for it."""
    if comm.rank == comm.size - 1:
        raise ValueError("the last one failed")
    comm.Barrier()


def wait_for_ever(comm):
    """Each waits for a message that nobody sends."""
    comm.recv(source=(comm.rank + 1) % comm.size, tag=99)


def grow_on_the_last(comm):
    """One takes more and more memory, while the others wait for it."""
    hold = []
    while comm.rank == comm.size - 1:
        hold.append(b"x" * 2**24)
        time.sleep(0.05)
    comm.Barrier()


def stay_in_python(comm):
    """The first one fails, and none of the others looks at its communicator."""
    if comm.rank == 0:
        raise ValueError("the first one failed")
    while True:
        time.sleep(1000)
