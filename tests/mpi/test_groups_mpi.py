"""Groups of real ranks: rank 0 is the test's hub, all others serve as workers until it dismisses them."""

import os
import sys
from collections.abc import Iterator

import pytest
import work_for_groups as work
from fake_hub import FakeHub, spec
from mpi4py import MPI

from mpiexec_runner.app.ranks import make_worker
from mpiexec_runner.execute.machine import usable_memory_bytes
from mpiexec_runner.execute.share import encode_view, own_view
from mpiexec_runner.model.tasks import CallByName, CommandLine, FailureClass, Mode, Needs, TaskKind, Verdict
from mpiexec_runner.runtime.settings import WorkerSettings
from mpiexec_runner.transport import mpi_groups
from mpiexec_runner.transport.mpi import MpiTransport
from mpiexec_runner.transport.mpi_library import Vendor, find_library

COMM = MPI.COMM_WORLD
pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(COMM.size < 3, reason="a group needs two workers and a hub"),
]


def can_revoke() -> bool:
    """Whether this MPI, as it was started, can revoke a communicator."""
    enabled = os.environ.get("OMPI_MCA_mpi_ft_enable", "")  # noqa: SIM112 - that is how it is spelt
    return find_library().vendor is Vendor.OPEN_MPI and enabled in ("1", "true")


@pytest.fixture(scope="module")
def transport():
    return MpiTransport(card=encode_view(own_view()))


@pytest.fixture
def hub(transport) -> Iterator[FakeHub | None]:
    """The hub, on rank 0; the others have worked when they get here, and get nothing."""
    if transport.rank != 0:
        make_worker(transport, WorkerSettings()).serve()
        yield None
    else:
        hub = FakeHub(transport, list(range(1, transport.size)))
        yield hub
        hub.dismiss()
        while transport.unsent():
            transport.receive()
    COMM.Barrier()


def call(name: str, id_: int = 1, ranks: int = 2, memory_bytes: int = 0, **more: object) -> TaskKind:
    needs = Needs(ranks=ranks, memory_bytes=memory_bytes)
    return TaskKind(id=id_, name=name, work=CallByName(f"work_for_groups:{name}"), needs=needs, **more)


def run(hub: FakeHub, kind: TaskKind, id_: int, group: tuple[int, ...], *args: object) -> None:
    for rank in group:
        hub.run(rank, kind, spec(id_, kind, *args), group=group)


def value(hub: FakeHub, id_: int, group: tuple[int, ...]) -> object:
    """Wait for all members; the value of the first."""
    for rank in group:
        outcome = hub.outcome(id_, rank)
        assert outcome.failure is None, outcome.failure
        # The first one's result counts; nobody else sends one.
        assert bool(outcome.value) == (rank == group[0])
    return hub.values[group[0], id_]


def test_ranks_multiply_matrices_together(hub):
    if hub is None:
        return
    group = tuple(hub.workers)
    kind = call("product", ranks=len(group))
    for id_ in range(1, 6):
        run(hub, kind, id_, group, 12)
    for id_ in range(1, 6):
        assert value(hub, id_, group) == pytest.approx(work.trace(12))


def test_heat_is_kept_while_halos_are_exchanged(hub):
    if hub is None:
        return
    group = tuple(hub.workers)
    kind = call("diffuse", ranks=len(group))
    run(hub, kind, 1, group, 10, 50)
    heat = sum(100.0 * (rank + 1) for rank in range(len(group)))
    assert value(hub, 1, group) == pytest.approx(heat)


def test_the_communicator_has_the_ranks_in_the_order_of_the_group(hub):
    if hub is None:
        return
    kind = call("members")
    first, second = hub.workers[:2]
    for id_, group in enumerate([(first, second), (second, first), (first, second), (second,)], 1):
        run(hub, kind, id_, group)
        assert value(hub, id_, group) == list(group)


def test_groups_beside_each_other_do_not_disturb(hub):
    if hub is None:
        return
    kind = call("product")
    pairs = list(zip(hub.workers[::2], hub.workers[1::2], strict=False))
    for round_ in range(10):
        for at, pair in enumerate(pairs):
            run(hub, kind, 100 * round_ + at, pair, 8)
    for round_ in range(10):
        for at, pair in enumerate(pairs):
            assert value(hub, 100 * round_ + at, pair) == pytest.approx(work.trace(8))


def test_more_memberships_than_are_kept(hub, monkeypatch):
    monkeypatch.setattr(mpi_groups, "KEPT", 1)
    if hub is None:
        return
    kind = call("members")
    first, second = hub.workers[:2]
    for id_ in range(1, 21):
        group = (first, second) if id_ % 2 else (second, first)
        run(hub, kind, id_, group)
    for id_ in range(1, 21):
        group = (first, second) if id_ % 2 else (second, first)
        assert value(hub, id_, group) == list(group)


def test_a_group_that_is_cancelled_before_all_are_here_does_not_begin(hub):
    if hub is None:
        return
    kind = call("members")
    first, second = hub.workers[:2]
    hub.run(first, kind, spec(1, kind), group=(first, second))
    hub.run(second, kind, spec(2, kind), group=(first, second))  # another task: they wait for each other
    hub.until(lambda: {(1, 1), (2, 1)} <= set(hub.started))
    hub.cancel(first, 1)
    hub.cancel(second, 2)
    for rank, id_ in [(first, 1), (second, 2)]:
        assert hub.outcome(id_, rank).verdict is Verdict.CANCELLED
    run(hub, kind, 3, (first, second))
    assert value(hub, 3, (first, second)) == [first, second]


def test_a_rank_that_hangs_in_python_is_fetched_out_when_another_fails(hub):
    if hub is None:
        return
    group = tuple(hub.workers)
    kind, later = call("stay_in_python", ranks=len(group)), call("members", 2, ranks=len(group))
    run(hub, kind, 1, group)
    assert "the first one failed" in hub.outcome(1, group[0]).failure.message
    for rank in group[1:]:
        hub.cancel(rank, 1)
        assert hub.outcome(1, rank).verdict is Verdict.CANCELLED
    run(hub, later, 2, group)
    assert value(hub, 2, group) == list(group)


@pytest.mark.skipif(not can_revoke(), reason="this MPI cannot revoke a communicator")
class TestWithRevoke:
    def test_a_member_that_fails_frees_the_others(self, hub):
        if hub is None:
            return
        group = tuple(hub.workers)
        kind, later = call("fail_on_the_last", ranks=len(group)), call("members", 2, ranks=len(group))
        run(hub, kind, 1, group)
        assert "the last one failed" in hub.outcome(1, group[-1]).failure.message
        for rank in group:
            assert hub.outcome(1, rank).verdict is Verdict.FAILED
        run(hub, later, 2, group)
        assert value(hub, 2, group) == list(group)

    @pytest.mark.parametrize("overdue", [True, False])
    def test_a_running_group_can_be_ended(self, hub, overdue):
        if hub is None:
            return
        group = tuple(hub.workers)
        kind, later = call("wait_for_ever", ranks=len(group)), call("members", 2, ranks=len(group))
        run(hub, kind, 1, group)
        hub.until(lambda: hub.started.count((1, 1)) == len(group))
        for rank in group:
            hub.cancel(rank, 1, overdue=overdue)
        for rank in group:
            outcome = hub.outcome(1, rank)
            assert outcome.verdict is (Verdict.FAILED if overdue else Verdict.CANCELLED)
        run(hub, later, 2, group)
        assert value(hub, 2, group) == list(group)

    def test_a_group_that_takes_too_long_has_failed(self, hub):
        if hub is None:
            return
        group = tuple(hub.workers[:2])
        kind = call("wait_for_ever", timeout_s=0.2, mode=Mode.AUTO)
        run(hub, kind, 1, group)
        kinds = [hub.outcome(1, rank).failure.kind for rank in group]
        assert FailureClass.TIMEOUT in kinds

    def test_a_group_that_takes_too_much_memory_has_failed(self, hub):
        if hub is None:
            return
        group = tuple(hub.workers)
        kind = call("grow_on_the_last", ranks=len(group), memory_bytes=2**28)
        later = call("members", 2, ranks=len(group))
        run(hub, kind, 1, group)
        failure = hub.outcome(1, group[-1]).failure
        assert failure.kind is FailureClass.MEMORY, failure
        assert "256 MiB are allowed" in failure.message
        for rank in group[:-1]:
            hub.cancel(rank, 1)
            hub.outcome(1, rank)
        run(hub, later, 2, group)
        assert value(hub, 2, group) == list(group)


def test_ranks_of_a_host_divide_it(hub):
    if hub is None:
        return
    hub.until(lambda: len(hub.infos) == len(hub.workers))
    infos = [hub.infos[rank].info for rank in hub.workers]
    there = len(os.sched_getaffinity(0))
    assert sum(info.cores for info in infos) in (there, len(infos))  # or one each, where there are fewer
    assert all(0 < info.memory_bytes <= usable_memory_bytes() // len(infos) for info in infos)
    assert all("cpu" in info.tags for info in infos)


def test_a_command_of_several_ranks_is_an_mpi_program_of_its_own(hub):
    if hub is None:
        return
    program = "from mpi4py import MPI; c = MPI.COMM_WORLD; print(c.allreduce(c.rank + 1), c.size, flush=True)"
    needs = Needs(ranks=2)
    kind = TaskKind(id=1, name="mpi", work=CommandLine((sys.executable, "-c", program)), needs=needs)
    hub.run(1, kind, spec(1, kind))
    outcome = hub.outcome(1)
    assert outcome.failure is None, hub.values
    assert hub.values[1, 1]["stdout"].split() == ["3", "2"] * 2
