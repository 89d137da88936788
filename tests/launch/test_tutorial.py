"""The commands in the documents are run, and print what the documents say.

In a block marked ``sh``, a line that begins with ``$ `` is a command, ``> `` goes on with it, and the lines
below are its output, on stdout and stderr together. ``...`` alone in a line stands for any lines, within one
for anything. Numbers with a decimal point may differ, and all numbers in tables, and warnings and notes. All
blocks of a document run in the same directory, each in a shell of its own.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.app.world import launched_ranks
from mpiexec_runner.transport.mpi_library import find_library

ROOT = Path(__file__).parents[2]
WITHIN_S = 400
"""For one block."""
DONE = "--- done: "
DOCUMENTS = [
    "README.md",
    *(f"docs/{name}.md" for name in ("tutorial", "python", "pipeline", "patterns", "simulator")),
]

pytestmark = [
    pytest.mark.launches,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(launched_ranks(os.environ) is not None, reason="a rank cannot launch ranks"),
]


class Step(NamedTuple):
    command: str
    expected: list[str]
    line: int


def blocks(document: Path) -> list[list[Step]]:
    """The commands of each ``sh`` block."""
    found: list[list[Step]] = []
    steps: list[Step] | None = None
    for number, line in enumerate(document.read_text().splitlines(), 1):
        if steps is None:
            steps = [] if line == "```sh" else None
        elif line == "```":
            found.append(steps)
            steps = None
        elif line.startswith("$ "):
            steps.append(Step(line[2:], [], number))
        elif line.startswith("> ") or line == ">":
            steps[-1] = steps[-1]._replace(command=f"{steps[-1].command}\n{line[2:]}")
        else:
            steps[-1].expected.append(line)
    return found


def run_block(steps: list[Step], folder: Path, environ: dict[str, str]) -> list[tuple[int, str]]:
    """Exit code and output of each command, in one shell; its process group is ended with it."""
    script = "".join(
        f"{step.command}\n__code=$?; printf '\\n%s%s\\n' '{DONE}' $__code; (exit $__code)\n" for step in steps
    )
    shell = subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = shell.communicate(timeout=WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, signal.SIGKILL)
        said, _ = shell.communicate()
        pytest.fail(f"line {steps[0].line}: not done after {WITHIN_S} s; so far:\n{said}")
    parts = re.split(rf"\n{DONE}(\d+)\n", said)
    return [(int(code), text) for text, code in zip(parts[::2], parts[1::2], strict=False)]


def pattern(expected: list[str]) -> str:
    """What the documented output matches, as a regular expression over whole lines."""
    made = ""
    for line in tidy(expected):
        if line == "...":
            made += r"(?:.*\n)*?"
            continue
        words = re.escape(line).replace(re.escape("..."), ".*")
        number = r"\d+(?:\\\.\d+)?(?:e\\-\d+)?" if line.startswith("│") else r"\d+\\\.\d+(?:e\\-\d+)?"
        made += re.sub(number, "[0-9.e-]+", words) + r"\n"
    return made


def tidy(said: list[str]) -> list[str]:
    """Output to compare: without notes and warnings, which come in between when they like, and padding."""
    lines = [line.strip("\0 ") for line in said if not line.lstrip().startswith(("warning: ", "note: "))]
    while lines and not lines[-1]:
        lines.pop()
    return [re.sub("━+", "━", re.sub("─+", "─", re.sub(" +", " ", line))) for line in lines]


def matches(expected: list[str], said: str) -> bool:
    told = "".join(f"{line}\n" for line in tidy(said.splitlines()))
    return re.fullmatch(pattern(expected), told) is not None


def environment() -> dict[str, str]:
    """That of a user who has the package and its MPI on PATH, and enough slots."""
    launcher = find_launcher(find_library(), "auto", os.environ).path
    first = [str(Path(sys.executable).parent), str(launcher.parent)]
    return os.environ | {
        "PATH": os.pathsep.join([*first, os.environ["PATH"]]),
        "COLUMNS": "110",
        "PYTHONUNBUFFERED": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_the_documents_show_is_what_happens(name: str, tmp_path: Path) -> None:
    for module in ("sklearn", "pandas"):
        pytest.importorskip(module)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    found = blocks(ROOT / name)
    assert found, f"{name} has no commands"
    environ = environment()
    for steps in found:
        for at, (step, (code, said)) in enumerate(
            zip(steps, run_block(steps, tmp_path, environ), strict=True)
        ):
            place = f"{name}, line {step.line}: {step.command.splitlines()[0]}"
            shown = "\n".join(step.expected)
            assert matches(step.expected, said), f"{place}\nthe document shows:\n{shown}\nit printed:\n{said}"
            looked_at = at + 1 < len(steps) and "$?" in steps[at + 1].command
            assert code == 0 or looked_at, f"{place}: exit code {code}, of which the document says nothing"
