"""MPI tests: every rank runs every test (``make test-mpi`` starts them under mpiexec at several sizes)."""

import sys
from pathlib import Path

_TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(_TESTS / "contract"), str(_TESTS / "unit" / "runtime"), str(_TESTS / "mpi")]
