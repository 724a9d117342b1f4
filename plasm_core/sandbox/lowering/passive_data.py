"""Passive data segments as code: a function for each that does what `memory.init` does with it.

A segment's bytes are constants of eight in functions (k) → the k-th eight bytes, of 4 KiB each, which find theirs by
halving. A global holds the segment's length, which `data.drop` makes 0.
"""

from __future__ import annotations

from plasm_core.sandbox.metering.binary import signed, unsigned

_PIECE_BYTES = 8
_PIECES = 512  # of one function

# The parameters of `memory.init`: destination, offset in the segment, count.
_TO, _FROM, _COUNT = 0, 1, 2


def pieces(data: bytes) -> list[int]:
    """Return a segment's bytes as unsigned integers of eight each, little-endian, the last filled up with zeros."""
    return [
        int.from_bytes(data[start : start + _PIECE_BYTES], "little")
        for start in range(0, len(data), _PIECE_BYTES)
    ]


def piece_bodies(data: bytes, first: int) -> list[bytes]:
    """Return the functions (k) → i64 that hold a segment; the last is the one to call.

    `first` is the index of the first of them. Each body comes without its length.
    """
    values = pieces(data)
    bodies = []
    starts = range(0, len(values), _PIECES)
    for start in starts:
        leaves = [b"\x42" + signed(_as_i64(value)) for value in values[start : start + _PIECES]]
        bodies.append(b"\x00" + _halved(leaves, start) + b"\x0b")
    if len(bodies) > 1:
        calls = [b"\x20\x00\x10" + unsigned(first + number) for number in range(len(bodies))]
        bodies.append(b"\x00" + _halved(calls, 0, step=_PIECES) + b"\x0b")
    return bodies


def _halved(leaves: list[bytes], start: int, *, step: int = 1) -> bytes:
    """Return code that runs the leaf of the number in local 0: the n-th for the `step` numbers from start + n * step."""
    if len(leaves) == 1:
        return leaves[0]
    half = len(leaves) // 2
    middle = start + half * step
    return (
        (b"\x20\x00\x41" + signed(middle) + b"\x49\x04\x7e")  # local.get 0; middle; i32.lt_u; if (result i64)
        + _halved(leaves[:half], start, step=step)
        + b"\x05"
        + _halved(leaves[half:], middle, step=step)
        + b"\x0b"
    )


def init_body(length: bytes, piece: bytes | None) -> bytes:
    """Return the function (destination, offset, count) → () of a segment, without its length.

    `length`: code that pushes the segment's present length as an i32. `piece`: the encoded index of the function that
    gives eight bytes of it, None if the segment has none or is active, so that nothing can be copied.
    """
    check = (
        # offset + count > length, or destination + count > the memory's size, each without wrapping
        (_wide(_FROM) + _wide(_COUNT) + b"\x7c" + length + b"\xad\x56")
        + (_wide(_TO) + _wide(_COUNT) + b"\x7c\x3f\x00\xad\x42\x10\x86\x56\x72\x04\x40")
        # a load that no memory is large enough for: the trap of an access out of bounds
        + b"\x41\x7f\x28\x00\xff\xff\xff\xff\x0f\x1a\x0b"
    )
    if piece is None:
        return b"\x00" + check + b"\x0b"
    fetch = b"\x20\x01\x41\x03\x76\x10" + piece  # piece(offset >> 3)
    aligned = b"\x20\x01\x41\x07\x71\x45\x20\x02\x41\x08\x4f\x71\x04\x40"  # offset % 8 == 0 and count >= 8
    eight = b"\x20\x00" + fetch + b"\x37\x00\x00" + _advance(8)
    shift = b"\x20\x01\x41\x07\x71\x41\x03\x74\xad\x88"  # >> 8 * (offset % 8)
    one = b"\x20\x00" + fetch + shift + b"\x3c\x00\x00" + _advance(1)
    loop = b"\x02\x40\x03\x40\x20\x02\x45\x0d\x01" + aligned + eight + b"\x05" + one + b"\x0b\x0c\x00\x0b\x0b"
    return b"\x00" + check + loop + b"\x0b"


def _wide(local: int) -> bytes:
    """Return code that pushes a local as an i64."""
    return b"\x20" + unsigned(local) + b"\xad"


def _advance(count: int) -> bytes:
    """Return code that moves all three parameters on by so many bytes."""
    by = b"\x41" + signed(count)
    return b"".join(
        b"\x20" + unsigned(local) + by + operation + b"\x21" + unsigned(local)
        for local, operation in ((_TO, b"\x6a"), (_FROM, b"\x6a"), (_COUNT, b"\x6b"))
    )


def _as_i64(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
