"""Keeps the state diagrams in ARCHITECTURE.md as the transition tables have them.

``python docs/diagrams.py`` writes them between their markers; ``--check`` only says whether they differ.
"""

import enum
import sys
from collections.abc import Mapping
from pathlib import Path

from mpiexec_runner.core.transitions import TASK_MOVES, WORKER_MOVES
from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.model.workers import WorkerState

DOCUMENT = Path(__file__).with_name("ARCHITECTURE.md")

# Where a life may begin, and where it may stay for good. A task that depends on others begins by waiting.
TASK_BEGINNINGS: list[enum.IntEnum] = [TaskState.READY, TaskState.WAITING]
TASK_ENDS = [state for state in TaskState if state.terminal]


def diagram(
    moves: Mapping[tuple[enum.IntEnum, enum.IntEnum], str],
    first: list[enum.IntEnum],
    last: list[enum.IntEnum],
) -> str:
    """A mermaid state diagram of the moves that a table allows."""
    reached = {state for move in moves for state in move}
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    [*] --> {_name(state)}" for state in first]
    lines += [f"    {_name(a)} --> {_name(b)}: {_label(why)}" for (a, b), why in moves.items()]
    lines += [f"    {_name(state)} --> [*]" for state in last if state in reached]
    return "\n".join([*lines, "```"])


def _name(state: enum.IntEnum) -> str:
    return state.name.lower()


def _label(why: str) -> str:
    # A colon or a semicolon would end the label.
    return why.replace(";", ",").replace(":", ",")


DIAGRAMS = {
    "task states": diagram(TASK_MOVES, TASK_BEGINNINGS, TASK_ENDS),
    "worker states": diagram(WORKER_MOVES, [WorkerState.JOINING], [WorkerState.DRAINED]),
}


def drawn(text: str) -> str:
    """The document with the diagrams as they should be."""
    for name, made in DIAGRAMS.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise SystemExit(f"{DOCUMENT} lacks the markers {begin} and {end}")
        text = f"{before}{begin}\n\n{made}\n\n{end}{after}"
    return text


def main(argv: list[str]) -> int:
    """Write or check the document; 1 if it is not as it should be."""
    text = DOCUMENT.read_text()
    made = drawn(text)
    if "--check" in argv:
        if made != text:
            print(f"{DOCUMENT} is out of date: run python docs/diagrams.py", file=sys.stderr)
        return int(made != text)
    DOCUMENT.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
