"""Reads of an exact number of bytes from a source that returns as many as it has.

py-libp2p's handshake and muxer expect `read(n)` to return n bytes, neither fewer nor more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable


class ReadBuffer:
    """Holds the bytes that a source returned beyond the requested number."""

    def __init__(self, first: bytes = b"") -> None:
        self._buffer = bytearray(first)

    async def read(self, count: int | None, receive: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return `count` bytes, or at least one byte if None.

        `receive` returns at least one byte, and raises when there are no more: so does this.
        """
        while len(self._buffer) < (1 if count is None else count):
            self._buffer += await receive()
        taken = bytes(self._buffer[:count])
        del self._buffer[: len(taken)]
        return taken
