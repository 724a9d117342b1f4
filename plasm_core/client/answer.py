"""The answer of a protocol that is a single one: a u32 big-endian length, and as many bytes."""

from __future__ import annotations

from plasm_core.abc import Stream
from plasm_core.errors import ProtocolError, StreamError

_HEAD_BYTES = 4


async def read_answer(stream: Stream, *, max_bytes: int) -> bytes:
    """Read one answer. The caller sets the deadline. Raises: `ProtocolError`, `StreamError`."""
    received = bytearray()
    length: int | None = None
    while length is None or len(received) < _HEAD_BYTES + length:
        data = await stream.receive_some()
        if not data:
            raise StreamError("it ended within its answer")
        received += data
        if length is None and len(received) >= _HEAD_BYTES:
            length = int.from_bytes(received[:_HEAD_BYTES], "big")
            if length > max_bytes:
                raise ProtocolError(f"its answer is {length} bytes long, and may be {max_bytes}")
    return bytes(received[_HEAD_BYTES : _HEAD_BYTES + length])
