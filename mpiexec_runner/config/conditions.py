"""Conditions on the parameters of a sweep: Python-like expressions, read and evaluated safely.

Nothing is ever handed to ``eval``; there is no way from here to attributes, imports or other names.

Allowed are comparisons (chained ones and ``in`` too), ``and``, ``or``, ``not``, ``+ - * / // % **`` on
numbers, numbers, text, ``True``, ``False``, ``None``, lists, the parameters' names and the functions
``abs``, ``min``, ``max``, ``round`` and ``len``.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Point = Mapping[str, object]
_Value = Callable[[Point], object]

_LONGEST = 1000
_MOST_BITS = 4096


class ConditionError(ValueError):
    """A condition that cannot be read, or not be answered for some point."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read: call it with a point to get its answer."""

    text: str
    names: frozenset[str]
    _value: _Value = field(repr=False, compare=False)

    def __call__(self, point: Point) -> bool:
        """Return whether the condition holds at this point.

        Raises
        ------
        ConditionError
            When it has no answer there: a division by zero, a comparison of text with a number.
        """
        try:
            return bool(self._value(point))
        except (TypeError, ValueError, ArithmeticError) as error:
            where = ", ".join(f"{name}={point[name]!r}" for name in sorted(self.names))
            raise ConditionError(f"{self.text!r} has no answer at {where}: {error}") from error


def parse(text: str) -> Condition:
    """Read a condition.

    Raises
    ------
    ConditionError
        When it is no condition, or uses what is not allowed; says what.
    """
    if len(text) > _LONGEST:
        raise ConditionError(f"the condition is longer than {_LONGEST} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        names: set[str] = set()
        value = _compile(tree, names)
        return Condition(text, frozenset(names), value)
    except (SyntaxError, RecursionError, MemoryError) as error:
        why = error.msg if isinstance(error, SyntaxError) else "nested too deeply"
        raise ConditionError(
            f"{text!r} cannot be read ({why}). Write conditions as in 'T > 1.2 and seed == 3', with "
            "== != < <= > >= in and or not"
        ) from error
    except ConditionError as error:
        raise ConditionError(f"{text!r}: {error}") from error


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > _MOST_BITS:
        raise ValueError("the power is too large")
    return base**exponent


def _round(number: Any, digits: object = None) -> Any:
    if digits is not None and not (isinstance(digits, int) and abs(digits) <= 100):
        raise ValueError("round takes up to 100 digits")
    return round(number, digits)


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], object]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, container: operator.contains(container, item),
    ast.NotIn: lambda item, container: not operator.contains(container, item),
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_SIGNS: dict[type[ast.unaryop], Callable[[Any], object]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_FUNCTIONS: dict[str, Callable[..., object]] = {
    "abs": abs,
    "min": min,
    "max": max,
    "round": _round,
    "len": len,
}


def _compile(node: ast.expr, names: set[str]) -> _Value:
    """Turn an expression into a function of the point; note the names that it uses."""
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str()):
            constant = node.value
            return lambda _: constant
        case ast.Name(id=name):
            names.add(name)
            return lambda point: point[name]
        case ast.List(elts=items) | ast.Tuple(elts=items):
            values = [_compile(item, names) for item in items]
            return lambda point: [value(point) for value in values]
        case ast.BoolOp():
            return _junction(node, names)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            negated = _compile(operand, names)
            return lambda point: not negated(point)
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _SIGNS:
            apply, value = _SIGNS[type(sign)], _compile(operand, names)
            return lambda point: apply(_number(value(point)))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            combine, first, second = _ARITHMETIC[type(op)], _compile(left, names), _compile(right, names)
            return lambda point: combine(_number(first(point)), _number(second(point)))
        case ast.Compare():
            return _comparison(node, names)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            function, inputs = _FUNCTIONS[name], [_compile(argument, names) for argument in arguments]
            return lambda point: function(*[value(point) for value in inputs])
        case ast.Call(func=ast.Name(id=name)):
            raise ConditionError(
                f"{name}(...) is not allowed. The functions are {', '.join(sorted(_FUNCTIONS))}"
            )
        case _:
            raise ConditionError(f"{ast.unparse(node)!r} is not allowed in a condition")


def _junction(node: ast.BoolOp, names: set[str]) -> _Value:
    values = [_compile(value, names) for value in node.values]
    if isinstance(node.op, ast.And):
        return lambda point: all(value(point) for value in values)
    return lambda point: any(value(point) for value in values)


def _comparison(node: ast.Compare, names: set[str]) -> _Value:
    operands = [_compile(operand, names) for operand in (node.left, *node.comparators)]
    steps = [
        (_COMPARISONS[type(op)], left, right)
        for op, left, right in zip(node.ops, operands, operands[1:], strict=False)
    ]
    if len(steps) == 1:
        compare, first, second = steps[0]
        return lambda point: compare(first(point), second(point))
    return lambda point: all(compare(left(point), right(point)) for compare, left, right in steps)


def _number(value: object) -> object:
    # Text times a number would be a way to fill the memory; text plus text has no use in a condition.
    if not isinstance(value, int | float):
        raise TypeError(f"arithmetic needs numbers, not {value!r}")
    return value
