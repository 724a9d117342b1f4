"""Reading and writing the WebAssembly binary format's elements: LEB128, names, vectors, sections."""

from __future__ import annotations

from plasm_core.errors import BadModuleError


def malformed(message: str) -> BadModuleError:
    """Return the error for bytes that are not well-formed WebAssembly."""
    return BadModuleError("malformed", message)


def unsigned(value: int) -> bytes:
    """Encode an unsigned LEB128, minimally."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> bytes:
    """Encode a signed LEB128, minimally."""
    out = bytearray()
    while not -0x40 <= value < 0x40:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


def vector(items: list[bytes]) -> bytes:
    """Encode a vector: the number of items, then the encoded items."""
    return unsigned(len(items)) + b"".join(items)


def sized(payload: bytes) -> bytes:
    """Encode bytes with their length before them."""
    return unsigned(len(payload)) + payload


def skip_integers(data: bytes, position: int, count: int) -> int:
    """Return the position after `count` LEB128 integers. Raises: IndexError at the end of the data."""
    for _ in range(count):
        while data[position] >= 0x80:
            position += 1
        position += 1
    return position


class Reader:
    """A cursor over bytes. Each read raises `BadModuleError` at the end of the data."""

    def __init__(self, data: bytes, position: int = 0, end: int | None = None) -> None:
        self.data = data
        self.position = position
        self.end = len(data) if end is None else end

    @property
    def done(self) -> bool:
        """Whether all bytes have been read."""
        return self.position >= self.end

    def byte(self) -> int:
        """Read one byte."""
        if self.position >= self.end:
            raise malformed("unexpected end")
        value = self.data[self.position]
        self.position += 1
        return value

    def bytes(self, count: int) -> bytes:
        """Read `count` bytes."""
        start = self.position
        if count > self.end - start:
            raise malformed("unexpected end")
        self.position = start + count
        return self.data[start : self.position]

    def skip(self, count: int) -> None:
        """Pass over `count` bytes."""
        if count > self.end - self.position:
            raise malformed("unexpected end")
        self.position += count

    def unsigned(self, bits: int = 32) -> int:
        """Read an unsigned LEB128 of at most `bits` bits."""
        value = self.byte()
        if value < 0x80:
            return value
        value &= 0x7F
        shift = 7
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift >= bits:
                raise malformed("an integer is too long")
        if value >> bits:
            raise malformed("an integer is too large")
        return value

    def signed(self, bits: int) -> int:
        """Read a signed LEB128 of at most `bits` bits."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= bits:
                raise malformed("an integer is too long")
        if byte & 0x40:
            value -= 1 << shift
        if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            raise malformed("an integer is too large")
        return value

    def name(self) -> str:
        """Read a name: a length, and that many bytes of UTF-8 (WebAssembly specification, "Names")."""
        try:
            return self.bytes(self.unsigned()).decode("utf-8")
        except UnicodeDecodeError:
            raise malformed("a name is not UTF-8") from None

    def count(self) -> int:
        """Read a vector's length. It is at most the number of bytes left, since each item takes at least one."""
        count = self.unsigned()
        if count > self.end - self.position:
            raise malformed("a vector is longer than its section")
        return count
