"""Which rank that dies is replaced, and how often; starting a rank is a list of what was asked for."""

import os
import subprocess
import threading
import time

import msgspec
import pytest

from mpiexec_runner.app.absent import COME_WITHIN_S, Absent
from mpiexec_runner.app.replacing import FAILURES_OF_A_HOST, Berth, Posting, ReplacingTransport
from mpiexec_runner.errors import PeerError
from mpiexec_runner.execute.machine import host_name
from mpiexec_runner.model.workers import WorkerInfo
from mpiexec_runner.runtime.settings import WorkerSettings
from mpiexec_runner.storage.roster import Newcomer, Roster
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.port import DIED

TIMEOUT_S = 20.0


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch):
    monkeypatch.setattr("mpiexec_runner.app.replacing.LOOK_EVERY_S", 0.0)


class FakeOuter:
    """Three ranks; further ones once they are added."""

    def __init__(self):
        self.rank, self.size, self.threaded = 0, 3, True
        self.neighbours, self.groups = {}, None
        self.dead, self.sent, self.added = [], [], set()

    def leads_to(self, rank):
        return rank < 3 or rank in self.added

    def add(self, rank):
        self.added.add(rank)
        self.size = max(self.size, rank + 1)

    def send(self, dest, body, buffers=()):
        self.sent.append((dest, codec.decode(body), list(buffers)))

    def receive(self):
        return []

    def unsent(self):
        return 0

    def gone(self):
        found, self.dead = self.dead, []
        return found

    def close(self, *, orderly):
        pass


class Stage:
    """A transport that replaces ranks, and what it asked for."""

    def __init__(self, run_dir, rank=0, **settings):
        self.outer, self.hosts = FakeOuter(), {1: "a", 2: "a"}
        self.outer.rank = rank
        self.roster = Roster(run_dir, 1)
        self.berths, self.notes, self.broken = [], [], False
        self.may_start = threading.Event()
        self.may_start.set()
        self.transport = ReplacingTransport(
            self.outer,
            self.spawn,
            WorkerSettings(replace=True, **settings),
            lambda: self.hosts,
            lambda rank, what: self.notes.append((rank, what)),
            Posting(str(run_dir), self.roster, 7, 5, 3),
        )

    def spawn(self, berth, host):
        assert self.may_start.wait(TIMEOUT_S)
        self.berths.append((berth, host))
        if self.broken:
            raise PeerError("no room")
        self.outer.add(berth.rank)

    def die(self, rank, why=DIED):
        self.outer.dead.append((rank, why))
        assert self.transport.gone() == [(rank, why)]

    def settle(self):
        """Wait until whoever was asked for is here, or is not coming."""
        give_up = time.monotonic() + TIMEOUT_S
        while self.transport._coming:
            self.transport.receive()
            assert time.monotonic() < give_up
            time.sleep(0.001)

    def started(self):
        return [(berth.rank, berth.place) for berth, _ in self.berths]

    def said(self):
        return [what for _, what in self.notes]


def test_one_that_died_is_replaced_under_a_new_number(tmp_path):
    stage = Stage(tmp_path)
    stage.die(2)
    stage.settle()
    ((berth, host),) = stage.berths
    assert (berth.rank, berth.hub, berth.place, berth.neighbours, host) == (3, 0, 2, (1, 2), "a")
    assert (berth.epoch, berth.life, berth.gone) == (7, 5, (2,))
    assert stage.notes == [(2, "is replaced by rank 3")]
    assert stage.transport.size == 4


def test_the_replacement_of_a_replacement_takes_the_first_ones_place(tmp_path):
    stage = Stage(tmp_path)
    stage.die(2)
    stage.settle()
    stage.hosts[3] = "a"
    stage.die(3)
    stage.settle()
    assert [(berth.rank, berth.place, berth.neighbours) for berth, _ in stage.berths] == [
        (3, 2, (1, 2)),
        (4, 2, (1, 2)),
    ]


def test_what_is_sent_to_one_on_its_way_waits_for_it(tmp_path):
    stage = Stage(tmp_path)
    stage.may_start.clear()
    stage.die(1)
    stage.transport.send(3, codec.encode([]), [b"beside"])
    assert stage.transport.receive() == []
    assert stage.outer.sent == []
    stage.may_start.set()
    stage.settle()
    assert stage.outer.sent == [(3, [], [b"beside"])]


def test_two_on_their_way_have_different_numbers(tmp_path):
    stage = Stage(tmp_path)
    stage.may_start.clear()
    stage.die(1)
    stage.die(2)
    stage.may_start.set()
    stage.settle()
    assert sorted(stage.outer.added) == [3, 4]


def test_one_that_talked_nonsense_is_not_replaced_since_it_lives(tmp_path):
    stage = Stage(tmp_path)
    stage.die(1, "it sent nonsense")
    assert stage.notes == []
    assert not stage.berths


def test_one_that_never_said_where_it_was_is_not_replaced(tmp_path):
    stage = Stage(tmp_path)
    del stage.hosts[1]
    stage.die(1)
    assert stage.said() == ["is not replaced: it never said on which host it was"]


def test_a_place_is_replaced_only_so_many_times(tmp_path):
    stage = Stage(tmp_path, max_replacements=2)
    for rank in (1, 3, 4):
        stage.hosts[rank] = "a"
        stage.die(rank)
        stage.settle()
    assert stage.said()[-1] == "is not replaced: workers.max_replacements (2) is reached"
    stage.die(2)
    assert stage.notes[-1] == (2, "is replaced by rank 5")


def test_a_host_on_which_none_can_be_started_is_given_up(tmp_path):
    stage = Stage(tmp_path)
    stage.broken = True
    stage.die(1)
    stage.settle()
    assert len(stage.berths) == FAILURES_OF_A_HOST
    assert stage.notes[:2] == [(1, "is replaced by rank 3"), (3, "could not be started: no room")]
    assert (
        stage.said()[-1] == f"is not replaced: {FAILURES_OF_A_HOST} ranks in a row could not be started on a"
    )
    assert not stage.outer.added


def test_one_that_never_arrives_is_not_waited_for(monkeypatch, tmp_path):
    stage = Stage(tmp_path, max_replacements=2)
    stage.may_start.clear()
    monkeypatch.setattr("mpiexec_runner.app.replacing.START_WITHIN_S", 0.0)
    stage.die(1)
    stage.settle()
    assert stage.said() == [
        "is replaced by rank 3",
        "has not arrived within 0 s, and is not waited for",
        "is replaced by rank 4",
        "has not arrived within 0 s, and is not waited for",
        "is not replaced: workers.max_replacements (2) is reached",
    ]
    stage.may_start.set()


def test_one_that_dies_before_it_arrives_is_replaced_at_once(monkeypatch, tmp_path):
    there = set()
    monkeypatch.setattr("mpiexec_runner.app.replacing.family_words", lambda: there)
    stage = Stage(tmp_path)
    stage.hosts[1] = host_name()
    stage.may_start.clear()
    stage.die(1)
    (coming,) = stage.transport._coming.values()
    stage.transport.receive()
    assert stage.said() == ["is replaced by rank 3"], "it was not seen yet"
    there.add(coming.berth.argv[-1])
    stage.transport.receive()
    there.clear()
    stage.transport.receive()
    assert stage.said()[1:] == ["died before it arrived", "is replaced by rank 4"]
    stage.may_start.set()


def test_a_berth_is_a_plain_line_of_json():
    settings = WorkerSettings(tags={"fast": {"ranks": [2]}}).model_dump_json()
    berth = Berth(3, 0, 1, 1, 2, (1, 2), settings, 3, "run", (1,))
    assert msgspec.json.decode(berth.argv[-1], type=Berth) == berth


# --- a hub that follows another one


def test_who_follows_a_hub_goes_on_with_its_numbers_and_fills_the_place_that_it_leaves_itself(tmp_path):
    for rank, place in ((3, 2), (4, 2)):
        Roster(tmp_path, 1).enter(Newcomer(rank, place, "a"))
    stage = Stage(tmp_path, rank=1)
    stage.hosts |= {3: "a", 4: "a"}
    stage.transport.take_stock({0, 2, 3}, 0, {})
    stage.settle()
    assert stage.started() == [(5, 1)], "2 and 3 have been replaced by the hub before, and 0 did not work"
    assert stage.notes == [(0, "is replaced by rank 5")]
    stage.die(4)
    stage.settle()
    assert stage.started()[1:] == [(6, 2)]


def test_a_hub_that_works_is_replaced_itself(tmp_path):
    stage = Stage(tmp_path, rank=1, hub_works=True)
    stage.hosts[0] = "a"
    stage.transport.take_stock({0}, 0, {})
    stage.settle()
    assert stage.started() == [(3, 0)]


def test_how_often_a_place_was_replaced_is_counted_across_hubs(tmp_path):
    Roster(tmp_path, 1).enter(Newcomer(3, 2, "a"))
    stage = Stage(tmp_path, rank=1, max_replacements=1)
    stage.hosts[3] = "a"
    stage.transport.take_stock({3}, -1, {})
    assert stage.notes == [(3, "is not replaced: workers.max_replacements (1) is reached")]


def test_numbers_of_an_earlier_job_are_free(tmp_path):
    Roster(tmp_path, 7).enter(Newcomer(3, 2, "a"))
    roster = Roster(tmp_path, 8)
    roster.begin()
    assert (roster.read(), roster.enter(Newcomer(3, 1, "b")), roster.enter(Newcomer(3, 2, "b"))) == (
        [],
        True,
        False,
    )
    assert roster.read() == [Newcomer(3, 1, "b")]


def test_who_does_not_come_to_the_new_hub_is_replaced_once_that_is_sure(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("mpiexec_runner.app.replacing.Absent", lambda infos: Absent(infos, lambda: now[0]))
    for rank, place in ((3, 2), (4, 1), (5, 0)):
        Roster(tmp_path, 1).enter(Newcomer(rank, place, "a"))
    stage = Stage(tmp_path, rank=2, hub_works=True)
    stage.hosts[3] = "a"
    never = WorkerInfo("elsewhere", 1)
    stage.transport.take_stock(set(), 0, {0: None, 1: None, 2: None, 3: never})
    assert stage.transport.gone() == []
    now[0] = COME_WITHIN_S
    stage.outer.add(4)  # came through a door
    assert stage.transport.gone() == [(3, DIED), (5, DIED)], "the last one has never said a word"
    stage.settle()
    assert stage.started() == [(6, 2), (7, 0)]


def test_of_this_machine_it_is_known_who_is_dead():
    here = [WorkerInfo(host_name(), pid) for pid in (os.getpid(), _pid_of_the_dead())]
    absent = Absent(dict(enumerate(here)))
    assert absent.gone(lambda _: False) == [(1, DIED)]


def _pid_of_the_dead():
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid
