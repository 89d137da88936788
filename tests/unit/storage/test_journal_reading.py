"""A journal comes back as it was written, whole or cut anywhere; damage is named, never passed over."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mpiexec_runner.errors import StorageError
from mpiexec_runner.storage.framing import HEADER_BYTES, SegmentHeader, frame_header, segment_path
from mpiexec_runner.storage.journal import JournalWriter
from mpiexec_runner.storage.journal_reader import read_journal, tail_position
from mpiexec_runner.storage.port import Position

Life = Callable[..., Position]


def plain(directory: Path, **options: object) -> list[tuple[float, object]]:
    return [(record.now, record.events) for record in read_journal(directory, **options)]


def ends_of(directory: Path) -> list[Position]:
    return [record.end for record in read_journal(directory)]


def test_two_lives_read_as_one(tmp_path: Path, life: Life, batch) -> None:
    batches = [batch(n) for n in range(6)]
    end = life(tmp_path, batches[:4])
    end = life(tmp_path, batches[4:], epoch=2, resume_at=end)
    reading = read_journal(tmp_path)
    records = list(reading)
    assert [(r.now, r.events) for r in records] == batches
    assert reading.notes == []
    assert reading.tail == records[-1].end == end == tail_position(tmp_path)


def test_reading_after_a_position_gives_the_rest(tmp_path: Path, life: Life, batch) -> None:
    batches = [batch(n) for n in range(6)]
    life(tmp_path, batches[3:], epoch=2, resume_at=life(tmp_path, batches[:3]))
    for count, end in enumerate(ends_of(tmp_path), start=1):
        assert plain(tmp_path, after=end) == batches[count:]


def test_the_tail_is_known_only_when_all_was_read(tmp_path: Path, life: Life, batch) -> None:
    life(tmp_path, [batch(1)])
    with pytest.raises(StorageError, match="not read to its end"):
        _ = read_journal(tmp_path).tail


def test_an_empty_journal_has_no_tail(tmp_path: Path) -> None:
    assert tail_position(tmp_path) is None
    assert plain(tmp_path) == []


def test_cut_at_every_byte_of_the_last_records_all_whole_ones_are_restored(
    tmp_path: Path, life: Life, batch
) -> None:
    batches = [batch(n) for n in range(5)]
    life(tmp_path, batches)
    path = segment_path(tmp_path, 1)
    whole = path.read_bytes()
    ends = [end.offset for end in ends_of(tmp_path)]
    for cut in range(ends[1], len(whole) + 1):
        path.write_bytes(whole[:cut])
        reading = read_journal(tmp_path)
        kept = sum(1 for end in ends if end <= cut)
        assert [(r.now, r.events) for r in reading] == batches[:kept]
        assert reading.tail == Position(1, ends[kept - 1])
        torn = cut - ends[kept - 1]
        assert [f"{torn} bytes from byte {ends[kept - 1]}" in note for note in reading.notes] == [True] * (
            torn > 0
        )


def test_a_torn_tail_is_cut_for_good_once_a_new_life_began(tmp_path: Path, life: Life, batch) -> None:
    life(tmp_path, [batch(n) for n in range(3)])
    path = segment_path(tmp_path, 1)
    whole = path.read_bytes()
    end = ends_of(tmp_path)[1]
    path.write_bytes(whole[:-1])
    assert tail_position(tmp_path) == end
    life(tmp_path, [batch(7)], epoch=2, resume_at=end)
    path.write_bytes(whole)  # even if the rest of it turns up again
    assert [now for now, _ in plain(tmp_path)] == [0.0, 1.0, 7.0]


@pytest.mark.parametrize("zeros", [1, 11, 12, 600, 5000])
def test_zeros_that_were_never_overwritten_are_a_torn_tail(
    tmp_path: Path, life: Life, batch, zeros: int
) -> None:
    life(tmp_path, [batch(n) for n in range(3)])
    path = segment_path(tmp_path, 1)
    with path.open("ab") as file:
        file.write(bytes(zeros))
    reading = read_journal(tmp_path)
    assert len(list(reading)) == 3
    assert len(reading.notes) == 1


def test_a_record_whose_last_pages_were_never_written_is_a_torn_tail(
    tmp_path: Path, life: Life, batch
) -> None:
    life(tmp_path, [batch(n) for n in range(3)])
    payload = b"x" * 2000
    with segment_path(tmp_path, 1).open("ab") as file:
        file.write(frame_header(payload) + payload[:1000] + bytes(1000))
    reading = read_journal(tmp_path)
    assert len(list(reading)) == 3
    assert "never written whole" in reading.notes[0]


def test_a_flipped_byte_anywhere_in_a_middle_record_is_reported_with_its_place(
    tmp_path: Path, life: Life, batch
) -> None:
    life(tmp_path, [batch(n) for n in range(5)])
    path = segment_path(tmp_path, 1)
    whole = path.read_bytes()
    ends = [end.offset for end in ends_of(tmp_path)]
    for offset in range(ends[1], ends[2]):
        damaged = bytearray(whole)
        damaged[offset] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(StorageError) as caught:
            plain(tmp_path)
        text = str(caught.value)
        assert f"{path} is damaged at byte {ends[1]}" in text
        assert "2 records before it are good, 2 behind it can be saved" in text
        assert "--salvage" in text
        reading = read_journal(tmp_path, salvage=True)
        assert [record.now for record in reading] == [0.0, 1.0, 3.0, 4.0]
        assert f"skipped bytes {ends[1]} to {ends[2]}" in reading.notes[0]


def test_a_flipped_byte_in_the_last_record_is_no_torn_tail(tmp_path: Path, life: Life, batch) -> None:
    life(tmp_path, [batch(n) for n in range(3)])
    path = segment_path(tmp_path, 1)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(StorageError, match="damaged at byte"):
        plain(tmp_path)


def test_a_damaged_segment_header_is_reported_and_can_be_salvaged(tmp_path: Path, life: Life, batch) -> None:
    end = life(tmp_path, [batch(n) for n in range(3)])
    life(tmp_path, [batch(7)], epoch=2, resume_at=end)
    for number in (1, 2):
        path = segment_path(tmp_path, number)
        whole = path.read_bytes()
        path.write_bytes(b"\x00" + whole[1:])
        with pytest.raises(StorageError, match="damaged at byte 0"):
            plain(tmp_path)
        assert [now for now, _ in plain(tmp_path, salvage=True)] == [0.0, 1.0, 2.0, 7.0]
        path.write_bytes(whole)


def test_losses_that_were_accepted_trouble_nobody_any_more(tmp_path: Path, life: Life, batch) -> None:
    life(tmp_path, [batch(n) for n in range(3)])
    path = segment_path(tmp_path, 1)
    damaged = bytearray(path.read_bytes())
    damaged[ends_of(tmp_path)[0].offset + HEADER_BYTES + 3] ^= 1
    path.write_bytes(damaged)
    salvage = read_journal(tmp_path, salvage=True)
    assert len(list(salvage)) == 2
    salvage.accept_losses()
    life(tmp_path, [batch(9)], epoch=2, resume_at=salvage.tail)
    reading = read_journal(tmp_path)
    assert [record.now for record in reading] == [0.0, 2.0, 9.0]
    assert "given up earlier" in reading.notes[0]
    assert path.read_bytes() == damaged


def test_a_missing_segment_is_missed(tmp_path: Path, life: Life, batch) -> None:
    end = life(tmp_path, [batch(1)])
    end = life(tmp_path, [batch(2)], epoch=2, resume_at=end)
    life(tmp_path, [batch(3)], epoch=3, resume_at=end)
    segment_path(tmp_path, 2).unlink()
    with pytest.raises(StorageError, match=r"000002.journal is missing. 1 records before .* 1 behind"):
        plain(tmp_path)
    assert [now for now, _ in plain(tmp_path, salvage=True)] == [1.0, 3.0]


def test_a_segment_cut_short_of_where_the_next_life_went_on_is_damage(
    tmp_path: Path, life: Life, batch
) -> None:
    life(tmp_path, [batch(3)], epoch=2, resume_at=life(tmp_path, [batch(1), batch(2)]))
    path = segment_path(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(
        StorageError, match=r"the journal went on from offset .* 1 records before it .* 1 behind"
    ):
        plain(tmp_path)


def test_a_checkpoint_that_knows_more_than_the_journal_is_refused(tmp_path: Path, life: Life, batch) -> None:
    end = life(tmp_path, [batch(1)])
    for after in (Position(1, end.offset + 1), Position(2, 10)):
        with pytest.raises(StorageError, match="checkpoint"):
            read_journal(tmp_path, after=after)


def write_frames(directory: Path, *payloads: bytes) -> None:
    segment_path(directory, 1).write_bytes(b"".join(frame_header(p) + p for p in payloads))


def test_a_newer_journal_is_refused(tmp_path: Path) -> None:
    write_frames(tmp_path, msgspec.msgpack.encode(SegmentHeader(run_id="r", segment=1, epoch=1, version=2)))
    with pytest.raises(StorageError, match=r"version 2, this program knows up to 1.*newer"):
        read_journal(tmp_path)


def test_an_event_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    header = msgspec.msgpack.encode(SegmentHeader(run_id="r", segment=1, epoch=1))
    write_frames(tmp_path, header, msgspec.msgpack.encode((1.0, [["teleport", 3]])))
    with pytest.raises(StorageError, match=r"(?s)teleport.*newer version"):
        plain(tmp_path)


def test_another_file_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    write_frames(tmp_path, msgspec.msgpack.encode({"format": "shopping list", "version": 1}))
    with pytest.raises(StorageError, match="shopping list"):
        read_journal(tmp_path)


def test_segments_of_two_runs_do_not_mix(tmp_path: Path, life: Life, batch) -> None:
    life(tmp_path, [batch(1)])
    other = tmp_path / "other"
    other.mkdir()
    first = JournalWriter(other, run_id="s", epoch=1)
    first.close()
    JournalWriter(other, run_id="s", epoch=2, resume_at=first.position()).close()
    shutil.copy(segment_path(other, 2), tmp_path)
    with pytest.raises(StorageError, match="does not belong here"):
        read_journal(tmp_path)


def test_a_journal_can_be_read_while_it_is_written(tmp_path: Path, batch) -> None:
    writer = JournalWriter(tmp_path, run_id="r", epoch=1)
    for number in range(3):
        now, events = batch(number)
        writer.append(now, events)
        assert [now for now, _ in plain(tmp_path)] == [float(n) for n in range(number + 1)]
    writer.close()
