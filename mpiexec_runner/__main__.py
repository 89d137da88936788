"""``python -m mpiexec_runner`` is ``mpiexec-runner``."""

from mpiexec_runner.cli.main import main

main()
