"""Modules of one instruction each, whose LEB128 integers are minimal, or as long as linkers leave them."""

from __future__ import annotations

from collections.abc import Callable

from plasm_core.sandbox.metering.binary import signed, sized, unsigned, vector
from tests.sandbox.modules import CODE, DATA, ELEMENT, EXPORT, FUNCTION, GLOBAL, MEMORY, TABLE, TYPE, section

_TAG, _DATA_COUNT = 13, 12
_ZERO, _ONE = b"\x41\x00", b"\x41\x01"
_THREE = _ZERO * 3


def _unsigned(value: int) -> bytes:
    encoded = bytearray(unsigned(value))
    encoded[-1] |= 0x80
    return bytes(encoded) + b"\x80" * (4 - len(encoded)) + b"\0"


def _signed(value: int) -> bytes:
    encoded = bytearray(signed(value))
    if len(encoded) == 5:
        return bytes(encoded)
    encoded[-1] |= 0x80
    filling, last = (b"\xff", b"\x7f") if value < 0 else (b"\x80", b"\0")
    return bytes(encoded) + filling * (4 - len(encoded)) + last


def _vector(u: Callable[[int], bytes], *items: bytes) -> bytes:
    return u(len(items)) + b"".join(items)


def _bodies(u: Callable[[int], bytes], s: Callable[[int], bytes]) -> dict[str, bytes]:
    dropped, v128 = b"\x1a", b"\xfd\x0c" + bytes(16)
    lane = b"\xfd" + u(84) + u(0) + u(300) + b"\x03"
    return {
        "local.get": b"\x20" + u(0) + dropped,
        "local.get, set, tee": b"\x20" + u(200) + b"\x22" + u(1) + b"\x21" + u(201),
        "global.get, set": b"\x23" + u(0) + b"\x24" + u(0),
        "table.get, set": _ZERO + b"\x41\0\x25" + u(0) + b"\x26" + u(0),
        "i32.load": _ZERO + b"\x28" + u(2) + u(300) + dropped,
        "f32.load": _ZERO + b"\x2a" + u(2) + u(300) + dropped,
        "i64.store": _ZERO + b"\x42\0\x37" + u(3) + u(8),
        "memory.grow": _ZERO + b"\x40\0" + dropped,
        "block": b"\x02" + s(1) + b"\x0b",
        "loop": b"\x03" + s(2) + _ZERO + b"\x0b\x1a",
        "if": _ZERO + b"\x04" + s(2) + _ZERO + b"\x05" + _ONE + b"\x0b\x1a",
        "br": b"\x02\x40\x0c" + u(0) + b"\x0b\x0c" + u(0),
        "br_if": _ZERO + b"\x0d" + u(0),
        "br_table": _ZERO + b"\x0e" + _vector(u, u(0), u(0)) + u(0),
        "call": b"\x10" + u(0),
        "call_indirect": _ZERO + b"\x11" + u(1) + u(0),
        "return_call": b"\x12" + u(0),
        "return_call_indirect": _ZERO + b"\x13" + u(1) + u(0),
        "throw": b"\x08" + u(0),
        "try_table": b"\x1f"
        + s(1)
        + _vector(u, b"\x00" + u(0) + u(0), b"\x02" + u(0), b"\x00" + u(0) + u(0))
        + b"\x0b",
        "a handler at a loop": b"\x03\x40\x1f\x40"
        + _vector(u, b"\x02" + u(0))
        + b"\x08"
        + u(0)
        + b"\x0b\x0b",
        "select": _THREE + b"\x1c" + _vector(u, b"\x7f") + dropped,
        "ref.func": b"\xd2" + u(0) + dropped,
        **{
            f"i32.const {value}": b"\x41" + s(value) + dropped
            for value in (0, -1, 63, 64, -64, -65, 0x7F, 0x80, 0x1FFF, -0x2000, -0x2001, -(1 << 31))
        },
        **{f"i64.const {value}": b"\x42" + s(value) + dropped for value in (0, -1, 64, -65, 1 << 26)},
        "i32.trunc_sat_f32_s": b"\x43\0\0\0\0\xfc" + u(0) + dropped,
        "memory.init": _THREE + b"\xfc" + u(8) + u(0) + b"\0",
        "data.drop": b"\xfc" + u(9) + u(0),
        "memory.copy": _THREE + b"\xfc" + u(10) + b"\0\0",
        "memory.fill": _THREE + b"\xfc" + u(11) + b"\0",
        "table.init": _THREE + b"\xfc" + u(12) + u(1) + u(0),
        "elem.drop": b"\xfc" + u(13) + u(1),
        "table.copy": _THREE + b"\xfc" + u(14) + u(0) + u(0),
        "table.grow": b"\xd0\x70\x41\0\xfc" + u(15) + u(0) + dropped,
        "table.size": b"\xfc" + u(16) + u(0) + dropped,
        "table.fill": b"\x41\0\xd0\x70\x41\0\xfc" + u(17) + u(0),
        "v128.load": _ZERO + b"\xfd" + u(0) + u(4) + u(300) + dropped,
        "v128.const": b"\xfd" + u(12) + bytes(16) + dropped,
        "v128.load8_lane": _ZERO + v128 + lane + dropped,
        "f32x4.add": v128 + v128 + b"\xfd" + u(228) + dropped,
        "dead": b"\x0f\x02" + s(1) + b"\x0c" + u(0) + b"\x0b\x41" + s(-1) + b"\x28" + u(2) + u(0) + dropped,
    }


def _module(body: bytes, u: Callable[[int], bytes]) -> bytes:
    return b"\0asm\1\0\0\0" + b"".join(
        (
            section(TYPE, vector([b"\x60\0\0", b"\x60\0\0", b"\x60\0\x01\x7f"])),
            section(FUNCTION, _vector(u, u(0))),
            section(TABLE, vector([b"\x70\0" + u(3)])),
            section(MEMORY, vector([b"\0\1"])),
            section(_TAG, vector([b"\0" + u(0)])),
            section(GLOBAL, vector([b"\x7f\x01\x41\x00\x0b"])),
            section(EXPORT, vector([sized(b"_start") + b"\0\0", sized(b"memory") + b"\2\0"])),
            section(ELEMENT, vector([b"\0\x41\0\x0b\x01\0", b"\1\0\x01\0"])),
            section(_DATA_COUNT, b"\1"),
            section(CODE, _vector(u, sized(_vector(u, u(300) + b"\x7f") + body + b"\x0b"))),
            section(DATA, vector([b"\1\x01\0"])),
        )
    )


def modules(*, padded: bool) -> dict[str, bytes]:
    """Return a module for each instruction with immediates, by name."""
    u, s = (_unsigned, _signed) if padded else (unsigned, signed)
    return {name: _module(body, u) for name, body in _bodies(u, s).items()}
