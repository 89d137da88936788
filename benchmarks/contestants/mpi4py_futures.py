"""mpi4py.futures: an MPICommExecutor over the world."""

import sys

from mpi4py import MPI
from mpi4py.futures import MPICommExecutor

from benchmarks.contestants.work import with_executor

if __name__ == "__main__":
    with MPICommExecutor(MPI.COMM_WORLD, root=0) as executor:
        if executor is not None:
            with_executor(executor, sys.argv[1], float(sys.argv[2]))
