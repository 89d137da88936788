"""What every blob store promises, whichever adapter it is."""

from abc import ABC, abstractmethod
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mpiexec_runner.errors import StorageError
from mpiexec_runner.model.tasks import BlobRef
from mpiexec_runner.storage.blobs import DirectoryBlobs, MemoryBlobs
from mpiexec_runner.storage.framing import frame_header
from mpiexec_runner.storage.port import BlobPort

KEYS = ["result-1-1", "a/b", "../../escape", ".", "", "ü" * 300, "%%", "x" * 500, "a b\n"]


class BlobContract(ABC):
    @abstractmethod
    def make(self, directory: Path) -> BlobPort: ...

    @pytest.mark.parametrize("parts", [[], [b""], [b"abc"], [b"a", bytearray(b"bc"), memoryview(b"defg")]])
    def test_parts_come_back(self, tmp_path: Path, parts: list) -> None:
        blobs = self.make(tmp_path)
        ref = blobs.put("k", parts)
        assert ref == BlobRef("k", tuple(len(part) for part in parts))
        assert [bytes(part) for part in blobs.get(ref)] == [bytes(part) for part in parts]

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_arrays_are_kept_as_their_memory(self, tmp_path: Path, order: str) -> None:
        array = np.asarray(np.arange(12, dtype=np.float64).reshape(3, 4), order=order)
        blobs = self.make(tmp_path)
        ref = blobs.put("k", [array])
        assert ref.sizes == (96,)
        assert bytes(blobs.get(ref)[0]) == array.tobytes("A")

    def test_any_key_will_do_and_stays_inside(self, tmp_path: Path) -> None:
        inside = tmp_path / "inside"
        inside.mkdir()
        blobs = self.make(inside)
        refs = [blobs.put(key, [key.encode()]) for key in KEYS]
        for key, ref in zip(KEYS, refs, strict=True):
            assert bytes(blobs.get(ref)[0]) == key.encode()
        assert list(tmp_path.iterdir()) == [inside]

    def test_what_is_kept_does_not_change_with_the_buffer(self, tmp_path: Path) -> None:
        blobs = self.make(tmp_path)
        buffer = bytearray(b"before")
        ref = blobs.put("k", [buffer])
        buffer[:] = b"after!"
        assert bytes(blobs.get(ref)[0]) == b"before"

    def test_the_last_of_two_counts(self, tmp_path: Path) -> None:
        blobs = self.make(tmp_path)
        blobs.put("k", [b"1"])
        assert bytes(blobs.get(blobs.put("k", [b"2"]))[0]) == b"2"

    def test_what_is_gone_or_another_size_is_an_error(self, tmp_path: Path) -> None:
        blobs = self.make(tmp_path)
        ref = blobs.put("k", [b"abc"])
        for wrong in (BlobRef("other", (3,)), BlobRef("k", (2,)), BlobRef("k", (3, 1))):
            with pytest.raises(StorageError):
                blobs.get(wrong)
        blobs.drop(ref)
        blobs.drop(ref)


class TestDirectoryBlobs(BlobContract):
    def make(self, directory: Path) -> BlobPort:
        return DirectoryBlobs(directory)

    def test_a_flipped_byte_anywhere_is_noticed(self, tmp_path: Path) -> None:
        blobs = DirectoryBlobs(tmp_path)
        ref = blobs.put("k", [b"abc", b"defg"])
        (path,) = tmp_path.rglob("*.blob")
        whole = path.read_bytes()
        for offset in range(len(whole)):
            path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 4]) + whole[offset + 1 :])
            with pytest.raises(StorageError, match="damaged"):
                blobs.get(ref)

    def test_a_cut_file_is_noticed(self, tmp_path: Path) -> None:
        blobs = DirectoryBlobs(tmp_path)
        ref = blobs.put("k", [b"abc", b"defg"])
        (path,) = tmp_path.rglob("*.blob")
        whole = path.read_bytes()
        for cut in range(len(whole)):
            path.write_bytes(whole[:cut])
            with pytest.raises(StorageError, match="damaged"):
                blobs.get(ref)

    def test_a_newer_version_is_refused(self, tmp_path: Path) -> None:
        blobs = DirectoryBlobs(tmp_path)
        ref = blobs.put("k", [])
        (path,) = tmp_path.rglob("*.blob")
        header = {"format": "mpiexec-runner blob", "version": 2, "key": "k", "sizes": [], "crcs": []}
        payload = msgspec.msgpack.encode(header)
        path.write_bytes(frame_header(payload) + payload)
        with pytest.raises(StorageError, match=r"version 2.*newer"):
            blobs.get(ref)

    def test_dropping_keeps_what_the_journal_refers_to(self, tmp_path: Path) -> None:
        blobs = DirectoryBlobs(tmp_path)
        ref = blobs.put("k", [b"abc"])
        blobs.drop(ref)
        assert bytes(blobs.get(ref)[0]) == b"abc"


class TestMemoryBlobs(BlobContract):
    def make(self, directory: Path) -> BlobPort:
        return MemoryBlobs()

    def test_dropping_forgets(self) -> None:
        blobs = MemoryBlobs()
        ref = blobs.put("k", [b"abc"])
        blobs.drop(ref)
        with pytest.raises(StorageError, match="not in memory"):
            blobs.get(ref)
