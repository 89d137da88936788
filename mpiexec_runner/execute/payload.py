"""How arguments and results become bytes, and back.

Two ways. *Plain data* (msgpack, arrays included) for tasks that come from a configuration: readable by
anyone without running code. *Pickle* (protocol 5) for the Python interface, where a result must come back
as exactly what it was; such pickles never leave the run. Large buffers stay out of the bytes and travel
beside them.

``None`` is no bytes at all. Else the first byte tells which: ``m`` msgpack, ``n`` one NumPy array whose data
is the only buffer, ``p`` pickle. A capital says that the rest of the bytes, being long, is the first of the
buffers.

NumPy is imported where there is an array: most ranks and child processes never see one.
"""

# ruff: noqa: PLC0415 - see above

import pickle
from typing import TYPE_CHECKING, Any

import cloudpickle
import msgspec
from typing_extensions import Buffer, TypeIs

from mpiexec_runner.model.tasks import PlainArguments

if TYPE_CHECKING:
    import numpy as np

OUT_OF_BAND_BYTES = 64 * 1024
"""Buffers from this size on travel beside the bytes."""
ARRAY_EXTENSION = 1
_PICKLED, _PICKLES = ord("p"), b"pP"
_SMALL = frozenset({bool, int, float})
"""Types whose values are small, hold no buffers, and come back from msgpack as exactly what they were."""

_header = msgspec.msgpack.Encoder()


class _Array(msgspec.Struct, array_like=True):
    """An array inside msgpack: ``dtype.str``, shape, data in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes = b""


def _is_like_an_array(value: object) -> bool:
    """Whether a value is one of NumPy's, or pretends to be."""
    return hasattr(type(value), "__array_interface__")


def _is_plain_array(value: object) -> TypeIs["np.ndarray[Any, np.dtype[Any]]"]:
    """Whether shape, ``dtype.str`` and bytes are all there is to an array: no objects, no named fields."""
    if not _is_like_an_array(value):
        return False
    import numpy as np

    return isinstance(value, np.ndarray) and not value.dtype.hasobject and value.dtype.names is None


def _as_array(
    data: bytes | memoryview, dtype: str, shape: tuple[int, ...]
) -> "np.ndarray[Any, np.dtype[Any]]":
    """The array whose data these bytes are."""
    import numpy as np

    return np.frombuffer(data, np.dtype(dtype)).reshape(shape)


def _plain(value: object) -> object:
    """What msgspec asks about values it does not know."""
    if not _is_like_an_array(value):
        raise TypeError(f"{type(value).__name__} is not plain data")
    import numpy as np

    if _is_plain_array(value):
        array = _Array(value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes())
        return msgspec.msgpack.Ext(ARRAY_EXTENSION, _header.encode(array))
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return value.item()
    raise TypeError(f"{type(value).__name__} is not plain data")


def _extension(code: int, data: memoryview) -> object:
    if code != ARRAY_EXTENSION:
        raise ValueError(f"unknown msgpack extension {code}")
    array = msgspec.msgpack.decode(data, type=_Array)
    return _as_array(array.data, array.dtype, array.shape)


_plain_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
_plain_decoder = msgspec.msgpack.Decoder(ext_hook=_extension)
_arguments = msgspec.msgpack.Decoder(PlainArguments, ext_hook=_extension)


def encode_plain(value: object) -> tuple[bytes, list[Buffer]]:
    """Encode a result as plain data where it is, as a pickle where it is not.

    Returns
    -------
    (bytes, buffers)
        ``buffers`` travel beside the bytes.

    Raises
    ------
    Exception
        Whatever pickle raises when the value cannot travel at all.
    """
    if value is None:
        return b"", []
    if _is_plain_array(value) and value.nbytes >= OUT_OF_BAND_BYTES:
        import numpy as np

        array = np.ascontiguousarray(value)
        header = _header.encode((array.dtype.str, array.shape))
        return b"n" + header, [array.reshape(-1).view(np.uint8).data]
    try:
        return _spill(b"m", _plain_encoder.encode(value), [])
    except (TypeError, OverflowError, UnicodeEncodeError):
        return encode_pickle(value)


def encode_pickle(value: object) -> tuple[bytes, list[Buffer]]:
    """Encode a value as a pickle, its large buffers beside it; functions of ``__main__`` by value."""
    if value is None:
        return b"", []
    if type(value) in _SMALL:
        try:
            return b"m" + _header.encode(value), []
        except OverflowError:  # an int of more than 64 bits
            return b"p" + pickle.dumps(value, 5), []
    buffers: list[Buffer] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < OUT_OF_BAND_BYTES:
            return True
        buffers.append(raw)
        return False

    try:
        data = pickle.dumps(value, 5, buffer_callback=keep_in_band)
    except (pickle.PicklingError, AttributeError, TypeError):
        buffers.clear()
        data = cloudpickle.dumps(value, 5, buffer_callback=keep_in_band)
    return _spill(b"p", data, buffers)


def _spill(tag: bytes, data: bytes, buffers: list[Buffer]) -> tuple[bytes, list[Buffer]]:
    """Put the tag before the bytes, or long bytes among the buffers."""
    if len(data) < OUT_OF_BAND_BYTES:
        return tag + data, buffers
    return tag.upper(), [data, *buffers]


def decode(data: Buffer, buffers: list[memoryview] | None = None) -> Any:
    """The value that ``data`` and ``buffers`` were made of.

    Raises
    ------
    ValueError
        When the first byte names no known encoding.
    """
    if not buffers and isinstance(data, bytes):  # most values
        if data[:1] == b"m":
            return _plain_decoder.decode(data[1:])
        if data[:1] == b"p":
            return pickle.loads(data[1:])
    view = memoryview(data)
    if not view.nbytes:
        return None
    kind, view, parts = view[:1].tobytes(), view[1:], list(buffers or ())
    if kind.isupper():
        kind, view = kind.lower(), parts.pop(0)
    if kind == b"p":
        return pickle.loads(view, buffers=parts)
    if kind == b"m":
        return _plain_decoder.decode(view)
    if kind == b"n":
        dtype, shape = msgspec.msgpack.decode(view, type=tuple[str, tuple[int, ...]])
        return _as_array(parts[0], dtype, shape)
    raise ValueError(f"a value in an unknown encoding {kind!r}")


def decode_arguments(
    payload: bytes, buffers: list[memoryview] | None
) -> tuple[tuple[object, ...], dict[str, object]]:
    """Positional and named arguments of a task."""
    tag = payload[0]
    if tag == _PICKLED and not buffers:
        args, kwargs = pickle.loads(payload[1:])
        return args, kwargs
    if tag in _PICKLES:
        args, kwargs = decode(payload, buffers)
        return args, kwargs
    plain = _arguments.decode(payload)
    return plain.args, plain.fields


def find_references(payload: bytes) -> PlainArguments | None:
    """The arguments, if they are plain and may refer to results of other tasks (``{{ name.result }}``)."""
    if b"{{" not in payload or payload[0] in _PICKLES:
        return None
    return _arguments.decode(payload)


def encode_bound(arguments: PlainArguments) -> bytes:
    """Arguments into which results were put, for use in this rank and below it."""
    try:
        return _plain_encoder.encode(arguments)
    except (TypeError, OverflowError, UnicodeEncodeError):  # a result that is no plain data
        pickled: bytes = cloudpickle.dumps((arguments.args, arguments.fields), 5)
        return b"p" + pickled


def encode_arguments(args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[bytes, list[Buffer]]:
    """Arguments of a pickled call."""
    if not kwargs and _SMALL.issuperset(map(type, args)):
        try:
            return _header.encode(PlainArguments(args)), []
        except OverflowError:  # an int of more than 64 bits
            return b"p" + pickle.dumps((args, kwargs), 5), []
    return encode_pickle((args, kwargs))
