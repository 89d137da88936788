"""Reading control groups, from trees made like those of version 1, version 2 and containers."""

from pathlib import Path

import pytest

from mpiexec_runner.execute import machine


def tree(root: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    for name, text in files.items():
        path = root / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "own").write_text(own)
    return root / "own", root / "fs"


V2 = "0::/user.slice/job\n"
V1 = "4:memory:/job\n3:cpuset:/\n2:cpu,cpuacct:/job\n"


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        (V2, {"user.slice/job/cpu.max": "150000 100000\n"}, 1.5),
        (V2, {"user.slice/job/cpu.max": "max 100000\n", "user.slice/cpu.max": "400000 100000\n"}, 4),
        (V2, {"user.slice/job/cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/../../host/path\n", {"cpu.max": "200000 100000\n"}, 2),
        (
            V1,
            {"cpu,cpuacct/job/cpu.cfs_quota_us": "50000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"},
            0.5,
        ),
        (V1, {"cpu/job/cpu.cfs_quota_us": "50000", "cpu/job/cpu.cfs_period_us": "100000"}, 0.5),
        (V1, {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000"}, None),
        # A container sees its own group as the top, under a path of the host.
        ("2:cpu:/docker/abc\n", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ("", {}, None),
    ],
)
def test_cpu_quotas(tmp_path: Path, own: str, files: dict[str, str], cores: float | None) -> None:
    assert machine.find_cpu_quota(*tree(tmp_path, own, files)) == cores


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        (V2, {"user.slice/job/memory.max": "max\n", "user.slice/memory.max": "1073741824\n"}, 2**30),
        (V1, {"memory/job/memory.limit_in_bytes": "2147483648\n"}, 2**31),
        (V1, {"memory/job/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("", {}, None),
    ],
)
def test_memory_limits(tmp_path: Path, own: str, files: dict[str, str], limit: int | None) -> None:
    assert machine.find_memory_limit_bytes(*tree(tmp_path, own, files)) == limit


@pytest.mark.parametrize(("quota", "usable"), [(None, 8), (1.5, 2), (0.1, 1), (64.0, 8)])
def test_usable_cores(monkeypatch, quota: float | None, usable: int) -> None:
    monkeypatch.setattr(machine, "affinity_cores", lambda: 8)
    monkeypatch.setattr(machine, "find_cpu_quota", lambda: quota)
    assert machine.usable_cores() == usable


def test_this_machine_has_something() -> None:
    assert machine.usable_cores() >= 1
    assert 0 < machine.usable_memory_bytes() <= machine.machine_memory_bytes()
    assert "." not in machine.host_name()
