"""A process that fills the scheduling core with the tasks of a sweep and tells what memory that takes.

``python -m benchmarks.pending core|run TASKS``; a process of its own, because memory once used stays.
"""

import gc
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

from benchmarks.contestants.work import tell
from mpiexec_runner.app.wiring import make_scheduler
from mpiexec_runner.app.workload import compare
from mpiexec_runner.config.expansion import expand
from mpiexec_runner.config.loading import loads
from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.settings import HeartbeatSettings, SchedulerSettings
from mpiexec_runner.core.state import RunState
from mpiexec_runner.model.events import AnyEvent

SWEEP = """
name: pending
sweep:
  command: ["lmp", "-in", "in.lj", "-var", "T", "{{T}}", "-var", "seed", "{{seed}}"]
  parameters:
    T: {{linspace: [0.7, 1.3, 1000]}}
    seed: {{range: [0, {seeds}]}}
  combine: product
"""


def sweep_events(tasks: int) -> Iterator[AnyEvent]:
    """What a run of a sweep with so many points (a multiple of 1000) submits."""
    config = loads(SWEEP.format(seeds=tasks // 1000))
    yield from compare(expand(config), RunState()).events()


def write_events(path: Path, tasks: int) -> None:
    """Leave the events in a file, each behind its length: read from there, they bring no history along."""
    encode = msgspec.msgpack.Encoder().encode
    with path.open("wb") as file:
        for event in sweep_events(tasks):
            data = encode(event)
            file.write(len(data).to_bytes(8, "little") + data)


def read_events(path: Path) -> Iterator[AnyEvent]:
    """The events in a file, one after the other."""
    decode = msgspec.msgpack.Decoder(AnyEvent).decode
    with path.open("rb") as file:
        while head := file.read(8):
            yield decode(file.read(int.from_bytes(head, "little")))


def _scheduler() -> TaskScheduler:
    return make_scheduler(SchedulerSettings(), HeartbeatSettings())


def _resident_bytes() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def _tell_growth(before: int, scheduler: TaskScheduler, tasks: int) -> None:
    if len(scheduler.state.ready) != tasks:
        raise SystemExit(f"{len(scheduler.state.ready)} tasks are ready, not {tasks}")
    tell(bytes_per_task=(_resident_bytes() - before) / tasks)


def measure_core(tasks: int) -> None:
    """The core and its queue alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "events")
        subprocess.run([sys.executable, "-m", __spec__.name, "write", str(tasks), str(path)], check=True)
        scheduler, before = _scheduler(), _resident_bytes()
        for event in read_events(path):
            scheduler.handle([event], 0.0)
    _tell_growth(before, scheduler, tasks)


def measure_run(tasks: int) -> None:
    """All that rank 0 holds when it has handed the tasks of a configuration to the core, as a run does."""
    config = loads(SWEEP.format(seeds=tasks // 1000))
    scheduler, before = _scheduler(), _resident_bytes()
    workload = expand(config)
    events = list(compare(workload, scheduler.state).events())
    scheduler.handle(events, 0.0)
    _tell_growth(before, scheduler, len(workload.tasks))


if __name__ == "__main__":
    count = int(sys.argv[2])
    if sys.argv[1] == "write":
        write_events(Path(sys.argv[3]), count)
    elif sys.argv[1] == "core":
        measure_core(count)
    else:
        measure_run(count)
