"""Conditions: what they answer, and all that they refuse."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiexec_runner.config.conditions import ConditionError, parse

POINT = {"T": 1.25, "seed": 3, "solver": "cg", "grid": [4, 8], "none": None, "ok": True}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T > 1.2 and seed == 3", True),
        ("T > 1.2 and seed == 4", False),
        ("1 < T <= 1.25 < seed", True),
        ("1 < T < 1.25", False),
        ("solver in ('cg', 'gmres')", True),
        ("solver not in ['cg']", False),
        ("'c' in solver", True),
        ("not ok", False),
        ("none is None", True),
        ("none is not None or seed % 2 == 1", True),
        ("-seed + 2 ** 3 - 8 // 3 == 3", True),
        ("seed * 2 / 4 == 1.5", True),
        ("abs(-seed) == max(1, seed) == min(seed, 9)", True),
        ("round(T, 1) == 1.2 and len(grid) == 2", True),
        ("round(T) == 1", True),
        ("grid == [4, 8]", True),
        ("seed", True),
        (" T > 1 ", True),
    ],
)
def test_answers(text, expected):
    assert parse(text)(POINT) is expected


def test_names_are_told():
    assert parse("T > 1 and (seed in [n, 2])").names == {"T", "seed", "n"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("T.real > 1", "'T.real > 1': 'T.real' is not allowed in a condition"),
        ("().__class__", "'().__class__': '().__class__' is not allowed in a condition"),
        ("open('x')", "\"open('x')\": open(...) is not allowed. The functions are abs, len, max, min, round"),
        ("__import__('os')", "\"__import__('os')\": __import__(...) is not allowed."),
        ("T.bit_length()", "'T.bit_length()': 'T.bit_length()' is not allowed in a condition"),
        ("max(T, key=abs)", "'max(T, key=abs)': max(...) is not allowed."),
        ("max(*grid)", "'max(*grid)': '*grid' is not allowed in a condition"),
        ("grid[0] == 4", "'grid[0] == 4': 'grid[0]' is not allowed in a condition"),
        ("[x for x in grid]", "'[x for x in grid]': '[x for x in grid]' is not allowed in a condition"),
        ("lambda: 1", "'lambda: 1': 'lambda: 1' is not allowed in a condition"),
        ("(T := 1)", "'(T := 1)': '(T := 1)' is not allowed in a condition"),
        ("f'{T}'", "\"f'{T}'\": \"f'{T}'\" is not allowed in a condition"),
        ("1 if T else 2", "'1 if T else 2': '1 if T else 2' is not allowed in a condition"),
        ("~seed", "'~seed': '~seed' is not allowed in a condition"),
        ("1 << seed", "'1 << seed': '1 << seed' is not allowed in a condition"),
        ("b'x' == T", "\"b'x' == T\": \"b'x'\" is not allowed in a condition"),
        ("... == T", "'... == T': '...' is not allowed in a condition"),
        ("1j == T", "'1j == T': '1j' is not allowed in a condition"),
        ("{T: 1}", "'{T: 1}': '{T: 1}' is not allowed in a condition"),
        ("T >", "'T >' cannot be read (invalid syntax). Write conditions as in 'T > 1.2 and seed == 3'"),
        ("T > 1; seed", "'T > 1; seed' cannot be read (invalid syntax)."),
        ("", "'' cannot be read (invalid syntax)."),
        ("T && seed", "'T && seed' cannot be read (invalid syntax)."),
        ("T > " + "1 + " * 400 + "1", "the condition is longer than 1000 characters"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(ConditionError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)


def test_deep_nesting_is_refused():
    with pytest.raises(ConditionError, match="cannot be read"):
        parse("(" * 480 + "T" + ")" * 480)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9**9**9 > 1", "'9**9**9 > 1' has no answer at : the power is too large"),
        ("seed**-99999 > 1", "'seed**-99999 > 1' has no answer at seed=3: the power is too large"),
        ("9.0**999 > 1", "'9.0**999 > 1' has no answer at : (34, 'Numerical result out of range')"),
        (
            "round(seed, -10**9) == 0",
            "'round(seed, -10**9) == 0' has no answer at seed=3: round takes up to 100",
        ),
        ("1 / (seed - 3) > 1", "'1 / (seed - 3) > 1' has no answer at seed=3: division by zero"),
        ("solver > 1", "'solver > 1' has no answer at solver='cg': '>' not supported between"),
        ("solver * 1000 == 1", "'solver * 1000 == 1' has no answer at solver='cg': arithmetic"),
        (
            "'%s' % seed == '3'",
            "\"'%s' % seed == '3'\" has no answer at seed=3: arithmetic needs numbers, not '%s'",
        ),
        (
            "[1] * 1000000000 == T",
            "'[1] * 1000000000 == T' has no answer at T=1.25: arithmetic needs numbers",
        ),
        ("len(T) == 1", "'len(T) == 1' has no answer at T=1.25: object of type 'float' has no len()"),
        ("(-8) ** 0.5 > 1", "'(-8) ** 0.5 > 1' has no answer at : '>' not supported between"),
    ],
)
def test_what_has_no_answer(text, message):
    with pytest.raises(ConditionError) as caught:
        parse(text)(POINT)
    assert str(caught.value).startswith(message)


numbers = st.integers(-5, 5)


@settings(deadline=None)
@given(numbers, numbers, st.sampled_from(["<", "<=", "==", "!=", ">", ">="]), st.sampled_from(["and", "or"]))
def test_agrees_with_python(x, y, compare, junction):
    text = f"x {compare} y {junction} not x + 1 {compare} y * 2"
    assert parse(text)({"x": x, "y": y}) == eval(text, {}, {"x": x, "y": y})
