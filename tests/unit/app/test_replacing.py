"""Which rank that dies is replaced, and how often; starting a rank is a list of what was asked for."""

import threading
import time

import msgspec

from mpiexec_runner.app.replacing import FAILURES_OF_A_HOST, Berth, ReplacingTransport
from mpiexec_runner.errors import PeerError
from mpiexec_runner.model.messages import RollCall
from mpiexec_runner.runtime.settings import WorkerSettings
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.port import DIED

TIMEOUT_S = 20.0


class FakeOuter:
    """Three ranks; further ones once they are added."""

    def __init__(self):
        self.rank, self.size, self.threaded = 0, 3, True
        self.neighbours, self.groups = {}, None
        self.dead, self.sent, self.added = [], [], {}

    def add(self, rank, link):
        self.added[rank] = link
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

    def __init__(self, **settings):
        self.outer, self.hosts = FakeOuter(), {1: "a", 2: "a"}
        self.berths, self.notes, self.broken = [], [], False
        self.may_start = threading.Event()
        self.may_start.set()
        self.transport = ReplacingTransport(
            self.outer,
            self.outer.add,
            self.spawn,
            WorkerSettings(replace=True, **settings),
            lambda: self.hosts,
            lambda rank, what: self.notes.append((rank, what)),
        )

    def spawn(self, berth, host):
        assert self.may_start.wait(TIMEOUT_S)
        self.berths.append((berth, host))
        if self.broken:
            raise PeerError("no room")
        return f"link to {berth.rank}"

    def die(self, rank, why=DIED):
        self.outer.dead.append((rank, why))
        assert self.transport.gone() == [(rank, why)]

    def settle(self):
        """Wait until whoever was asked for is here, or is not coming."""
        give_up = time.monotonic() + TIMEOUT_S
        while self.transport.unsent():
            assert time.monotonic() < give_up
            time.sleep(0.001)

    def said(self):
        return [what for _, what in self.notes]


def test_one_that_died_is_replaced_under_a_new_number():
    stage = Stage()
    stage.die(2)
    stage.settle()
    ((berth, host),) = stage.berths
    assert (berth.rank, berth.hub, berth.place, berth.neighbours, host) == (3, 0, 2, (1, 2), "a")
    assert stage.outer.added == {3: "link to 3"}
    assert stage.outer.sent == [(3, [RollCall()], [])]
    assert stage.notes == [(2, "is replaced by rank 3")]
    assert stage.transport.size == 4


def test_the_replacement_of_a_replacement_takes_the_first_ones_place():
    stage = Stage()
    stage.die(2)
    stage.settle()
    stage.hosts[3] = "a"
    stage.die(3)
    stage.settle()
    assert [(berth.rank, berth.place, berth.neighbours) for berth, _ in stage.berths] == [
        (3, 2, (1, 2)),
        (4, 2, (1, 2)),
    ]


def test_what_is_sent_to_one_on_its_way_waits_for_it():
    stage = Stage()
    stage.may_start.clear()
    stage.die(1)
    stage.transport.send(3, codec.encode([]), [b"beside"])
    assert stage.transport.receive() == []
    assert stage.transport.unsent() == 1
    assert stage.outer.sent == []
    stage.may_start.set()
    stage.settle()
    assert stage.outer.sent == [(3, [RollCall()], []), (3, [], [b"beside"])]


def test_two_on_their_way_have_different_numbers():
    stage = Stage()
    stage.may_start.clear()
    stage.die(1)
    stage.die(2)
    stage.may_start.set()
    stage.settle()
    assert sorted(stage.outer.added) == [3, 4]


def test_one_that_talked_nonsense_is_not_replaced_since_it_lives():
    stage = Stage()
    stage.die(1, "it sent nonsense")
    assert stage.notes == []
    assert stage.transport.unsent() == 0


def test_one_that_never_said_where_it_was_is_not_replaced():
    stage = Stage()
    del stage.hosts[1]
    stage.die(1)
    assert stage.said() == ["is not replaced: it never said on which host it was"]


def test_a_place_is_replaced_only_so_many_times():
    stage = Stage(max_replacements=2)
    for rank in (1, 3, 4):
        stage.hosts[rank] = "a"
        stage.die(rank)
        stage.settle()
    assert stage.said()[-1] == "is not replaced: workers.max_replacements (2) is reached"
    stage.die(2)
    assert stage.notes[-1] == (2, "is replaced by rank 5")


def test_a_host_on_which_none_can_be_started_is_given_up():
    stage = Stage()
    stage.broken = True
    for rank in range(1, FAILURES_OF_A_HOST + 2):
        stage.hosts[rank] = "a"
        stage.die(rank)
        stage.settle()
    assert (3, "could not be started: no room") in stage.notes
    assert (
        stage.said()[-1] == f"is not replaced: {FAILURES_OF_A_HOST} ranks in a row could not be started on a"
    )
    assert stage.outer.added == {}


def test_one_that_never_arrives_is_not_waited_for(monkeypatch):
    stage = Stage()
    stage.may_start.clear()
    monkeypatch.setattr("mpiexec_runner.app.replacing.START_WITHIN_S", 0.0)
    stage.die(1)
    stage.settle()
    assert stage.notes[-1] == (3, "has not arrived within 0 s, and is not waited for")
    stage.die(2)
    assert stage.said()[-1] == "is not replaced: a rank that was started before has never arrived"
    stage.may_start.set()


def test_a_berth_is_a_plain_line_of_json():
    berth = Berth(3, 0, 2, (1, 2), WorkerSettings(tags={"fast": {"ranks": [2]}}).model_dump_json())
    assert msgspec.json.decode(msgspec.json.encode(berth), type=Berth) == berth
