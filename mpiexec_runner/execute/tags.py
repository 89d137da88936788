"""Tags that a worker gives itself by what its host has: cpu, gpu, high-memory, ssd, network.

It knows no configuration; the user's own tags join these elsewhere.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

HIGH_MEMORY_BYTES = 16 * 2**30
"""For each of its cores, earns a worker the tag ``high-memory``; common nodes have 2 to 8 GiB."""
FAST_LINK_MBPS = 10_000
"""A network device of this speed earns the tag ``network``, as InfiniBand does."""

_SYS = Path("/sys")


def own_tags(cores: int, memory_bytes: int, gpus: int, sys: Path = _SYS) -> set[str]:
    """The tags of a worker with this share of its host.

    Parameters
    ----------
    cores, memory_bytes, gpus
        The worker's share.
    sys
        Where sysfs is mounted.
    """
    tags = {"cpu"}
    if gpus:
        tags.add("gpu")
    if memory_bytes >= HIGH_MEMORY_BYTES * max(1, cores):
        tags.add("high-memory")
    if has_ssd(Path(tempfile.gettempdir()), sys):
        tags.add("ssd")
    if has_fast_network(sys):
        tags.add("network")
    return tags


def has_ssd(folder: Path, sys: Path = _SYS) -> bool:
    """Whether a folder (TMPDIR) lies on a device without turning disks; not where it lies on no device."""
    try:
        number = folder.stat().st_dev
    except OSError:
        return False
    device = sys / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}"
    # A partition has no queue of its own; the device around it has.
    for flag in (device / "queue" / "rotational", device.resolve().parent / "queue" / "rotational"):
        with contextlib.suppress(OSError):
            return flag.read_text().strip() == "0"
    return False


def has_fast_network(sys: Path = _SYS) -> bool:
    """Whether there is an InfiniBand device, or a link of 10 Gb/s or more that is more than software."""
    with contextlib.suppress(OSError):
        if any((sys / "class" / "infiniband").iterdir()):
            return True
    return any(speed >= FAST_LINK_MBPS for speed in _link_speeds(sys / "class" / "net"))


def _link_speeds(folder: Path) -> Iterator[int]:
    """Speeds in Mb/s. Pairs of virtual devices claim 10 Gb/s, too: only what has a device below counts."""
    with contextlib.suppress(OSError):
        for link in sorted(folder.iterdir()):
            if (link / "device").exists():
                with contextlib.suppress(OSError, ValueError):  # a link that is down has no speed
                    yield int((link / "speed").read_text())
