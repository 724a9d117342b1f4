"""Unsigned varints (multiformats, "unsigned-varint"): seven bits a byte, the least significant first.

Yamux, QUIC and WebAssembly have number formats of their own.
"""

from __future__ import annotations


def encode_varint(value: int) -> bytes:
    """Return a number that is not negative as a varint of the fewest bytes."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


class VarintDecoder:
    """Reads one varint as its bytes arrive, at most `max_bytes` of them. `value` grows with each."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._shift = 0
        self.value = 0

    def take(self, byte: int) -> bool:
        """Take the next byte; return whether it was the last. Raises: ValueError if there are too many."""
        self.value |= (byte & 0x7F) << self._shift
        self._shift += 7
        self._left -= 1
        if byte & 0x80 and not self._left:
            raise ValueError("a varint is too long")
        return not byte & 0x80
