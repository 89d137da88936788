"""The YAML that configurations are written in: plain data only, with the scalars of YAML 1.2.

Knows YAML, not configurations.

PyYAML follows YAML 1.1, where ``1e-3`` is text, ``no`` is false and ``1:30`` is ninety. Here the core
schema of YAML 1.2 (section 10.3.2) holds, as in the editors that complete these files: only ``true`` and
``false`` are booleans, and ``1e-3`` is a number. The merge key ``<<`` is kept.
"""

import re
from typing import Any

import yaml

SyntaxFault = yaml.YAMLError
_PREFIX = "tag:yaml.org,2002:"
PLAIN_TAGS = frozenset(
    _PREFIX + name for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")
)
NULL_TAG, STR_TAG, MERGE_TAG = _PREFIX + "null", _PREFIX + "str", _PREFIX + "merge"

_SCALARS = (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+0123456789."),
    ),
    ("merge", r"^<<$", ["<"]),
)


_Resolvers = dict[str, list[tuple[str, re.Pattern[str]]]]


def _resolvers() -> _Resolvers:
    table: _Resolvers = {}
    for name, pattern, beginnings in _SCALARS:
        for char in beginnings:
            table.setdefault(char, []).append((_PREFIX + name, re.compile(pattern)))
    return table


def _merged(first: _Resolvers, second: _Resolvers) -> _Resolvers:
    return {char: first.get(char, []) + second.get(char, []) for char in {**first, **second}}


# The parser written in C reads a list of 100,000 tasks in seconds, where the other takes a minute.
_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_BaseLoader):  # type: ignore[misc]
    yaml_implicit_resolvers = _resolvers()


class _Dumper(_BaseDumper):  # type: ignore[misc]
    # Text is quoted where either version of YAML would read something else in it.
    yaml_implicit_resolvers = _merged(_BaseDumper.yaml_implicit_resolvers, _resolvers())

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - repeated values are written out
        return True


def _whole(loader: Any, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _fractional(loader: Any, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_constructor(_PREFIX + "int", _whole)
_Loader.add_constructor(_PREFIX + "float", _fractional)


def compose(text: str) -> yaml.Node | None:
    """Return the nodes of the one document in this text, ``None`` when it is empty."""
    return yaml.compose(text, Loader=_Loader)


def construct(root: yaml.Node) -> Any:
    """Return the data that these nodes stand for; they hold plain tags only (``PLAIN_TAGS``)."""
    loader = _Loader("")
    try:
        return loader.construct_document(root)
    finally:
        loader.dispose()


def parse_value(text: str) -> Any:
    """Return the value that a short text stands for."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader


def dump(data: object) -> str:
    """Return the text of a document; the same data always gives the same text."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text
