"""The diagrams in the documents are those of the code, and the documents point at files that exist."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from mpiexec_runner.core.transitions import TASK_MOVES, WORKER_MOVES

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("diagrams", ROOT / "docs" / "diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_state_diagrams_are_up_to_date() -> None:
    assert load_script().main(["--check"]) == 0, "run: python docs/diagrams.py"


def test_every_move_is_drawn() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    for before, after in [*TASK_MOVES, *WORKER_MOVES]:
        assert f"{before.name.lower()} --> {after.name.lower()}: " in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} points at {target}"


def test_the_code_map_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", text))
    assert len(named) > 15
    missing = {
        name for name in named if not any((base / name).exists() for base in (ROOT, ROOT / "mpiexec_runner"))
    }
    assert not missing
