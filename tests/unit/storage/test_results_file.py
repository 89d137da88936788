"""``results.h5`` as plain h5py sees it, and the decoding of values beneath it."""

from pathlib import Path

import h5py
import msgspec
import numpy as np
import pytest

from mpiexec_runner.errors import StorageError
from mpiexec_runner.model.events import KindsRegistered, TasksFinished, TasksSubmitted
from mpiexec_runner.model.tasks import (
    BlobRef,
    CallByName,
    Outcome,
    PlainArguments,
    TaskKind,
    TaskSpec,
    Verdict,
)
from mpiexec_runner.storage.blobs import MemoryBlobs
from mpiexec_runner.storage.columns import typed
from mpiexec_runner.storage.port import Position, Record
from mpiexec_runner.storage.results_file import write_results
from mpiexec_runner.storage.table import ResultTable
from mpiexec_runner.storage.values import NO_VALUE, Elsewhere, Opaque, array_from, decode_value

KIND = TaskKind(id=1, name="k", work=CallByName("m:f"))


def to_ext(value: object) -> object:
    assert isinstance(value, np.ndarray)
    content = msgspec.msgpack.encode((value.dtype.str, value.shape, value.tobytes()))
    return msgspec.msgpack.Ext(1, content)


def plain(value: object) -> bytes:
    return b"m" + msgspec.msgpack.encode(value, enc_hook=to_ext)


def table_of(
    *results: bytes | tuple[bytes, BlobRef], names: tuple[str, ...] = (), **fields: list
) -> ResultTable:
    table = ResultTable()
    specs, outcomes = [], []
    for number, result in enumerate(results):
        value, ref = result if isinstance(result, tuple) else (result, None)
        given = {name: cells[number] for name, cells in fields.items()}
        payload = msgspec.msgpack.encode(PlainArguments((), given))
        specs.append(TaskSpec(number, 1, payload, name=names[number] if names else ""))
        outcomes.append(Outcome(number, 1, Verdict.SUCCEEDED, 50.0, 0.5, value=value, blob=ref))
    events = [KindsRegistered((KIND,)), TasksSubmitted(specs), TasksFinished(3, outcomes)]
    table.apply(Record(Position(1, 1), 40.0, events))
    return table


def texts(dataset: h5py.Dataset) -> list[str]:
    return list(dataset.asstr()[:])


def test_the_table_reads_with_plain_h5py(tmp_path: Path) -> None:
    path = tmp_path / "results.h5"
    table = table_of(
        plain(1.5), plain(2), b"",
        T=[0.5, 0.75, 1], seed=[1, 2, 3], on=[True, False, True], how=["a", "b", "ü"],
        mix=[1, "x", None], rank=[4, None, 5],
    )  # fmt: skip
    assert write_results(table, path) == []
    with h5py.File(path) as file:
        tasks, parameters = file["tasks"], file["parameters"]
        assert list(tasks["id"]) == [0, 1, 2]
        assert texts(tasks["name"]) == ["task_0000", "task_0001", "task_0002"]
        assert texts(tasks["state"]) == ["succeeded"] * 3
        assert list(tasks["ended"]) == [50.5] * 3
        assert tasks["ended"].attrs["units"] == "seconds since 1970-01-01 UTC"
        assert list(tasks["exit_code"]) == list(tasks["peak_memory_bytes"]) == [-1] * 3
        assert parameters["T"].dtype == np.float64
        assert parameters["seed"].dtype == np.int64
        assert parameters["on"].dtype == np.bool_
        assert texts(parameters["how"]) == ["a", "b", "ü"]
        assert texts(parameters["mix"]) == ["1", '"x"', ""]
        np.testing.assert_array_equal(parameters["rank"], [4, np.nan, 5])
        np.testing.assert_array_equal(file["results/value"], [1.5, 2, np.nan])
        assert len(file["results/items"]) == 0
    assert list(tmp_path.iterdir()) == [path]


def test_results_that_are_no_numbers_are_there_too(tmp_path: Path) -> None:
    path = tmp_path / "results.h5"
    blobs = MemoryBlobs()
    big = np.arange(6, dtype=np.float32).reshape(2, 3)
    head = msgspec.msgpack.encode((big.dtype.str, big.shape))
    table = table_of(
        plain({"loss": 0.25, "epochs": 3, "items": 1}),
        plain([1, [2, None]]),
        plain(np.arange(4)),
        b"p\x80\x05.",
        (b"n" + head, blobs.put("big", [big])),
        plain(np.array(["2024-01-01"], "M8[D]")),
        (b"p\x80", BlobRef("other", (10,))),
        plain({"a": np.eye(2)}),
        plain(np.array(["x", "yz"])),
        plain(b"raw"),
        names=("a", "b", "c", "d", "e", "f", "g", "h", "s/t", "c"),
    )
    assert write_results(table, path, blobs) == []
    with h5py.File(path) as file:
        results, items = file["results"], file["results/items"]
        assert set(results) == {"loss", "epochs", "items_", "json", "items"}
        assert results["loss"][0] == 0.25
        assert texts(results["json"])[1] == "[1,[2,null]]"
        assert texts(results["json"])[7] == '{"a":[[1.0,0.0],[0.0,1.0]]}'
        assert list(items["c"]) == [0, 1, 2, 3]
        assert items["c"].attrs["id"] == 2
        assert bytes(items["d"][:]) == b"\x80\x05."
        assert items["d"].attrs["encoding"] == "pickle"
        np.testing.assert_array_equal(items["e"], big)
        assert items["f"].attrs["dtype"] == "<M8[D]"
        assert items["g"].asstr()[()] == "blob other"
        assert texts(items["s_t"]) == ["x", "yz"]
        assert items["c_"].attrs["id"] == 9
        assert bytes(items["c_"][:]) == b"raw"


def test_a_result_that_cannot_be_read_is_noted_and_the_rest_written(tmp_path: Path) -> None:
    path = tmp_path / "results.h5"
    head = msgspec.msgpack.encode(("<f8", (2,)))
    table = table_of(b"m\xc1", plain(7), (b"n" + head, BlobRef("gone", (16,))))
    notes = write_results(table, path, MemoryBlobs())
    assert ["task_0000" in notes[0], "task_0002" in notes[1]] == [True, True]
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["results/value"], [np.nan, 7, np.nan])


def test_text_with_a_nul_and_odd_names_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "results.h5"
    fields = {"a/b": ["x\0y"], "a_b": [1], ".": [2]}
    write_results(table_of(b"", **fields), path)
    with h5py.File(path) as file:
        assert set(file["parameters"]) == {"a_b", "a_b_", "_"}
        assert texts(file["parameters/a_b"]) == ["x\\0y"]


def test_an_empty_table_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "results.h5"
    write_results(ResultTable(), path)
    with h5py.File(path) as file:
        assert file["tasks/id"].shape == (0,)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], np.array([1, 2], np.int64)),
        ([1, None], np.array([1, np.nan])),
        ([1, 0.5], np.array([1, 0.5])),
        ([2**60, None], ["1152921504606846976", ""]),
        ([2**70, 1], ["1180591620717411303424", "1"]),
        ([True, False], np.array([True, False])),
        ([True, None], ["true", ""]),
        ([True, 1], ["true", "1"]),
        (["a", None], ["a", ""]),
        ([None, None], ["", ""]),
        ([[1], {"a": 2}], ["[1]", '{"a":2}']),
    ],
)  # fmt: skip
def test_a_column_gets_the_type_that_fits_all(values: list, expected: object) -> None:
    found = typed(values)
    np.testing.assert_array_equal(found, expected)
    assert type(found) is type(expected)


def test_values_are_decoded_without_running_anything() -> None:
    assert decode_value(b"") is NO_VALUE
    assert decode_value(b"m\xc0") is None
    assert decode_value(b"pcos\nsystem\n") == Opaque("pickle", b"cos\nsystem\n")
    assert decode_value(b"?abc") == Opaque("unknown", b"abc")
    ref = BlobRef("k", (1,))
    assert decode_value(b"pabc", ref) == Elsewhere("pickle", ref)
    assert decode_value(plain(np.array(2.5))) == 2.5


def test_long_values_are_found_in_their_blob() -> None:
    blobs = MemoryBlobs()
    text = "x" * 100_000
    assert decode_value(b"M", blobs.put("m", [plain(text)[1:]]), blobs) == text
    assert decode_value(b"P", blobs.put("p", [b"\x80."]), blobs) == Opaque("pickle", b"\x80.")
    several = blobs.put("s", [b"\x80.", b"buffer"])
    assert decode_value(b"P", several, blobs) == Elsewhere("pickle", several)


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [("|O", (1,), bytes(8)), ("<f8", (2,), bytes(8)), ("<f8", (-1,), bytes(8)), ("nonsense", (1,), b"x")],
)
def test_bytes_that_are_no_array_are_refused(dtype: str, shape: tuple[int, ...], data: bytes) -> None:
    with pytest.raises(StorageError):
        array_from(dtype, shape, data)
    with pytest.raises(StorageError):
        decode_value(
            b"m"
            + msgspec.msgpack.encode(msgspec.msgpack.Ext(1, msgspec.msgpack.encode((dtype, shape, data))))
        )
