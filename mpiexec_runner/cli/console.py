"""Where output goes: a terminal, or whatever else reads it."""

import os

from rich.console import Console

from mpiexec_runner.app.world import launched_ranks
from mpiexec_runner.execute.environment import TERMINAL

PLAIN_WIDTH = 10_000
"""Without a terminal lines are not wrapped: programs read them."""


def make_console() -> Console:
    """A console on standard output, which may be a terminal behind the launcher's pipe."""
    if launched_ranks(os.environ) is None:
        console = Console(highlight=False)
        return console if console.is_terminal else _plain()
    # Launchers give ranks pipes or terminals of their own; who started one knows what is behind.
    columns, _, lines = os.environ.get(TERMINAL, "").partition("x")
    if columns.isdecimal() and lines.isdecimal():
        return Console(force_terminal=True, width=int(columns), height=int(lines), highlight=False)
    return _plain()


def _plain() -> Console:
    return Console(force_terminal=False, width=PLAIN_WIDTH, soft_wrap=True, highlight=False)
