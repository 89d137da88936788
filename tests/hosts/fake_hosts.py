"""Several hosts on one machine: network namespaces, joined by a bridge.

Each has its own network, name, shared memory and System V IPC; processes and files are shared, so a program
on one can be found and ended from here, and a run directory is where all of them see it. Needs root and
``ip`` (iproute2), ``nsenter`` and ``unshare`` (util-linux); see ``network_namespaces(7)``.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

TOOLS = ("ip", "nsenter", "unshare", "mount", "hostname")
UP_WITHIN_S = 10.0

_INIT = """
hostname {name} && mount --bind {hosts} /etc/hosts && mount -t tmpfs tmpfs /dev/shm && touch {ready}
exec sleep infinity
"""
_ON = """#!/bin/bash
# HOST COMMAND...: run a command on a host
init=$(cat {root}/$1.init) && kill -0 $init || {{ echo "$1: no route to host" >&2; exit 255; }}
shift
# The directory is entered inside: one from outside is on another mount, from where nothing can be renamed.
exec nsenter -t $init -n -u -m -i /bin/sh -c 'cd "$0" && exec "$@"' "$PWD" "$@"
"""
_AGENT = """#!/bin/bash
# what a launcher calls in place of ssh: [OPTIONS] HOST COMMAND...
while [[ $1 == -* ]]; do [[ $1 == -l ]] && shift; shift; done
host=$1; shift
{root}/on "$host" /bin/sh -c "$*" &
wait $!
code=$?
# As ssh does, this side waits on when the other side has vanished without a word.
[ -e {root}/$host.off ] && exec sleep infinity
exit $code
"""


def why_not() -> str:
    """What keeps this machine from having fake hosts; empty when nothing does."""
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    probe = f"probe{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"ip netns add: {done.stderr.strip()}"
    _run("ip", "netns", "del", probe)
    return ""


class FakeHosts:
    """Hosts h1, h2, ... that are up until :meth:`down`."""

    def __init__(self, count: int, root: Path) -> None:
        self.names = [f"h{number}" for number in range(1, count + 1)]
        self.root = root
        self._space = f"mr{os.getpid()}"
        self._inits: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def agent(self) -> Path:
        """What a launcher is to use in place of ssh."""
        return self.root / "agent"

    def on(self, name: str, *command: str) -> list[str]:
        """The words that run a command on a host."""
        return [str(self.root / "on"), name, *command]

    def up(self) -> None:
        """Make them."""
        self.root.mkdir(parents=True, exist_ok=True)
        for name, text in (("on", _ON), ("agent", _AGENT)):
            (self.root / name).write_text(text.format(root=self.root))
            (self.root / name).chmod(0o755)
        lines = [f"10.78.0.{number} {name}" for number, name in enumerate(self.names, 1)]
        (self.root / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        switch = self._netns("switch")
        _run("ip", "netns", "add", switch)
        _run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "bridge", "up")
        for number, name in enumerate(self.names, 1):
            self._plug_in(number, name, switch)
            self._boot(name)

    def down(self) -> None:
        """End all that runs on them, and remove them."""
        for name in self.names:
            self.kill_all(name)
        for init in self._inits.values():
            init.kill()
            init.wait(10)
        for name in ("switch", *self.names):
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("ip", "netns", "del", self._netns(name))

    def pids(self, name: str) -> list[int]:
        """What runs on a host, but for what stands for the host itself."""
        done = subprocess.run(
            ["ip", "netns", "pids", self._netns(name)], capture_output=True, text=True, check=False
        )
        init = self._inits.get(name)
        return [int(pid) for pid in done.stdout.split() if init is None or int(pid) != init.pid]

    def shared_memory(self, name: str) -> list[str]:
        """What lies in a host's /dev/shm."""
        done = subprocess.run(self.on(name, "ls", "/dev/shm"), capture_output=True, text=True, check=True)
        return done.stdout.split()

    def cut(self, name: str, *, up: bool = False) -> None:
        """Take a host's cable out of the switch; ``up`` puts it back."""
        _run("ip", "-n", self._netns("switch"), "link", "set", f"to-{name}", "up" if up else "down")

    def power_off(self, name: str) -> None:
        """End a host as a power cut does: nobody is told, since no connection is closed in order."""
        (self.root / f"{name}.off").touch()
        self.cut(name)
        self.kill_all(name)

    def kill_all(self, name: str) -> None:
        """SIGKILL to all that runs on a host."""
        give_up = time.monotonic() + UP_WITHIN_S
        while (pids := self.pids(name)) and time.monotonic() < give_up:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def _netns(self, name: str) -> str:
        return f"{self._space}-{name}"

    def _plug_in(self, number: int, name: str, switch: str) -> None:
        netns = self._netns(name)
        _run("ip", "netns", "add", netns)
        cable = ["link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", netns]
        _run("ip", "-n", switch, *cable)
        _run("ip", "-n", switch, "link", "set", f"to-{name}", "master", "bridge", "up")
        _run("ip", "-n", netns, "addr", "add", f"10.78.0.{number}/24", "dev", "eth0")
        _run("ip", "-n", netns, "link", "set", "eth0", "up")
        _run("ip", "-n", netns, "link", "set", "lo", "up")

    def _boot(self, name: str) -> None:
        ready = self.root / f"{name}.ready"
        script = _INIT.format(name=name, hosts=self.root / "hosts", ready=ready)
        inside = ["nsenter", f"--net=/run/netns/{self._netns(name)}"]
        init = self._inits[name] = subprocess.Popen(
            [*inside, "unshare", "--uts", "--ipc", "--mount", "/bin/sh", "-c", script],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        give_up = time.monotonic() + UP_WITHIN_S
        while not ready.exists():
            if init.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"host {name} did not come up")
            time.sleep(0.01)
        (self.root / f"{name}.init").write_text(str(init.pid))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=30)
