"""Results of finished tasks, put where the arguments of a call that travels by value refer to them.

Knows how such a reference looks; not where results come from. The references in plain text, as in
``{{ mesh.result }}``, are ``bindings.py``'s.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from mpiexec_runner.errors import UserError
from mpiexec_runner.execute import payload as encoding
from mpiexec_runner.execute.finished import Left, output_of


class Ref(msgspec.Struct, frozen=True):
    """Stands for what a task will have left, as an argument of a later one.

    ``ref["energy"]`` and ``ref[0]`` stand for a part of it. ``word`` is ``result`` or ``stdout``.
    """

    task: str
    path: tuple[str | int, ...] = ()
    word: str = "result"

    def __getitem__(self, key: str | int) -> "Ref":
        if self.word != "result" or not isinstance(key, str | int):
            raise UserError(
                f"{self.text} has no part {key!r}: a part of a result is named by a text or a number"
            )
        return Ref(self.task, (*self.path, key), self.word)

    def __iter__(self) -> Iterator["Ref"]:
        raise UserError(f"{self.text} is not known yet: refer to its parts one by one, as in ref[0]")

    @property
    def text(self) -> str:
        """The reference as it is written in a configuration."""
        return "{{ " + ".".join([self.task, self.word, *map(str, self.path)]) + " }}"


def refs_in(value: object) -> Iterator[Ref]:
    """The references in a value: itself, or what is in its lists, tuples and dictionaries, however deep."""
    if isinstance(value, Ref):
        yield value
    elif type(value) in (list, tuple):
        for item in value:  # type: ignore[attr-defined]
            yield from refs_in(item)
    elif type(value) is dict:
        for item in value.values():
            yield from refs_in(item)


def replaced(value: Any, by: Callable[[Ref], object]) -> Any:
    """The value with each reference replaced."""
    if isinstance(value, Ref):
        return by(value)
    if type(value) in (list, tuple):
        return type(value)(replaced(item, by) for item in value)
    if type(value) is dict:
        return {key: replaced(item, by) for key, item in value.items()}
    return value


def bind(
    payload: bytes, buffers: list[memoryview], results: Sequence[Left]
) -> tuple[bytes, list[memoryview]]:
    """The arguments of a call with what they refer to in its place.

    Parameters
    ----------
    payload, buffers
        Of a task whose call travels by value.
    results
        What the tasks left that it uses.

    Raises
    ------
    UserError
        When a reference stands for nothing; says what there is.
    """
    known = {left.name: left for left in results}
    args, kwargs = encoding.decode_arguments(payload, buffers)
    data, parts = encoding.encode_pickle(replaced((args, kwargs), lambda ref: _find(ref, known)))
    # A copy: another task may be given the same result, and either may write to it.
    return data, [memoryview(bytearray(part)) for part in parts]


def _find(ref: Ref, known: Mapping[str, Left]) -> object:
    left = known.get(ref.task)
    if left is None:
        raise UserError(f"{ref.text} names no task that this one waits for")
    if ref.word == "stdout":
        return output_of(left, ref.text)
    if left.state != "succeeded":
        raise UserError(f"{ref.text}: {left.name} was {left.state} and left no result")
    value: Any = left.value
    for key in ref.path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError) as error:
            told = f"{type(error).__name__}: {error}"
            raise UserError(
                f"{ref.text}: {left.name} returned a {type(left.value).__name__}; {told}"
            ) from None
    return value
