"""Whom a worker obeys, what it keeps for the next hub, and who that is."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest
import work_for_workers as work
from fake_hub import FakeHub, spec

from mpiexec_runner.app.record import create_record
from mpiexec_runner.app.wiring import make_scheduler
from mpiexec_runner.core.kinds import Kind
from mpiexec_runner.core.settings import HeartbeatSettings, SchedulerSettings
from mpiexec_runner.core.state import RunState
from mpiexec_runner.core.tasks import Task
from mpiexec_runner.core.tasks import Worker as KnownWorker
from mpiexec_runner.errors import Fenced, PeerError, UserError
from mpiexec_runner.model.events import RunOpened, Tick, WorkerSwitched
from mpiexec_runner.model.messages import Finished, Kept, Leave, Pulse, RollCall, Run, Welcome
from mpiexec_runner.model.tasks import CallByName, Mode, Outcome, TaskKind, TaskSpec, Verdict
from mpiexec_runner.model.workers import WorkerInfo, WorkerState
from mpiexec_runner.runtime import failover
from mpiexec_runner.runtime.failover import Allegiance, Unconfirmed
from mpiexec_runner.runtime.hub import Hub, RunClock
from mpiexec_runner.runtime.interpreter import Interpreter
from mpiexec_runner.runtime.term import StepAside, Term
from mpiexec_runner.runtime.worker import Worker
from mpiexec_runner.storage.journal import JournalWriter
from mpiexec_runner.storage.lease import Lease
from mpiexec_runner.storage.memory_journal import MemoryJournal
from mpiexec_runner.storage.owner import Owner, find_owner, this_process
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.loopback import LoopbackTransport, loopback

ECHO = TaskKind(id=1, name="echo", work=CallByName("work_for_workers:echo"), mode=Mode.INLINE)
HOLD = TaskKind(id=2, name="hold", work=CallByName("work_for_workers:hold"), mode=Mode.THREAD)


class Heir:
    """Notes what it is asked to do."""

    def __init__(self, run_dir: str = "") -> None:
        self.run_dir = run_dir
        self.led: list[Lease] = []
        self.unreachable: set[int] = set()
        self.met: list[int] = []

    def lead(self, lease: Lease, former: Owner | None, gone: object) -> None:
        self.led.append(lease)

    def meet(self, directory: Path, owner: Owner) -> bool:
        if owner.rank in self.unreachable:
            self.met.append(owner.epoch)
        return owner.rank in self.unreachable

    def give_up(self, why: str) -> NoReturn:
        raise UserError(why)


def owned_by(directory: Path, epoch: int, *, rank: int = 0, life: int = 1, released: bool = False) -> Owner:
    """The directory belongs to a hub of this job."""
    owner = msgspec.structs.replace(this_process(epoch, rank, life), released=released)
    (directory / "owner").write_bytes(msgspec.json.encode(owner))
    return owner


class Rank:
    """One rank without a worker, under hub 0 of epoch 1, at times that the test says."""

    def __init__(self, directory: Path, rank: int, size: int = 4, silence_s: float = 10.0) -> None:
        self.heir = Heir()
        self.directory = directory
        self.allegiance = Allegiance(loopback(size)[rank], 0, self.heir)
        assert self.allegiance.called(0, RollCall(1, 1, str(directory), silence_s))
        self.began = time.monotonic()

    def look(self, after_s: float) -> Leave | None:
        return self.allegiance.look(self.began + after_s)

    def wait(self, until_s: float, begin_s: float = 0.0) -> Leave | None:
        """Look often, so that it was never away."""
        found = None
        for step in range(int(begin_s * 10), int(until_s * 10) + 1):
            found = found or self.look(step / 10)
        return found


# --- who follows


def test_the_lowest_rank_that_is_not_known_to_be_dead_follows_at_once(tmp_path: Path) -> None:
    owned_by(tmp_path, 1)
    rank = Rank(tmp_path, 2)
    rank.allegiance.dead.update({0: "its process died", 1: "its process died"})
    assert rank.look(0.1) is None
    assert [(lease.epoch, lease.life) for lease in rank.heir.led] == [(2, 1)]
    owner = find_owner(tmp_path)
    assert owner is not None
    assert (owner.epoch, owner.rank, owner.life) == (2, 2, 1)


def test_a_rank_above_waits_for_the_lower_one_and_then_tries(tmp_path: Path) -> None:
    owned_by(tmp_path, 1)
    rank = Rank(tmp_path, 2)
    rank.allegiance.dead[0] = "its process died"
    rank.wait(failover.CLAIM_WITHIN_S - 0.2)
    assert not rank.heir.led
    rank.wait(failover.CLAIM_WITHIN_S + 0.2, failover.CLAIM_WITHIN_S)
    assert len(rank.heir.led) == 1


def test_who_has_taken_the_lease_is_waited_for_unless_it_dies(tmp_path: Path) -> None:
    owned_by(tmp_path, 2, rank=1)
    rank = Rank(tmp_path, 2)
    rank.allegiance.dead[0] = "its process died"
    rank.wait(failover.CLAIM_WITHIN_S + 5)
    assert not rank.heir.led
    rank.allegiance.dead[1] = "its process died"
    rank.look(failover.CLAIM_WITHIN_S + 6)
    assert [lease.epoch for lease in rank.heir.led] == [3]


def test_who_has_taken_the_lease_and_never_calls_is_passed(tmp_path: Path) -> None:
    owned_by(tmp_path, 2, rank=1)
    rank = Rank(tmp_path, 2)
    rank.allegiance.dead[0] = "its process died"
    rank.wait(failover.CLAIM_WITHIN_S + failover.CALL_WITHIN_S + 1)
    assert [lease.epoch for lease in rank.heir.led] == [3]


def test_a_call_of_a_larger_epoch_ends_the_waiting(tmp_path: Path) -> None:
    owned_by(tmp_path, 1)
    rank = Rank(tmp_path, 2)
    rank.allegiance.dead[0] = "its process died"
    rank.look(0.1)
    assert rank.allegiance.is_vacant
    assert rank.allegiance.called(1, RollCall(2, 1, str(tmp_path), 10.0))
    assert not rank.allegiance.is_vacant
    assert not rank.allegiance.heard(0)
    assert not rank.allegiance.called(0, RollCall(1, 1, str(tmp_path), 10.0))
    assert not rank.allegiance.called(3, RollCall(2, 1, str(tmp_path), 10.0))
    assert rank.allegiance.hub == 1


def test_a_run_that_has_ended_needs_nobody(tmp_path: Path) -> None:
    owned_by(tmp_path, 1, released=True)
    rank = Rank(tmp_path, 1)
    rank.allegiance.dead[0] = "its process died"
    assert rank.look(0.1) == Leave(orderly=False)
    assert not rank.heir.led


def test_a_run_that_a_stranger_has_taken_is_left_to_it(tmp_path: Path) -> None:
    owned_by(tmp_path, 2, life=2)
    rank = Rank(tmp_path, 1)
    rank.allegiance.dead[0] = "its process died"
    with pytest.raises(UserError, match=f"rank 0, is gone: its process died; {tmp_path} was taken over by"):
        rank.look(0.1)


def test_a_hub_without_an_epoch_cannot_be_followed() -> None:
    allegiance = Allegiance(loopback(2)[1], 0, None)
    assert allegiance.called(0, RollCall())
    allegiance.dead[0] = "its process died"
    with pytest.raises(PeerError, match="the hub, rank 0, is gone: its process died"):
        allegiance.look(time.monotonic())


def test_a_hub_that_died_before_it_called_is_followed_where_the_run_is_known(tmp_path: Path) -> None:
    heir = Heir(str(tmp_path))
    allegiance = Allegiance(loopback(3)[1], 0, heir)
    allegiance.dead[0] = "its process died"
    allegiance.look(time.monotonic())
    assert [(lease.epoch, lease.life) for lease in heir.led] == [(1, 1)]


def test_a_hub_without_a_way_to_it_is_met_and_waited_for_while_it_lives(tmp_path: Path) -> None:
    alive = owned_by(tmp_path, 2, rank=5)
    rank = Rank(tmp_path, 2)
    rank.heir.unreachable = {5}
    rank.allegiance.dead[0] = "its process died"
    rank.wait(failover.CLAIM_WITHIN_S + failover.CALL_WITHIN_S + 1)
    assert set(rank.heir.met) == {2}
    assert not rank.heir.led
    dead = msgspec.structs.replace(alive, pid_start=alive.pid_start + 1)
    (tmp_path / "owner").write_bytes(msgspec.json.encode(dead))
    rank.look(failover.CLAIM_WITHIN_S + failover.CALL_WITHIN_S + 2)
    assert [lease.epoch for lease in rank.heir.led] == [3]


def test_who_was_started_by_a_hub_that_never_called_comes_to_whoever_leads(tmp_path: Path) -> None:
    owned_by(tmp_path, 1)
    heir = Heir()
    heir.unreachable = {0, 2}
    allegiance = Allegiance(loopback(6)[5], 0, heir)
    allegiance.await_call(RollCall(1, 1, str(tmp_path)), [1])
    began = time.monotonic()
    allegiance.look(began)
    owned_by(tmp_path, 2, rank=2)
    allegiance.look(began + 1)
    assert heir.met == [1, 2]
    assert allegiance.is_vacant
    assert allegiance.called(2, RollCall(2, 1, str(tmp_path)))
    assert not allegiance.is_vacant


def test_who_the_last_hub_said_was_gone_is_not_waited_for(tmp_path: Path) -> None:
    owned_by(tmp_path, 1)
    rank = Rank(tmp_path, 3)
    rank.allegiance.passed |= {1, 2}
    rank.allegiance.dead[0] = "its process died"
    rank.look(0.1)
    assert len(rank.heir.led) == 1


# --- silence


def test_a_silent_hub_is_followed_and_one_that_speaks_is_not(tmp_path: Path) -> None:
    owned_by(tmp_path, 1)
    rank = Rank(tmp_path, 1, silence_s=10.0)
    rank.wait(9.8)
    assert not rank.allegiance.is_vacant
    rank.wait(10.3, 9.9)
    assert [lease.epoch for lease in rank.heir.led] == [2]


def test_a_silent_hub_that_speaks_before_anybody_followed_leads_on(tmp_path: Path) -> None:
    owned_by(tmp_path, 1)
    rank = Rank(tmp_path, 2, silence_s=10.0)
    rank.wait(11.0)
    assert rank.allegiance.is_vacant
    assert rank.allegiance.heard(0)
    assert not rank.allegiance.is_vacant


def test_a_rank_that_was_itself_away_holds_no_silence_against_its_hub(tmp_path: Path) -> None:
    owned_by(tmp_path, 1)
    rank = Rank(tmp_path, 1, silence_s=10.0)
    rank.look(0.1)
    rank.look(500.0)
    assert not rank.allegiance.is_vacant


# --- the lease of a hub that was followed


def test_who_was_followed_is_fenced_and_knows_by_whom(tmp_path: Path) -> None:
    old = Lease.acquire(tmp_path)
    old.confirm()
    owner = find_owner(tmp_path)
    assert owner is not None
    new = Lease.succeed(tmp_path, owner, rank=3)
    for verb in (old.confirm, old.renew, old.release):
        with pytest.raises(Fenced, match="epoch 1"):
            verb()
    assert old.is_inherited()
    new.confirm()
    with pytest.raises(UserError, match="just now"):
        Lease.succeed(tmp_path, owner, rank=2)
    Lease.acquire(tmp_path, take_over=True)
    assert not old.is_inherited(), "that one is of another job"


class Nobody:
    """Listens to nothing. See ``core/listener.py``."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class Clock(RunClock):
    """Goes on by itself, and by what the test adds."""

    added_s = 0.0

    def now(self) -> float:
        return super().now() + self.added_s


def bytes_in(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("notices_by", ["its absence", "the call of the next"])
def test_a_hub_that_was_followed_while_it_was_stopped_writes_nothing_more(
    tmp_path: Path, notices_by: str
) -> None:
    keeper = create_record(tmp_path, "run", "name: run\n", exact=tmp_path / "run")
    directory = Path(keeper.run_dir)
    transport, worker = loopback(2)
    scheduler = make_scheduler(SchedulerSettings(), HeartbeatSettings())
    term = Term(transport, [1], RollCall(1, 1, str(directory)), HeartbeatSettings())
    interpreter = Interpreter(transport, keeper, Nobody(), scheduler.state, 5.0)
    clock = Clock()
    hub = Hub(transport, [1], scheduler, keeper, Nobody(), interpreter, clock, term=term)
    hub.post(RunOpened(1, 1), Tick())
    assert hub.turn()
    owner = find_owner(directory)
    assert owner is not None
    Lease.succeed(directory, owner, rank=1)
    before = bytes_in(directory)
    hub.post(Tick())
    if notices_by == "its absence":
        clock.added_s = 2.0
    else:
        worker.send(0, codec.encode([RollCall(2, 1, str(directory))]))
    with pytest.raises(Fenced):
        hub.turn()
    assert bytes_in(directory) == before
    assert messages(worker) == []


# --- results that may not be on record


def result(task: int, size: int = 1) -> Finished:
    return Finished([Outcome(task, 1, Verdict.SUCCEEDED, 0.0, 0.0, b"x" * size)])


def left(unconfirmed: Unconfirmed) -> list[int]:
    return [finished.outcomes[0].task for finished, _ in unconfirmed]


def test_results_are_kept_until_they_are_confirmed_by_this_hub_or_the_next() -> None:
    unconfirmed = Unconfirmed()
    for task in range(1, 6):
        unconfirmed.add(result(task), [])
    unconfirmed.confirm(2)
    assert left(unconfirmed) == [3, 4, 5]
    unconfirmed.restart()
    unconfirmed.confirm(1)
    assert left(unconfirmed) == [4, 5]
    unconfirmed.confirm(9)
    assert left(unconfirmed) == []


def test_the_oldest_results_go_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "KEPT_BYTES", 3000)
    unconfirmed = Unconfirmed()
    for task in range(1, 6):
        unconfirmed.add(result(task, 400), [b"y" * 400])
    assert left(unconfirmed) == [3, 4, 5]
    unconfirmed.confirm(4)
    assert left(unconfirmed) == [5]


def test_kept_results_are_copies_and_the_largest_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "COPIED_BYTES", 1000)
    unconfirmed = Unconfirmed()
    data = bytearray(b"fresh")
    unconfirmed.add(result(1), [data])
    unconfirmed.add(result(2, 2000), [])
    unconfirmed.add(result(3), [])
    data[:] = b"other"
    assert [parts for _, parts in unconfirmed] == [[b"fresh"], []]
    unconfirmed.confirm(2)
    assert left(unconfirmed) == [3]
    unconfirmed.add(result(4, 2000), [])
    unconfirmed.restart()
    unconfirmed.add(result(5), [])
    unconfirmed.confirm(1)
    assert left(unconfirmed) == [5]


def test_a_hub_confirms_what_would_survive_its_host(tmp_path: Path) -> None:
    hub, *workers = loopback(3)
    term = Term(hub, [1, 2], RollCall(1, 1, str(tmp_path)), HeartbeatSettings())
    journal = JournalWriter(tmp_path, run_id="r", epoch=1, fsync_s=3600.0)
    term.took(1)
    term.took(1)
    journal.append(1.0, [])
    term.confirm(journal, 1.0)
    term.confirm(journal, 1.1)
    assert messages(workers[0]) == []
    journal.sync()
    term.confirm(journal, 1.2)
    assert messages(workers[0]) == [Kept(2)]
    assert messages(workers[1]) == []
    term.confirm(journal, 3.0)
    term.confirm(journal, 3.1)
    assert messages(workers[0]) == []
    journal.close()


def test_a_hub_calls_once_and_shows_that_it_lives(tmp_path: Path) -> None:
    hub, worker = loopback(2)
    term = Term(hub, [1], RollCall(3, 2, "dir"), HeartbeatSettings(interval_s=0.001, timeout_s=7))
    term.begin()
    term.begin()
    seen: list[object] = []
    give_up_at = time.monotonic() + 30
    while seen.count(Pulse(3)) < 2:
        seen += messages(worker)
        assert time.monotonic() < give_up_at
    term.end()
    assert seen[0] == RollCall(3, 2, "dir", 7)
    assert set(map(type, seen[1:])) == {Pulse}


def test_a_hub_tells_all_others_at_once_who_is_gone_and_calls_those_who_come_later(tmp_path: Path) -> None:
    hub, *workers = loopback(4)
    call = RollCall(3, 2, "dir")
    term = Term(hub, [1, 2], call, HeartbeatSettings(interval_s=3600, timeout_s=10800), gone=[9])
    term.begin()
    called = [RollCall(3, 2, "dir", 10800), Pulse(3, (9,))]
    assert [messages(worker) for worker in workers] == [called, called, []]
    term.lost(1)
    term.call(3)
    term.end()
    assert [messages(worker) for worker in workers] == [
        [],
        [Pulse(3, (1, 9))],
        [called[0], Pulse(3, (1, 9))],
    ]


def messages(transport: LoopbackTransport) -> list[object]:
    return [message for packet in transport.receive() for message in codec.decode(packet.body)]


# --- a worker that changes its hub


class Hubs:
    """Two hubs and a worker between them: ranks 0, 2 and 1."""

    def __init__(self, directory: Path) -> None:
        first, middle, second = loopback(3)
        self.run_dir = str(directory)
        self.worker = Worker(middle, WorkerInfo("host", 1), dict(os.environ), heir=Heir())
        self.first, self.second = FakeHub(first, [], self.run_dir), FakeHub(second, [], self.run_dir)
        self.thread = threading.Thread(target=self.worker.serve, daemon=True)
        self.thread.start()
        self.call(self.first, 1)
        self.first.send(1, Welcome(1, self.run_dir, True, 0.05))

    def call(self, hub: FakeHub, epoch: int) -> None:
        hub.send(1, RollCall(epoch, 1, self.run_dir, 100.0))


@pytest.fixture
def hubs(tmp_path: Path) -> Iterator[Hubs]:
    work.gate.clear()
    made = Hubs(tmp_path)
    yield made
    work.gate.set()
    made.second.send(1, Leave(orderly=True))
    made.first.send(1, Leave(orderly=True))
    made.thread.join(30)
    assert not made.thread.is_alive()


def test_the_next_hub_hears_what_runs_and_what_may_not_be_on_record(hubs: Hubs) -> None:
    for task in (1, 2):
        hubs.first.run(1, ECHO, spec(task, ECHO, task))
        assert hubs.first.value(task) == task
    hubs.first.send(1, Kept(1))
    hubs.first.run(1, HOLD, spec(3, HOLD), spec(4, HOLD))
    hubs.first.until(lambda: (3, 1) in hubs.first.started)
    hubs.call(hubs.second, 2)
    hubs.second.until(lambda: 1 in hubs.second.infos)
    hello = hubs.second.infos[1]
    assert (hello.incarnation, hello.running) == (1, [(3, 1)])
    assert [outcome.task for _, outcome in hubs.second.outcomes] == [2]
    hubs.second.send(1, Welcome(2, hubs.run_dir, True, 0.05, keep=True))
    hubs.second.until(lambda: any(beat.incarnation == 2 for beat in hubs.second.beats))
    work.gate.set()
    assert hubs.second.outcome(3).verdict is Verdict.SUCCEEDED
    assert 4 not in {outcome.task for _, outcome in hubs.second.outcomes}, "what had not begun was dropped"


def test_a_hub_that_was_followed_is_not_obeyed_and_harms_nobody(hubs: Hubs) -> None:
    hubs.call(hubs.second, 2)
    hubs.second.until(lambda: 1 in hubs.second.infos)
    hubs.first.transport.send(1, b"nonsense")
    hubs.first.run(1, ECHO, spec(8, ECHO, "stale"))
    hubs.first.send(1, Run((), [TaskSpec(9, 77, b"")], [1]))
    hubs.call(hubs.first, 1)
    hubs.first.send(1, Leave(orderly=False))
    hubs.second.send(1, Welcome(2, hubs.run_dir, True, 0.05))
    hubs.second.run(1, ECHO, spec(1, ECHO, "fresh"))
    assert hubs.second.value(1) == "fresh"
    hubs.first.hear()
    assert not hubs.first.outcomes
    assert hubs.thread.is_alive()


# --- the worker beside a hub


def fleet(*states: WorkerState) -> RunState:
    state = RunState()
    for id_, one in enumerate(states, 1):
        worker = KnownWorker(id_, WorkerInfo("host", id_), tasks={})
        worker.state = one
        state.workers[id_] = worker
    return state


def test_the_worker_beside_a_hub_steps_aside_for_others_and_comes_back_when_they_are_gone() -> None:
    aside = StepAside(1)
    state = fleet(WorkerState.ALIVE, WorkerState.ALIVE)
    aside_now = WorkerSwitched(1, enabled=False, why=StepAside.WHY, by_hand=False)
    assert list(aside.events(state)) == [aside_now]
    state.workers[1].disabled = StepAside.WHY
    assert list(aside.events(state)) == []
    state.workers[2].state = WorkerState.LOST
    assert list(aside.events(state)) == [WorkerSwitched(1, enabled=True)]


def test_it_finishes_what_it_runs_first_and_leaves_people_their_word() -> None:
    aside = StepAside(1)
    state = fleet(WorkerState.ALIVE, WorkerState.ALIVE)
    state.workers[1].tasks[1] = Task(TaskSpec(1, 1, b""), Kind(ECHO))
    assert list(aside.events(state)) == []
    state.workers[1].tasks.clear()
    state.workers[1].disabled = "disabled by hand: noisy"
    state.workers[2].state = WorkerState.LOST
    assert list(aside.events(state)) == []


def test_it_works_where_the_others_cannot_do_what_is_left() -> None:
    aside = StepAside(1)
    state = fleet(WorkerState.ALIVE, WorkerState.ALIVE)
    state.workers[1].disabled = StepAside.WHY
    task = Task(TaskSpec(1, 1, b""), Kind(ECHO))
    state.tasks[1] = task
    state.counts[0] += 1
    state.ready.push(task)
    assert list(aside.events(state)) == []
    state.now += 5.0
    assert list(aside.events(state)) == [WorkerSwitched(1, enabled=True)]


def test_memory_keeps_nothing_to_wait_for() -> None:
    assert MemoryJournal().is_durable(MemoryJournal().count())
