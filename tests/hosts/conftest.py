"""Tests over several hosts, which are made of network namespaces: see ``fake_hosts.py``."""

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / "launch"), str(Path(__file__).parent)]


@pytest.fixture
def environ() -> dict[str, str]:
    """What a user's shell would have; Open MPI refuses root without being told twice."""
    return os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
