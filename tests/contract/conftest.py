"""Makes the contract suites importable by the tests of the adapters, here and in tests/mpi."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
