"""Envelopes: many messages in one packet, with a version and a size limit.

It knows the messages of ``model/messages.py`` and nothing of how packets travel.
"""

from collections.abc import Sequence

import msgspec
from typing_extensions import Buffer

from mpiexec_runner.errors import PeerError
from mpiexec_runner.model.messages import AnyMessage

VERSION = 1
BODY_LIMIT_BYTES = 256 * 2**20
"""No honest body is larger: whatever is large travels in buffers beside it."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[AnyMessage])


def encode(messages: Sequence[AnyMessage]) -> bytearray:
    """The body of an envelope that holds ``messages``."""
    body = bytearray((VERSION,))
    _encoder.encode_into(messages, body, 1)
    return body


def decode(body: Buffer) -> list[AnyMessage]:
    """The messages in an envelope.

    Raises
    ------
    PeerError
        When it is of another version, too large, or not made of messages that this version knows.
    """
    view = memoryview(body)
    if not view.nbytes or view[0] != VERSION:
        found = view[0] if view.nbytes else "nothing"
        raise PeerError(
            f"an envelope of version {found} where {VERSION} is spoken: all ranks must run the same "
            "version of mpiexec_runner"
        )
    if view.nbytes > BODY_LIMIT_BYTES:
        raise PeerError(f"an envelope of {view.nbytes} bytes; the limit is {BODY_LIMIT_BYTES}")
    try:
        return _decoder.decode(view[1:])
    except msgspec.DecodeError as error:  # ValidationError is one
        raise PeerError(f"a malformed envelope of {view.nbytes} bytes: {error}") from error
