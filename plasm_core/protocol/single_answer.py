"""The codec of the protocols in which the node sends one answer and the client sends nothing.

The answer is a u32 big-endian length, and as many bytes (docs/network.md, "Capabilities"). Health, metrics and
capability records are sent so.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import trio

from plasm_core.errors import ProtocolError, StreamError
from plasm_core.plugins.interfaces import Stream, StreamHandler

_LENGTH = struct.Struct(">I")
_SEND_S = 10
"""How long a client may take to read an answer."""


def encode_answer(answer: bytes) -> bytes:
    """Return an answer preceded by its u32 length."""
    return _LENGTH.pack(len(answer)) + answer


async def read_answer(stream: Stream, *, max_bytes: int) -> bytes:
    """Read one answer. The caller sets the deadline. Raises: `ProtocolError`, `StreamError`."""
    received = bytearray()
    length: int | None = None
    while length is None or len(received) < _LENGTH.size + length:
        data = await stream.receive_some()
        if not data:
            raise StreamError("it ended within its answer")
        received += data
        if length is None and len(received) >= _LENGTH.size:
            length = int(_LENGTH.unpack_from(received)[0])
            if length > max_bytes:
                raise ProtocolError(f"its answer is {length} bytes long, and may be {max_bytes}")
    return bytes(received[_LENGTH.size : _LENGTH.size + length])


def answering(make: Callable[[], bytes]) -> StreamHandler:
    """Return a stream handler that sends the answer that `make` returns, and closes the stream."""

    async def handle(stream: Stream) -> None:
        answer = encode_answer(make())
        with trio.fail_after(_SEND_S):
            await stream.send_all(answer)
            await stream.aclose()

    return handle
