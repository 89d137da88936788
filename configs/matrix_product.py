"""A matrix product over several ranks, for configs/matrix_product.yaml."""

from typing import Any

import numpy as np


def multiply(comm: Any, n: int, seed: int) -> dict[str, float] | None:
    """Multiply two random matrices, the rows of the first one shared out, and check the result.

    Parameters
    ----------
    comm
        An mpi4py communicator of the ranks that work on this task.
    n
        The matrices are n x n.
    seed
        All ranks draw the same matrices.

    Returns
    -------
    dict or None
        Ranks and greatest deviation, on the first rank.
    """
    draw = np.random.default_rng(seed)
    a, b = draw.random((n, n)), draw.random((n, n))
    rows = [len(part) for part in np.array_split(a, comm.size)]
    mine = np.ascontiguousarray(np.array_split(a, comm.size)[comm.rank] @ b)
    product = np.empty((n, n)) if comm.rank == 0 else None
    comm.Gatherv(mine, [product, [count * n for count in rows]], root=0)
    if comm.rank != 0:
        return None
    return {"ranks": comm.size, "deviation": float(np.abs(product - a @ b).max())}
