"""The command, called as the console script calls it."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from mpiexec_runner.cli.main import main


class Said(NamedTuple):
    """An exit code, and what was printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Calls the command with words."""

    def call(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["mpiexec-runner", *words])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        code = end.value.code
        assert isinstance(code, int)
        return Said(code, out, err)

    return call
