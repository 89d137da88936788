"""The GPUs that this process may use, and the variable by which a task is given some of them.

It knows no ranks; devices are names, as the variable takes them: numbers, UUIDs, parts of a device (MIG).

Sources: CUDA C++ Programming Guide, "CUDA Environment Variables"; ROCm documentation, "GPU isolation
techniques"; NVML API reference.
"""

import contextlib
import importlib
from collections.abc import Mapping
from typing import Any

import msgspec

CUDA = "CUDA_VISIBLE_DEVICES"
_VARIABLES = (CUDA, "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


class Devices(msgspec.Struct, frozen=True):
    """Some devices, and the variable in which a program looks for them."""

    names: tuple[str, ...] = ()
    variable: str = CUDA

    def __len__(self) -> int:
        return len(self.names)


def find_devices(environ: Mapping[str, str]) -> Devices:
    """Find what the environment allows; where it says nothing, what NVML shows, if that can be asked.

    Parameters
    ----------
    environ
        A set variable counts even when it is empty: then there are none.
    """
    for variable in _VARIABLES:
        if variable in environ:
            return Devices(_listed(environ[variable]), variable)
    return Devices(_seen_by_nvml())


def _listed(text: str) -> tuple[str, ...]:
    """Read the list as the driver does: what follows an invalid entry is not seen."""
    names: list[str] = []
    for word in text.split(","):
        name = word.strip()
        if not name or name.startswith("-") or name == "NoDevFiles" or name in names:
            break
        names.append(name)
    return tuple(names)


def _seen_by_nvml() -> tuple[str, ...]:
    """UUIDs: NVML counts devices by bus, CUDA by speed, so a number would not mean the same device."""
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return ()
    names: list[str] = []
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # no driver, or no device
        return ()
    try:
        for number in range(nvml.nvmlDeviceGetCount()):
            uuid = nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetHandleByIndex(number))
            names.append(uuid.decode() if isinstance(uuid, bytes) else str(uuid))
    except nvml.NVMLError:
        return tuple(names)  # those that can be asked
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()
    return tuple(names)
