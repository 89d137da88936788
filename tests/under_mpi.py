"""Runs pytest under this environment's launcher, once for each number of ranks.

``under_mpi.py 1 2 3 5 -- ARGUMENTS``
The launcher is found as ``mpiexec-runner run`` finds it, so these tests run under any MPI without knobs.
"""

import os
import subprocess
import sys

from mpiexec_runner.app.launch import end_launched, launch_command
from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.execute.machine import usable_cores
from mpiexec_runner.transport.mpi_library import find_library

TIMEOUT_S = 1500


def main(arguments: list[str]) -> int:
    """Run all sizes, also when one fails; the number of sizes that failed."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    sizes, options = [int(word) for word in arguments[:split]], arguments[split + 1 :]
    library = find_library()
    launcher = find_launcher(library, "auto", os.environ)
    failed = 0
    for size in sizes:
        print(f"--- {size} ranks, {library.label}", flush=True)
        program = ["--with-mpi", "--color=no", "-p", "no:cacheprovider", "tests/mpi", *options]
        plan = launch_command(launcher, size, program, os.environ, usable_cores(), module="pytest")
        process = subprocess.Popen(
            plan.argv, env=plan.environ, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            failed += process.wait(TIMEOUT_S) != 0
        except subprocess.TimeoutExpired:
            print(f"{size} ranks did not end within {TIMEOUT_S} s", flush=True)
            failed += 1
        finally:
            end_launched(process)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
