"""Finding GPUs, and the tags that a worker gives itself."""

import os
import sys
import types
from pathlib import Path

import pytest

from mpiexec_runner.execute.devices import Devices, find_devices
from mpiexec_runner.execute.tags import has_fast_network, has_ssd, own_tags


@pytest.mark.parametrize(
    ("environ", "devices"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,2"}, Devices(("0", "2"))),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8f3, MIG-1c/1/0"}, Devices(("GPU-8f3", "MIG-1c/1/0"))),
        ({"CUDA_VISIBLE_DEVICES": ""}, Devices()),
        ({"CUDA_VISIBLE_DEVICES": "1,-1,2"}, Devices(("1",))),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, Devices()),
        ({"ROCR_VISIBLE_DEVICES": "0,1"}, Devices(("0", "1"), "ROCR_VISIBLE_DEVICES")),
        ({"HIP_VISIBLE_DEVICES": "3"}, Devices(("3",), "HIP_VISIBLE_DEVICES")),
    ],
)
def test_the_environment_says_which_devices(environ: dict[str, str], devices: Devices) -> None:
    assert find_devices(environ) == devices


def test_else_nvml_is_asked_for_names_that_mean_the_same_to_cuda(monkeypatch) -> None:
    nvml = types.ModuleType("pynvml")
    nvml.NVMLError = type("NVMLError", (Exception,), {})
    nvml.nvmlInit = nvml.nvmlShutdown = lambda: None
    nvml.nvmlDeviceGetCount = lambda: 2
    nvml.nvmlDeviceGetHandleByIndex = lambda number: number
    nvml.nvmlDeviceGetUUID = lambda handle: f"GPU-{handle}".encode()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert find_devices({}) == Devices(("GPU-0", "GPU-1"))

    def fail() -> None:
        raise nvml.NVMLError

    nvml.nvmlInit = fail
    assert find_devices({}) == Devices()


def test_without_nvml_there_are_none(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert find_devices({}) == Devices()


def test_memory_for_each_core_makes_high_memory(tmp_path: Path) -> None:
    assert own_tags(4, 63 * 2**30, 0, tmp_path) == {"cpu"}
    assert own_tags(4, 64 * 2**30, 1, tmp_path) == {"cpu", "gpu", "high-memory"}


@pytest.mark.parametrize(("flag", "ssd"), [("0\n", True), ("1\n", False), (None, False)])
@pytest.mark.parametrize("partition", [True, False])
def test_a_disk_that_does_not_turn(tmp_path: Path, flag: str | None, ssd: bool, partition: bool) -> None:
    number = tmp_path.stat().st_dev
    disk = tmp_path / "devices" / "sda"
    device = disk / "sda1" if partition else disk
    device.mkdir(parents=True)
    if flag is not None:
        (disk / "queue").mkdir()
        (disk / "queue" / "rotational").write_text(flag)
    link = tmp_path / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}"
    link.parent.mkdir(parents=True)
    link.symlink_to(device)
    assert has_ssd(tmp_path, tmp_path) is ssd


@pytest.mark.parametrize(
    ("speed", "physical", "fast"),
    [("10000", True, True), ("1000", True, False), ("10000", False, False), ("", True, False)],
)
def test_fast_links_are_those_of_devices(tmp_path: Path, speed: str, physical: bool, fast: bool) -> None:
    link = tmp_path / "class" / "net" / "eth0"
    link.mkdir(parents=True)
    (link / "speed").write_text(speed)
    if physical:
        (link / "device").mkdir()
    assert has_fast_network(tmp_path) is fast


def test_infiniband_is_fast(tmp_path: Path) -> None:
    (tmp_path / "class" / "infiniband" / "mlx5_0").mkdir(parents=True)
    assert has_fast_network(tmp_path)
