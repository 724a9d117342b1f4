"""Large modules, and modules with a large output, written as binary."""

from __future__ import annotations

import random

from tests.support.wat import function, module

_PIECE_BYTES = 1 << 20


def leb128(number: int) -> bytes:
    """Encode an unsigned number."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def heavy(size_bytes: int) -> bytes:
    """Return a module with so many bytes of data in passive and active segments, that ends at once."""
    rng = random.Random(size_bytes)
    pieces = size_bytes // _PIECE_BYTES
    base = module(
        f'(memory (export "memory") {1 + pieces * _PIECE_BYTES // 65_536})', '(func (export "_start"))'
    )
    segments = b"".join(
        b"\0\x41"
        + _signed(index * _PIECE_BYTES)
        + b"\x0b"
        + leb128(_PIECE_BYTES)
        + rng.randbytes(_PIECE_BYTES)
        for index in range(pieces)
    )
    body = leb128(pieces) + segments
    return base + b"\x0b" + leb128(len(body)) + body


def _signed(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x40:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def writer(size_bytes: int) -> bytes:
    """Return a module that writes so many bytes, 64 KiB at a time."""
    return module(
        function("fd_write", "i32 i32 i32 i32"),
        '(memory (export "memory") 3)',
        '(data (i32.const 0) "\\00\\00\\01\\00\\00\\00\\01\\00")',
        f"""(func (export "_start") (local $left i32)
          (local.set $left (i32.const {size_bytes // 65_536}))
          (loop $again
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $again (local.get $left))))""",
    )
