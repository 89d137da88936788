"""schwimmbad: an MPIPool, one task in flight for each worker, no futures and no record."""

import sys

from schwimmbad import MPIPool

from benchmarks.contestants.work import check, no_op, tell_rate

if __name__ == "__main__":
    with MPIPool() as pool:
        if not pool.is_master():
            pool.wait()
            raise SystemExit
        tell_rate(lambda tasks: check(pool.map(no_op, list(range(tasks))), tasks), float(sys.argv[2]))
