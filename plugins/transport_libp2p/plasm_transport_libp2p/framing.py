"""Length-prefixed messages on a stream: an unsigned varint, then that many bytes, as libp2p's protobufs are sent."""

from __future__ import annotations

from plasm_core.errors import StreamError
from plasm_core.plugins.interfaces import Stream
from plasm_transport_libp2p.varint import VarintDecoder, encode_varint

_MAX_LENGTH_BYTES = 5


def encode(message: bytes) -> bytes:
    """Return a message behind its length."""
    return encode_varint(len(message)) + message


class MessageReader:
    """Reads messages from a stream, none longer than `max_bytes`."""

    def __init__(self, stream: Stream, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    async def next(self) -> bytes | None:
        """Return the next message, None at the end of the stream. Raises: `StreamError` if it is too long or cut short."""
        length, complete, begun = VarintDecoder(_MAX_LENGTH_BYTES), False, False
        while not complete:
            if not await self._fill(1):
                if begun:
                    raise StreamError("the stream ended within a message")
                return None
            begun = True
            try:
                complete = length.take(self._buffer.pop(0))
            except ValueError:
                raise StreamError(f"a message is longer than {self._max_bytes} bytes") from None
            if length.value > self._max_bytes:
                raise StreamError(f"a message is longer than {self._max_bytes} bytes")
        if not await self._fill(length.value):
            raise StreamError("the stream ended within a message")
        message = bytes(self._buffer[: length.value])
        del self._buffer[: length.value]
        if self._buffer:  # the next one needs no wait
            await self._stream.pause()
        return message

    def rest(self) -> bytes:
        """Return the bytes received after the last message, which belong to the next protocol on the stream."""
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
    """Return the first message. Raises: `StreamError` if there is none, or it is too long or cut short."""
    message = await MessageReader(stream, max_bytes).next()
    if message is None:
        raise StreamError("the stream ended without the message that was expected")
    return message
