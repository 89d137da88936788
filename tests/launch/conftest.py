"""Fixtures for tests that start the program as users do."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from started import Started


@pytest.fixture
def environ() -> dict[str, str]:
    """What a user's shell would have; Open MPI refuses root without being told twice."""
    return os.environ | {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Callable[[list[str], dict[str, str]], Started]]:
    """Starts any program in the test's directory, in an environment."""
    started: list[Started] = []

    def start(arguments: list[str], environ: dict[str, str]) -> Started:
        started.append(Started(arguments, tmp_path, environ))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()


@pytest.fixture
def runner(
    starter: Callable[[list[str], dict[str, str]], Started], environ: dict[str, str]
) -> Callable[..., Started]:
    """Starts ``mpiexec-runner ARGUMENTS`` in the test's directory."""

    def start(*arguments: object, **variables: str) -> Started:
        program = [sys.executable, "-m", "mpiexec_runner", *map(str, arguments)]
        return starter(program, environ | variables)

    return start
