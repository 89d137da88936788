"""Decoding results for the table, without ever running what came from a task.

The encoding is that of ``execute/payload.py``, which this room cannot see. A value begins with one byte:
``m`` msgpack of plain data, arrays in it being Ext 1 of msgpack (dtype, shape, bytes in C order); ``n``
msgpack (dtype, shape) of one array whose bytes are part 0 of the blob; ``p`` a pickle. A capital says that
what would follow, being long, is part 0 of the blob. No bytes: no value.
"""

import enum
import math
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

from mpiexec_runner.errors import StorageError
from mpiexec_runner.model.tasks import BlobRef, PlainArguments
from mpiexec_runner.storage.port import BlobPort

Array = NDArray[Any]
ARRAY_EXT: Final = 1

_ENCODINGS = {b"p": "pickle", b"m": "msgpack", b"n": "array"}


class NoValue(enum.Enum):
    """The type of :data:`NO_VALUE`."""

    NO_VALUE = "no value"


NO_VALUE: Final = NoValue.NO_VALUE
"""What a task without a result has; not the same as one that returned ``None``."""


class Opaque(msgspec.Struct, frozen=True):
    """A value that only its task can make sense of, as bytes; ``encoding`` says in which form."""

    encoding: str
    data: bytes


class Elsewhere(msgspec.Struct, frozen=True):
    """A value whose large parts are in the blob ``ref`` and need its task to be put together."""

    encoding: str
    ref: BlobRef


def decode_value(value: bytes, ref: BlobRef | None = None, blobs: BlobPort | None = None) -> object:
    """The result that ``value`` encodes.

    Parameters
    ----------
    value
        The bytes of ``Outcome.value``.
    ref, blobs
        The blob with its large parts, and where blobs are.

    Returns
    -------
    object
        Plain data, a NumPy array, :class:`Opaque`, :class:`Elsewhere` or :data:`NO_VALUE`.

    Raises
    ------
    StorageError
        The bytes are not what they say, or the blob is gone or damaged.
    """
    if not value:
        return NO_VALUE
    form, body = value[:1], value[1:]
    if ref is not None:
        # Only what stands in one part can be put together here.
        if blobs is None or len(ref.sizes) != 1 or form not in (b"n", b"M", b"P"):
            return Elsewhere(_ENCODINGS.get(form.lower(), "unknown"), ref)
        part = blobs.get(ref)[0]
        if form == b"n":
            dtype, shape = _decode_head(body)
            return array_from(dtype, shape, part)
        form, body = form.lower(), bytes(part)
    if form == b"m":
        try:
            return _PLAIN.decode(body)
        except msgspec.MsgspecError as error:
            raise StorageError(f"a result is not the plain data that it says it is: {error}") from error
    return Opaque(_ENCODINGS.get(form, "unknown"), body)


def decode_arguments(payload: bytes) -> PlainArguments:
    """The arguments of a named callable or a command.

    Raises
    ------
    StorageError
        The bytes are no such arguments.
    """
    try:
        return _ARGUMENTS.decode(payload)
    except msgspec.MsgspecError as error:
        raise StorageError(f"the arguments of a task are not plain data: {error}") from error


def array_from(dtype: str, shape: tuple[int, ...], data: Buffer) -> Array:
    """The array with these bytes. It shares memory with ``data``.

    Raises
    ------
    StorageError
        The three do not fit together, or elements would be Python objects.
    """
    try:
        found = np.dtype(dtype)
        if found.hasobject or memoryview(data).nbytes != math.prod(shape) * found.itemsize:
            raise StorageError(f"an array of {shape} elements of type {dtype} does not have these bytes")
        return np.ndarray(shape, found, buffer=memoryview(data))
    except (TypeError, ValueError) as error:
        raise StorageError(f"an array of type {dtype!r} cannot be read: {error}") from error


def to_json(value: object) -> str:
    """Plain data as JSON; arrays become lists, bytes base64, what JSON has no word for its ``str``."""
    try:
        return msgspec.json.encode(value, enc_hook=_for_json).decode()
    except (TypeError, ValueError):  # keys that JSON cannot have
        return msgspec.json.encode(str(value)).decode()


def _for_json(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


def _decode_head(body: bytes) -> tuple[str, tuple[int, ...]]:
    try:
        return msgspec.msgpack.decode(body, type=tuple[str, tuple[int, ...]])
    except msgspec.MsgspecError as error:
        raise StorageError(f"a result is not the array that it says it is: {error}") from error


def _on_ext(code: int, data: memoryview) -> object:
    if code != ARRAY_EXT:
        return msgspec.msgpack.Ext(code, bytes(data))
    dtype, shape, content = msgspec.msgpack.decode(data, type=tuple[str, tuple[int, ...], bytes])
    array = array_from(dtype, shape, content)
    return array if array.ndim else array.item()


_PLAIN = msgspec.msgpack.Decoder(ext_hook=_on_ext)
_ARGUMENTS = msgspec.msgpack.Decoder(PlainArguments, ext_hook=_on_ext)
