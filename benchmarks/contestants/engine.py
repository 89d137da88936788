"""Ours: ParallelExecutor, with a record in a run directory or without.

``... engine TASK NUMBER [RUN_DIR]``
"""

import sys

from benchmarks.contestants.work import with_executor
from mpiexec_runner import ParallelExecutor

if __name__ == "__main__":
    with ParallelExecutor(run_dir=sys.argv[3] if len(sys.argv) > 3 else None) as executor:
        with_executor(executor, sys.argv[1], float(sys.argv[2]))
