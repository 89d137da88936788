"""What comes from workers is taken in in order, and large values not before they are kept."""

from concurrent.futures import Future

import pytest

from mpiexec_runner.errors import StorageFull
from mpiexec_runner.model.messages import AnyMessage, Beat, Finished, Started
from mpiexec_runner.model.tasks import BlobRef, Outcome, Verdict
from mpiexec_runner.model.workers import Load
from mpiexec_runner.runtime.intake import Intake
from mpiexec_runner.storage.blobs import MemoryBlobs
from mpiexec_runner.transport import codec
from mpiexec_runner.transport.port import Packet

FULL = StorageFull("cannot write /r/blobs: No space left on device")


class SlowBlobs(MemoryBlobs):
    """Keeps when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[tuple[str, Future[BlobRef]]] = []
        self.full = False

    def put(self, key, parts):
        if self.full:
            raise FULL
        return super().put(key, parts)

    def begin_put(self, key, parts):
        self.begun.append((key, Future()))
        return self.begun[-1][1]

    def end(self, key: str, error: Exception | None = None) -> None:
        (future,) = [future for name, future in self.begun if name == key and not future.done()]
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(BlobRef(key, (3,)))


@pytest.fixture
def blobs() -> SlowBlobs:
    return SlowBlobs()


@pytest.fixture
def woken() -> list[int]:
    return []


@pytest.fixture
def intake(blobs: SlowBlobs, woken: list[int]) -> Intake:
    return Intake(blobs, lambda: woken.append(1))


def packet(source: int, *messages: AnyMessage) -> Packet:
    return Packet(source, codec.encode(messages), [])


def large(source: int, task: int) -> Packet:
    outcome = Outcome(task, 1, Verdict.SUCCEEDED, 1.0, 1.0, blob=BlobRef("", (3,)))
    return Packet(source, codec.encode([Finished([outcome])]), [memoryview(b"abc")])


def test_what_has_no_large_values_is_there_at_once(intake):
    packets = [packet(1, Started([(1, 1)])), packet(2, Beat(1, Load()))]
    intake.add(packets)
    assert list(intake.ready()) == packets
    assert list(intake.ready()) == []


def test_who_waits_for_a_value_is_heard_and_others_are_not_held_up(intake, blobs, woken):
    value, behind, beat, other = (
        large(1, 1),
        packet(1, Started([(2, 1)])),
        packet(1, Beat(1, Load())),
        packet(2, Started([(3, 1)])),
    )
    intake.add([value, behind, beat, other])
    assert list(intake.ready()) == [beat, other]
    assert intake.holds(1)
    assert not intake.holds(2)
    assert intake.results() == 1
    blobs.end("result-1-1")
    assert woken
    assert list(intake.ready()) == [value, behind]
    assert not intake.holds(1)
    assert intake.results() == 0


def test_values_of_one_rank_are_written_beside_one_another_and_taken_in_in_order(intake, blobs):
    first, second = large(1, 1), large(1, 2)
    intake.add([first, second])
    blobs.end("result-2-1")
    assert list(intake.ready()) == []
    blobs.end("result-1-1")
    assert list(intake.ready()) == [first, second]


def test_what_is_not_done_with_is_given_out_again(intake):
    packets = [packet(1, Started([(1, 1)])), packet(2, Started([(2, 1)]))]
    intake.add(packets)
    assert next(intake.ready()) == packets[0]
    assert list(intake.ready()) == packets


def test_a_value_that_finds_no_room_is_written_later_with_all_that_found_none(intake, blobs):
    first, second, other = large(1, 1), large(2, 2), packet(3, Started([(3, 1)]))
    intake.add([first, second])
    blobs.end("result-1-1", FULL)
    blobs.end("result-2-1", FULL)
    intake.add([other])
    ready, given = intake.ready(), []
    with pytest.raises(StorageFull):
        given.extend(ready)
    assert given == [other]
    blobs.full = True
    with pytest.raises(StorageFull):
        intake.retry()
    blobs.full = False
    intake.retry()
    assert [key for key, _ in blobs.begun[2:]] == ["result-1-1", "result-2-1"]
    assert list(intake.ready()) == []
    blobs.end("result-1-1")
    blobs.end("result-2-1")
    assert list(intake.ready()) == [first, second]


def test_nonsense_is_left_to_who_takes_it_in(intake, blobs):
    outcome = Outcome(1, 1, Verdict.SUCCEEDED, 1.0, 1.0, blob=BlobRef("", (4,)))
    wrong = [
        Packet(1, b"nonsense", [memoryview(b"abc")]),
        Packet(2, codec.encode([Finished([outcome])]), [memoryview(b"abc")]),
    ]
    intake.add(wrong)
    assert list(intake.ready()) == wrong
    assert blobs.begun == []
