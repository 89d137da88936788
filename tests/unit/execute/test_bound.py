"""Results of finished tasks in the arguments of calls that travel by value."""

from typing import NamedTuple

import numpy as np
import pytest

from mpiexec_runner.errors import UserError
from mpiexec_runner.execute import payload
from mpiexec_runner.execute.bound import Ref, bind, refs_in, replaced


class Left(NamedTuple):
    name: str
    state: str
    dir: str
    value: object


def bound(args, kwargs, *results):
    data, buffers = payload.encode_arguments(args, kwargs)
    found = bind(data, [memoryview(part) for part in buffers], results)
    return payload.decode_arguments(*found)


def test_references_are_found_however_deep():
    a, b = Ref("a"), Ref("b")["x"][0]
    assert list(refs_in([a, {"k": (b,)}, "text", {1}])) == [a, b]
    assert replaced([a, {"k": (b,)}], lambda ref: ref.task) == ["a", {"k": ("b",)}]
    assert b.text == "{{ b.result.x.0 }}"


def test_values_come_in_their_place():
    got = bound((1, Ref("a"), [Ref("b")["x"][1]]), {"k": Ref("a")}, Left("a", "succeeded", "", {1, 2}),
                Left("b", "succeeded", "", {"x": [3, 4]}))  # fmt: skip
    assert got == ((1, {1, 2}, [4]), {"k": {1, 2}})


def test_large_values_stay_beside_and_are_the_tasks_own():
    array = np.zeros(100_000)
    (got,), _ = bound((Ref("a"),), {}, Left("a", "succeeded", "", array))
    got += 1
    assert array.sum() == 0
    assert got.sum() == 100_000


def test_the_output_of_a_command(tmp_path):
    (tmp_path / "stdout").write_text("here\n")
    ref = Ref("a", (), "stdout")
    assert bound((ref,), {}, Left("a", "succeeded", str(tmp_path), None)) == (("here",), {})
    assert bound((ref,), {}, Left("a", "succeeded", "", {"stdout": "there\n"})) == (("there",), {})
    with pytest.raises(UserError, match="only commands write one"):
        bound((ref,), {}, Left("a", "succeeded", "", 5))


@pytest.mark.parametrize(
    ("ref", "left", "said"),
    [
        (Ref("b"), Left("a", "succeeded", "", 1), "{{ b.result }} names no task"),
        (Ref("a"), Left("a", "failed", "", None), "a was failed and left no result"),
        (Ref("a")["y"], Left("a", "succeeded", "", {"x": 1}), "a returned a dict; KeyError: 'y'"),
        (Ref("a")[2], Left("a", "succeeded", "", [1]), "IndexError"),
        (Ref("a")[2], Left("a", "succeeded", "", 5), "a returned a int; TypeError"),
    ],
)
def test_what_stands_for_nothing_is_told(ref, left, said):
    with pytest.raises(UserError) as refused:
        bound((ref,), {}, left)
    assert said in str(refused.value)


def test_a_reference_is_not_taken_for_a_list():
    with pytest.raises(UserError, match="one by one"):
        _, _ = Ref("a")
    with pytest.raises(UserError, match="has no part"):
        Ref("a", (), "stdout")["x"]
