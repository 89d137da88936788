"""Commands by HyperQueue: the wheel's own cluster, server and one worker of two cores in this process.

The client of the wheel looks once a second whether a job is done. So a marker with a lower priority, which
runs when all others have been started, tells the end to the millisecond.

``... hyperqueue_cluster COUNT [files]``: with ``files`` each command has a directory with its output in it.
"""

import sys
import tempfile
import time
from pathlib import Path

from hyperqueue import Job, LocalCluster
from hyperqueue.client import Client
from hyperqueue.cluster import WorkerConfig

from benchmarks.contestants.work import tell

LOOK_EVERY_S = 0.002


def run_commands(client: Client, count: int, marker: Path, output: Path | None = None) -> float:
    """Run ``/bin/true`` ``count`` times; the seconds from submitting to the end."""
    job = Job(max_fails=None)
    for number in range(count):
        out, err = (output and str(output / str(number) / name) for name in ("stdout", "stderr"))
        job.program(["/bin/true"], stdout=out, stderr=err)
    job.program(["/bin/touch", str(marker)], stdout=None, stderr=None, priority=-1)
    begin = time.perf_counter()
    submitted = client.submit(job)
    while not marker.exists():
        time.sleep(LOOK_EVERY_S)
    took = time.perf_counter() - begin
    client.connection.wait_for_jobs((submitted.id,), lambda _: None)
    return took


if __name__ == "__main__":
    commands = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder, LocalCluster(folder) as cluster:
        cluster.start_worker(WorkerConfig(cores=2))
        connected = cluster.client()
        output = Path(folder, "output") if sys.argv[2:] == ["files"] else None
        run_commands(connected, 50, Path(folder, "warm"))
        tell(rate=commands / run_commands(connected, commands, Path(folder, "done"), output))
        if output is not None and len(list(output.glob("*/stdout"))) != commands:
            raise SystemExit("it did not write what it was to write")
