"""A program for ``test_resources.py``: a group of which the last rank dies, then one without it.

Rank 0 prints how the survivors' attempts ended and what the second group gave.
"""

import os
import signal

from fake_hub import FakeHub, spec

from mpiexec_runner.app.ranks import leave, make_worker
from mpiexec_runner.model.tasks import CallByName, Needs, TaskKind
from mpiexec_runner.runtime.settings import WorkerSettings
from mpiexec_runner.transport.mpi import MpiTransport


def die_last(comm):
    if comm.rank == comm.size - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    comm.Barrier()


def main():
    transport = MpiTransport()
    if transport.rank:
        make_worker(transport, WorkerSettings()).serve()
        leave(0)
    hub = FakeHub(transport, list(range(1, transport.size)))
    everybody, survivors = tuple(hub.workers), tuple(hub.workers[:-1])
    kinds = [
        TaskKind(id=id_, name=name, work=CallByName(name), needs=Needs(ranks=2))
        for id_, name in enumerate(["lost_member:die_last", "work_for_groups:members"], 1)
    ]
    for rank in everybody:
        hub.run(rank, kinds[0], spec(1, kinds[0]), group=everybody)
    gone = []
    hub.until(lambda: gone.extend(transport.gone()) or gone)
    for rank in survivors:
        hub.cancel(rank, 1)
    ends = [hub.outcome(1, rank).verdict.name for rank in survivors]
    for rank in survivors:
        hub.run(rank, kinds[1], spec(2, kinds[1]), group=survivors)
    for rank in survivors:
        hub.outcome(2, rank)
    print([rank for rank, _ in gone], ends, hub.values[survivors[0], 2], flush=True)
    hub.workers = list(survivors)
    hub.dismiss()
    while transport.unsent():
        transport.receive()
    leave(0)


if __name__ == "__main__":
    main()
