"""Checks: what they may say, how long they may take, and the ones that come along."""

import socket
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator

import pytest

from mpiexec_runner.execute.health import HealthWatch, disk_space, find_check, gpu_memory, network_latency
from mpiexec_runner.model.workers import CheckPlan, Health

GIVE_UP_S = 30.0


@pytest.fixture
def checks() -> Iterator[types.ModuleType]:
    """A user's module with checks."""
    module = types.ModuleType("checks_of_a_test")
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def until(what: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + GIVE_UP_S
    while not what():
        assert time.monotonic() < give_up_at
        time.sleep(0.001)


def watch(*names: str, timeout_s: float = 10.0) -> HealthWatch:
    return HealthWatch(CheckPlan(tuple(f"checks_of_a_test:{name}" for name in names), 60.0, timeout_s))


def found(one: HealthWatch) -> tuple[Health, str]:
    """What a watch finds in its first round."""
    one.look(0.0)
    until(lambda: all(each.finding is not None for each in one._running.values()))
    return one.look(1.0)


def explode() -> None:
    raise RuntimeError("no driver\nat all")


@pytest.mark.parametrize(
    ("check", "health", "note"),
    [
        (lambda: None, Health.HEALTHY, ""),
        (lambda: True, Health.HEALTHY, ""),
        (lambda: "healthy", Health.HEALTHY, ""),
        (lambda: ("degraded", "warm"), Health.DEGRADED, "checks_of_a_test:one: warm"),
        (lambda: "unhealthy", Health.UNHEALTHY, "checks_of_a_test:one"),
        (lambda: False, Health.UNHEALTHY, "checks_of_a_test:one"),
        (lambda: (Health.DEGRADED, 3), Health.DEGRADED, "checks_of_a_test:one: 3"),
        (explode, Health.UNHEALTHY, "checks_of_a_test:one: RuntimeError: no driver at all"),
        (
            lambda: "fine",
            Health.UNHEALTHY,
            "checks_of_a_test:one: ValueError: it said 'fine', not healthy, degraded or unhealthy",
        ),
        (lambda: sys.exit(3), Health.UNHEALTHY, "checks_of_a_test:one: SystemExit: 3"),
    ],
)
def test_what_a_check_may_say(checks, check, health: Health, note: str) -> None:
    checks.one = check
    assert found(watch("one")) == (health, note)


def test_the_worst_of_all_counts(checks) -> None:
    checks.one, checks.two, checks.three = (
        lambda: None,
        lambda: ("unhealthy", "out"),
        lambda: ("degraded", "warm"),
    )
    assert found(watch("one", "two", "three")) == (Health.UNHEALTHY, "checks_of_a_test:two: out")


def test_a_check_that_is_not_there_says_so(checks) -> None:
    health, note = found(watch("none"))
    assert health is Health.UNHEALTHY
    assert "none" in note
    with pytest.raises(LookupError, match="disk_space"):
        find_check("disk_spice", CheckPlan())


def test_no_checks_no_threads() -> None:
    before = threading.active_count()
    assert HealthWatch(CheckPlan()).look(0.0) == (Health.HEALTHY, "")
    assert threading.active_count() == before


def test_a_check_that_does_not_end_holds_up_nobody_and_is_not_begun_twice(checks) -> None:
    gate, calls = threading.Event(), []

    def slow() -> str:
        calls.append(1)
        gate.wait(GIVE_UP_S)
        return "healthy"

    checks.one = slow
    one = watch("one", timeout_s=5.0)
    assert one.look(0.0) == (Health.HEALTHY, "")
    assert one.look(4.0) == (Health.HEALTHY, "")
    assert one.look(6.0) == (Health.UNHEALTHY, "checks_of_a_test:one has not ended for 6 s")
    assert one.look(100.0)[0] is Health.UNHEALTHY
    assert len(calls) == 1
    gate.set()
    until(lambda: one.look(101.0) == (Health.HEALTHY, ""))


def test_a_round_comes_when_it_is_due(checks) -> None:
    calls: list[int] = []
    checks.one = lambda: calls.append(1)
    one = watch("one")
    one.look(0.0)
    until(lambda: len(calls) == 1 and not any(each.finding is None for each in one._running.values()))
    one.look(59.0)
    one.look(60.0)
    until(lambda: len(calls) == 2)


# --- those that come along


def test_disk_space(tmp_path) -> None:
    assert disk_space(tmp_path, degraded_bytes=0, unhealthy_bytes=0)[0] == "healthy"
    assert disk_space(tmp_path, degraded_bytes=2**70, unhealthy_bytes=0)[0] == "degraded"
    health, text = disk_space(tmp_path, degraded_bytes=2**70, unhealthy_bytes=2**70)
    assert health == "unhealthy"
    assert str(tmp_path) in text


def test_gpu_memory_without_devices_is_healthy(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_memory()[0] == "healthy"


def test_gpu_memory_counts_the_fullest_device(monkeypatch) -> None:
    used = [10, 97]
    library = types.SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetMemoryInfo=lambda number: types.SimpleNamespace(used=used[number], total=100),
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert gpu_memory() == ("degraded", "97 % of the memory of GPU 1 is in use")


def test_network_latency_needs_nobody_to_listen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert network_latency("127.0.0.1", port, degraded_s=20, unhealthy_s=30)[0] == "healthy"
    health, text = network_latency("127.0.0.1", port, degraded_s=20, unhealthy_s=30)
    assert health == "healthy", text
    assert network_latency("127.0.0.1", port, degraded_s=0, unhealthy_s=30)[0] == "degraded"


@pytest.mark.parametrize("name", ["disk_space", "gpu_memory", "network_latency"])
def test_they_run_by_name(name: str, tmp_path) -> None:
    assert callable(find_check(name, CheckPlan(hub_host="localhost"), str(tmp_path)))
    find_check(name, CheckPlan(hub_host="localhost"), str(tmp_path))()
