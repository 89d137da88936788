"""Which policy a name stands for, and what is said where it stands for none."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from someone import ANY, Someone, counts

from mpiexec_runner.app.wiring import find_placement, make_scheduler
from mpiexec_runner.core.settings import HeartbeatSettings, SchedulerSettings
from mpiexec_runner.errors import ConfigError
from mpiexec_runner.policies.placement import PLACEMENTS


class OfOne:
    """Everything to the first."""

    def share(self, count: int, candidates: list, turn: int, demand: object) -> list:
        return [(candidates[0][0], min(count, candidates[0][1]))]


class OfOldTimes:
    """As the port was once."""

    def share(self, count: int, candidates: list) -> list:
        return []


class Aloof:
    """No policy."""


class Broken:
    """Cannot be made."""

    def __init__(self) -> None:
        raise ValueError("no licence file")


@pytest.fixture(autouse=True)
def users_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("users_policies")
    for policy in (OfOne, OfOldTimes, Aloof, Broken):
        setattr(module, policy.__name__, policy)
    monkeypatch.setitem(sys.modules, "users_policies", module)


@pytest.mark.parametrize("name", [*PLACEMENTS, "users_policies:OfOne"])
def test_a_scheduler_is_made_with_every_policy(name: str) -> None:
    assert make_scheduler(SchedulerSettings(placement=name), HeartbeatSettings()).state.epoch == 0


def test_the_settings_name_all_of_them() -> None:
    told = SchedulerSettings.model_fields["placement"].description or ""
    assert [name for name in PLACEMENTS if f"`{name}`" not in told] == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dynamics", "no such policy. Did you mean dynamic?"),
        ("Round_Robin", "Did you mean round_robin?"),
        ("zzz", "There are least_loaded, round_robin, "),
        (":Class", "no such policy"),
        ("module:", "no such policy"),
        ("there_is_no_such_module:Class", "ModuleNotFoundError"),
        ("users_policies:Missing", "has no attribute 'Missing'"),
        ("users_policies:Broken", "cannot be made: ValueError: no licence file"),
        ("users_policies:Aloof", "has no method share. It needs share(count, candidates, turn, demand)"),
        ("users_policies:OfOldTimes", "too many positional arguments. It needs share(count, "),
    ],
)
def test_what_is_no_policy_is_refused_with_the_remedy(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_placement(name)
    assert str(caught.value).startswith(f"scheduler.placement: {name}: ")
    assert said in str(caught.value)


def test_the_example_in_the_documentation_is_a_policy() -> None:
    text = (Path(__file__).parents[3] / "docs" / "policies.md").read_text()
    made: dict[str, type] = {}
    exec(text.split("```python\n")[1].split("```")[0], made)
    candidates = [(Someone(1), 2), (Someone(2), 2)]
    assert counts(made["FirstCome"]().share(3, candidates, 0, ANY)) == {1: 2, 2: 1}


def test_the_documentation_tells_of_every_policy() -> None:
    text = (Path(__file__).parents[3] / "docs" / "policies.md").read_text()
    assert [name for name in PLACEMENTS if f"\n| `{name}` |" not in text] == []
