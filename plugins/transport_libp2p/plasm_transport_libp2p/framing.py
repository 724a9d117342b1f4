"""Messages on a stream: a length as an unsigned varint, then that many bytes."""

from __future__ import annotations

from plasm_core.abc import Stream
from plasm_core.errors import StreamError


def encode(message: bytes) -> bytes:
    """Return a message with its length before it."""
    length, prefix = len(message), bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(prefix) + bytes([length]) + message


class Reader:
    """Reads messages, none longer than `max_bytes`."""

    def __init__(self, stream: Stream, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    async def next(self) -> bytes | None:
        """Return the next message, None at the end. Raises: `StreamError` if it is too long or cut short."""
        length = shift = 0
        while True:
            if not await self._fill(1):
                if shift:
                    raise StreamError("the stream ended within a message")
                return None
            byte = self._buffer.pop(0)
            length |= (byte & 0x7F) << shift
            shift += 7
            if length > self._max_bytes or shift > 35:
                raise StreamError(f"a message is longer than {self._max_bytes} bytes")
            if not byte & 0x80:
                break
        if not await self._fill(length):
            raise StreamError("the stream ended within a message")
        message = bytes(self._buffer[:length])
        del self._buffer[:length]
        if self._buffer:  # the next one needs no wait
            await self._stream.pause()
        return message

    def rest(self) -> bytes:
        """Take what has come after the last message: whatever the stream speaks from then on."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    async def _fill(self, count: int) -> bool:
        while len(self._buffer) < count:
            data = await self._stream.receive_some()
            if not data:
                return False
            self._buffer += data
        return True


async def read_one(stream: Stream, max_bytes: int) -> bytes:
    """Return the one message that is expected. Raises: `StreamError`."""
    message = await Reader(stream, max_bytes).next()
    if message is None:
        raise StreamError("the stream ended without the message that was expected")
    return message
