"""The values that parameters stand for, and how they are combined."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mpiexec_runner.config.parameters import Parameter
from mpiexec_runner.config.points import count_points, points
from mpiexec_runner.errors import ConfigError

reading = TypeAdapter(dict[str, Parameter])


def sweep(parameters, combine="product", samples=None, seed=0):
    read = reading.validate_python(parameters)
    found = list(points(read, samples=samples, combine=combine, seed=seed))
    assert len(found) == count_points(read, samples, combine)
    assert all(list(point) == list(parameters) for point in found)
    return found


def values(parameter, **options):
    return [point["x"] for point in sweep({"x": parameter}, **options)]


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        (3, [3]),
        ("text", ["text"]),
        (None, [None]),
        ([1, "a", None, [2], {"b": 3}], [1, "a", None, [2], {"b": 3}]),
        ({"range": [0, 4]}, [0, 1, 2, 3]),
        ({"range": [10, 0, -3]}, [10, 7, 4, 1]),
        ({"range": [0, 1, 0.25]}, [0.0, 0.25, 0.5, 0.75]),
        ({"range": [0, 0.5, 0.1]}, [0.0, 0.1, 0.2, 0.3, 0.4]),
        ({"range": [0.7, 1.3, 0.1]}, [0.7, 0.8, 0.9, 1.0, 1.1, 1.2]),
        ({"range": [0.3, 0, -0.1]}, [0.3, 0.2, 0.1]),
        ({"linspace": [0.7, 1.3, 7]}, [0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3]),
        ({"linspace": [1, 0, 3]}, [1.0, 0.5, 0.0]),
        ({"linspace": [5, 9, 1]}, [5.0]),
        ({"logspace": [1e-3, 1e3, 7]}, [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]),
        ({"logspace": [8, 2, 3]}, [8.0, 4.0, 2.0]),
        ({"logspace": [3, 9, 1]}, [3.0]),
    ],
)
def test_values(parameter, expected):
    found = values(parameter)
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


@settings(deadline=None)
@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-7, 7).filter(bool))
def test_range_agrees_with_python(start, stop, step):
    expected = list(range(start, stop, step))
    assert values({"range": [start, stop, step]}) == expected
    assert values({"range": [start / 8, stop / 8, step / 8]}) == [number / 8 for number in expected]


@pytest.mark.parametrize(
    ("parameter", "fits"),
    [
        ({"uniform": [2, 3], "n": 50}, lambda x: 2 <= x < 3 and type(x) is float),
        ({"normal": [100, 1], "n": 50}, lambda x: 90 < x < 110 and type(x) is float),
        ({"loguniform": [1e-6, 1], "n": 50}, lambda x: 1e-6 <= x < 1 and type(x) is float),
        ({"integers": [-2, 2], "n": 50}, lambda x: x in (-2, -1, 0, 1) and type(x) is int),
        ({"choice": ["a", [1]], "n": 50}, lambda x: x in ("a", [1])),
    ],
)
def test_random_values(parameter, fits):
    drawn = values(parameter)
    assert len(drawn) == 50
    assert all(map(fits, drawn))
    assert len({str(value) for value in drawn}) > 1
    assert values(parameter) == drawn
    assert values(parameter, seed=1) != drawn


def test_a_draw_depends_on_its_own_name_only():
    uniform = {"uniform": [0, 1], "n": 3}
    alone = values(uniform)
    first = sweep({"y": uniform, "x": uniform}, combine="zip")
    assert [point["x"] for point in first] == alone
    assert [point["y"] for point in first] != alone


def test_product_changes_the_last_parameter_fastest():
    found = sweep({"a": [1, 2], "b": "c", "d": [3, 4]})
    assert [tuple(point.values()) for point in found] == [(1, "c", 3), (1, "c", 4), (2, "c", 3), (2, "c", 4)]


def test_zip_repeats_single_values():
    found = sweep({"a": [1, 2], "b": "c", "d": {"linspace": [3, 4, 2]}, "e": [[5]]}, combine="zip")
    assert [tuple(point.values()) for point in found] == [(1, "c", 3.0, [5]), (2, "c", 4.0, [5])]


@pytest.mark.parametrize("design", ["lhs", "sobol"])
class TestJointDesigns:
    def test_every_coordinate_is_stratified(self, design):
        found = sweep({"x": {design: [0, 8]}, "y": {design: [10, 18]}}, samples=8)
        for name, low in (("x", 0), ("y", 10)):
            assert sorted(int(point[name] - low) for point in found) == list(range(8))
            assert all(type(point[name]) is float for point in found)

    def test_together_they_are_one_block_of_the_combination(self, design):
        joint = {design: [0, 1]}
        found = sweep({"x": joint, "a": [1, 2], "y": joint}, samples=4)
        assert len(found) == 8
        assert len({(point["x"], point["y"]) for point in found}) == 4
        assert len(sweep({"x": joint, "a": [1, 2, 3, 4], "y": joint}, combine="zip", samples=4)) == 4

    def test_the_order_of_keys_does_not_matter(self, design):
        first = sweep({"x": {design: [0, 1]}, "y": {design: [2, 3]}}, samples=4)
        second = sweep({"y": {design: [2, 3]}, "x": {design: [0, 1]}}, samples=4)
        assert first == second
        assert first != sweep({"x": {design: [0, 1]}, "y": {design: [2, 3]}}, samples=4, seed=1)

    def test_without_scipy_the_extra_is_named(self, design, monkeypatch):
        monkeypatch.setitem(sys.modules, "scipy.stats", None)
        with pytest.raises(ConfigError) as caught:
            sweep({"x": {design: [0, 1]}}, samples=2)
        assert caught.value.problems == [
            (
                "sweep.parameters: lhs and sobol need SciPy, which is not installed here. "
                "Install it with: pip install 'mpiexec-runner[sampling]'"
            )
        ]


def test_both_designs_are_two_blocks():
    assert len(sweep({"x": {"lhs": [0, 1]}, "y": {"sobol": [0, 1]}}, samples=3)) == 9
