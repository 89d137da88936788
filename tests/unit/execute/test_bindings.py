"""References to finished tasks: what they become, and what is said where they stand for nothing."""

# ruff: noqa: E501 - messages are easier to read in one line

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpiexec_runner.errors import UserError
from mpiexec_runner.execute.bindings import (
    Found,
    bind,
    instance_name,
    job_of,
    references_in,
    replace_references,
)
from mpiexec_runner.execute.finished import STDOUT_BYTES
from mpiexec_runner.model.tasks import PlainArguments

MESH = Found(
    "mesh",
    "succeeded",
    "/run/mesh",
    {"cells": 12, "sizes": [0.5, 0.25], "3": "three", "deep": {"a": [{}, {"b": 7}]}},
)
SOLVED = [
    Found("solve-0001", "succeeded", "/run/s1", {"e": 1.5}),
    Found("solve-0002", "failed", "/run/s2", None),
    Found("solve-0003", "skipped", "", None),
]  # fmt: skip


def bound(value, *results):
    return bind(PlainArguments((value,)), results or [MESH, *SOLVED]).args[0]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{{ mesh.result }}", MESH.value),
        ("{{mesh.result.cells}}", 12),
        ("{{ mesh.result.sizes.1 }}", 0.25),
        ("{{ mesh.result.3 }}", "three"),
        ("{{ mesh.result.deep.a.1.b }}", 7),
        ("{{ mesh.dir }}", "/run/mesh"),
        ("{{ mesh.state }}", "succeeded"),
        ("{{ mesh.dir }}/part.msh", "/run/mesh/part.msh"),
        ("-n {{ mesh.result.cells }} {{ mesh.state }}", "-n 12 succeeded"),
        ("{{ solve-0001.result.e }}", 1.5),
        ("{{ solve-0003.state }}", "skipped"),
        ("{{ solve.all.state }}", ["succeeded", "failed", "skipped"]),
        ("{{ solve.all.result.e }}", [1.5, None, None]),
        ("{{ solve.all.dir }}", ["/run/s1", "/run/s2", None]),
        ("{{ mesh.all.dir }}", ["/run/mesh"]),
        # No references
        ("{{ mesh }}", "{{ mesh }}"),
        ("{{{{ mesh.dir }}}}", "{{{{ mesh.dir }}}}"),
        ("{{ print.it }}", "{{ print.it }}"),
        ("{mesh.dir}", "{mesh.dir}"),
        (3, 3),
        (None, None),
    ],
)
def test_what_references_become(written, expected):
    assert bound(written) == expected


def test_they_may_stand_deep_in_a_value():
    arguments = PlainArguments(([1, {"a": ["{{ mesh.dir }}"]}],), {"x": {"y": "{{ mesh.result.cells }}"}})
    expected = PlainArguments(([1, {"a": ["/run/mesh"]}],), {"x": {"y": 12}})
    assert bind(arguments, [MESH]) == expected


def test_what_is_inserted_is_not_read_again():
    sly = Found("a", "succeeded", "/a", "{{ mesh.dir }}")
    assert bound("{{ a.result }} and {{ mesh.dir }}", sly, MESH) == "{{ mesh.dir }} and /run/mesh"


def test_names_may_hold_dots():
    assert bound("{{ a.b.dir }}", Found("a.b", "succeeded", "/ab", None)) == "/ab"


def test_an_item_of_an_array():
    assert bound("{{ a.result.1 }}", Found("a", "succeeded", "", np.array([1, 2]))) == 2


def test_stdout_is_the_end_of_the_file(tmp_path):
    found = Found("a", "succeeded", str(tmp_path), None)
    (tmp_path / "stdout").write_text("\n 1\n2 \n\n")
    assert bound("{{ a.stdout }}", found) == "1\n2"
    (tmp_path / "stdout").write_text("x" * STDOUT_BYTES + "end")
    assert bound("{{ a.stdout }}", found) == "x" * (STDOUT_BYTES - 3) + "end"
    (tmp_path / "stdout").write_bytes(b"caf\xe9\n")
    assert bound("{{ a.stdout }}", found) == "caf\ufffd"


def test_stdout_without_directories_is_in_the_record():
    assert bound("{{ a.stdout }}", Found("a", "succeeded", "", {"stdout": " 5\n", "stderr": ""})) == "5"


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("{{ msh.dir }}", "{{ msh.dir }} names no task that this one waits for; they are mesh, solve-0001, solve-0002, solve-0003"),
        ("{{ solve.dir }}", "{{ solve.dir }} names no task that this one waits for; they are mesh, solve-0001, solve-0002, solve-0003"),
        ("{{ mesh.path }}", "{{ mesh.path }} says nothing that a task leaves: result, dir, stdout, state, or all of these"),
        ("{{ mesh.result.cell }}", "{{ mesh.result.cell }}: the result of mesh has no cell. It has cells, sizes, 3, deep"),
        ("{{ mesh.result.sizes.2 }}", "{{ mesh.result.sizes.2 }}: sizes in the result of mesh has no 2: it is a list of 2, counted from 0"),
        ("{{ mesh.result.cells.x }}", "{{ mesh.result.cells.x }}: cells in the result of mesh has no x: it is '12'"),
        ("{{ mesh.result.3.0 }}", "{{ mesh.result.3.0 }}: 3 in the result of mesh has no 0: it is 'three'"),
        ("{{ solve-0002.result.e }}", "{{ solve-0002.result.e }}: solve-0002 has failed and left no result"),
        ("{{ solve-0003.dir }}", "{{ solve-0003.dir }}: solve-0003 has no directory (run.task_dirs is false, or a call)"),
        ("{{ solve-0001.stdout }}", "{{ solve-0001.stdout }}: solve-0001 left no output that can be read (No such file or directory)"),
        ("{{ none.result.x }}", "{{ none.result.x }}: the result of none is null and has no x. A command leaves no result: refer to its stdout or dir"),
    ],
)  # fmt: skip
def test_faults(written, problem):
    results = [MESH, *SOLVED]
    if "none" in written:
        results.append(Found("none", "succeeded", "/none", None))
    with pytest.raises(UserError) as caught:
        bound(written, *results)
    assert str(caught.value) == problem


def test_names_of_instances():
    assert instance_name("solve", 0, fanned=False) == "solve"
    assert instance_name("solve", 0, fanned=True) == "solve-0001"
    assert instance_name("solve", 12344, fanned=True) == "solve-12345"
    for index in (0, 9998, 9999, 10**6):
        assert job_of(instance_name("a-b_c", index, fanned=True)) == "a-b_c"
    assert job_of("solve-12") == "solve-12"


def test_references_are_found_and_replaced():
    value = ["{{ a.result.x.0 }} {{ b.all.dir }}", {"k": "{{c.state}}"}, 5]
    assert [found.text for found in references_in(value)] == [
        "{{ a.result.x.0 }}",
        "{{ b.all.dir }}",
        "{{ c.state }}",
    ]
    renamed = replace_references(value, lambda found, _: found._replace(name=found.name * 2).text)
    assert renamed == ["{{ aa.result.x.0 }} {{ bb.all.dir }}", {"k": "{{ cc.state }}"}, 5]


@given(st.text(alphabet="{} ab.result-0\n'\"$", max_size=40))
def test_text_without_results_stays_or_is_refused(text):
    if any(found.word for found in references_in(text)):
        with pytest.raises(UserError, match="names no task"):
            bind(PlainArguments((text,)), [])
    else:
        assert bind(PlainArguments((text,)), []).args == (text,)
