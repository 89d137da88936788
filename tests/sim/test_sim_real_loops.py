"""Hub, interpreter and worker loops as they are, on virtual ranks, with faults drawn from seeds.

A seed that fails is named with the command that runs it again. ``SIM_SEEDS`` says how many are tried here;
``make soak SEEDS=100000`` tries more.
"""

import os

import pytest
from loop_world import simulate

from mpiexec_runner.runtime.failover import Allegiance
from mpiexec_runner.runtime.holdings import Line
from mpiexec_runner.runtime.hub import Hub
from mpiexec_runner.runtime.interpreter import Interpreter
from mpiexec_runner.runtime.worker import Worker
from mpiexec_runner.storage.journal import JournalWriter

SEEDS = int(os.environ.get("SIM_SEEDS", "300"))
AT_ONCE = 10


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_whatever_befalls_a_run_it_ends_with_nothing_lost_or_counted_twice(first: int) -> None:
    for seed in range(first, min(first + AT_ONCE, SEEDS)):
        simulate(seed)


def test_a_seed_means_one_run_step_by_step() -> None:
    def told(seed: int) -> list[str]:
        lines: list[str] = []
        simulate(seed, lines.append)
        return lines

    assert told(7) == told(7)
    assert told(7) != told(8)


def _returns_what_it_runs(line: Line, attempts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return list(attempts)


def _loses_a_record(writer: JournalWriter, now: float, events: list[object]) -> None:
    if len(events) != 2:
        _append(writer, now, events)


_append = JournalWriter.append


@pytest.mark.parametrize(
    ("where", "name", "defect"),
    [
        (Line, "remove", _returns_what_it_runs),
        (JournalWriter, "append", _loses_a_record),
        (Interpreter, "_welcome", lambda self, command: None),
        (Worker, "_say_goodbye", lambda self: None),
        (Hub, "_notice_absence", lambda self: None),
        (Allegiance, "look", lambda self, now: None),
    ],
)
def test_a_defect_is_found(monkeypatch: pytest.MonkeyPatch, where: type, name: str, defect: object) -> None:
    monkeypatch.setattr(where, name, defect)
    with pytest.raises(Exception, match=r"\S") as told:
        _simulate_many()
    assert any("tests.sim.replay" in note for note in told.value.__notes__)


def _simulate_many() -> None:
    for seed in range(100):
        simulate(seed)


@pytest.mark.parametrize("seed", [39, 44])
def test_hubs_follow_one_another(seed: int) -> None:
    assert max(simulate(seed).hubs) == 3
