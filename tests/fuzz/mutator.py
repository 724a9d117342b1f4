"""Damage WebAssembly modules: their bytes, their numbers, their sections, and, keeping types, their code."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from plasm_core.sandbox.metering.binary import signed, sized, unsigned

HEADER = b"\0asm\1\0\0\0"
CODE = 10

_NUMBERS = (0, 1, 2, 3, 63, 64, 127, 128, 255, 256, 16_383, 16_384, 32_767, 65_535, 65_536, 1 << 20)
_LARGE = ((1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)

# Instructions that take and give the same, by opcode.
_ALIKE: tuple[range | tuple[int, ...], ...] = (
    (0x45, 0x67, 0x68, 0x69, 0xC0, 0xC1),  # i32 → i32
    range(0x46, 0x50),  # i32, i32 → i32: comparisons
    range(0x51, 0x5B),
    range(0x5B, 0x61),
    range(0x61, 0x67),
    range(0x6A, 0x79),  # i32, i32 → i32
    (0x79, 0x7A, 0x7B, 0xC2, 0xC3, 0xC4),
    range(0x7C, 0x8B),
    range(0x8B, 0x92),
    range(0x92, 0x99),
    range(0x99, 0xA0),
    range(0xA0, 0xA7),
    (0xA8, 0xA9, 0xBC),  # f32 → i32
    (0xAA, 0xAB),
    (0xAC, 0xAD),
    (0xAE, 0xAF),
    (0xB0, 0xB1, 0xBD),
    (0xB2, 0xB3, 0xBE),
    (0xB4, 0xB5),
    (0xB7, 0xB8),
    (0xB9, 0xBA, 0xBF),
    (0x28, 0x2C, 0x2D, 0x2E, 0x2F),  # loads and stores of one type
    (0x29, *range(0x30, 0x36)),
    (0x36, 0x3A, 0x3B),
    (0x37, 0x3C, 0x3D, 0x3E),
)
_CLASS_OF = {opcode: tuple(group) for group in _ALIKE for opcode in group}

_HARMLESS = (
    b"\x01",  # nop
    b"\x00",  # unreachable
    b"\x0f",  # return
    b"\x02\x40\x0b",  # an empty block
    b"\x03\x40\x0b",
    b"\x41\x00\x04\x40\x05\x0b",  # an if with an else
    b"\x41\x01\x0d\x00",  # br_if to the end of the block
    b"\x3f\x00\x1a",  # memory.size, drop
    b"\x41\x01\x40\x00\x1a",  # memory.grow by one
    b"\x41\xff\xff\x03\x40\x00\x1a",  # and by too much
    b"\x41\x00\x41\x00\x41\x10\xfc\x0b\x00",  # memory.fill
    b"\x41\x00\x41\x08\x41\x10\xfc\x0a\x00\x00",  # memory.copy
    b"\x41\x00\x28\x02\x00\x1a",  # a load, dropped
    b"\x41\x00\x41\x2a\x36\x02\x00",  # a store
    b"\x20\x00\x1a",  # local.get 0, drop
    b"\x23\x00\x1a",  # global.get 0, drop
    b"\x10\x00",  # call 0
    b"\xd0\x70\x1a",  # ref.null func, drop
    b"\x43\x00\x00\xc0\x7f\x8c\x1a",  # -nan
)

Section = tuple[int, bytes]


def sections(module: bytes) -> list[Section]:
    """Split a module into its sections. What cannot be read is one section, of kind -1."""
    found = []
    position = len(HEADER)
    while position < len(module):
        kind = module[position]
        length, start = _leb(module, position + 1)
        if length is None or start + length > len(module):
            found.append((-1, module[position:]))
            break
        found.append((kind, module[start : start + length]))
        position = start + length
    return found


def joined(parts: Sequence[Section]) -> bytes:
    """Make a module of sections."""
    return HEADER + b"".join(
        content if kind < 0 else bytes([kind]) + sized(content) for kind, content in parts
    )


def bodies(code: bytes) -> list[bytes] | None:
    """Return the function bodies of a code section, or None if it cannot be read."""
    count, position = _leb(code, 0)
    found = []
    for _ in range(min(count or 0, len(code))):
        length, start = _leb(code, position)
        if length is None or start + length > len(code):
            return None
        found.append(code[start : start + length])
        position = start + length
    return found


def instructions(body: bytes) -> list[tuple[int, int]]:
    """Return start and end of the instructions of a function body, as far as it can be read."""
    groups, position = _leb(body, 0)
    for _ in range(min(groups or 0, len(body))):
        _, position = _leb(body, position)
        position += 1
    found = []
    while position < len(body):
        end = _end_of(body, position)
        if end is None or end > len(body):
            break
        found.append((position, end))
        position = end
    return found


def _leb(data: bytes, position: int) -> tuple[int | None, int]:
    """Read an unsigned number. Return it, or None, and where it ends."""
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
    return None, len(data)


def _end_of(body: bytes, position: int) -> int | None:
    """Return where an instruction ends; None if it is not known here (vectors)."""
    opcode = body[position]
    position += 1
    if opcode in (0x02, 0x03, 0x04, 0x41, 0x42):  # a block's type, a constant: numbers with a sign, as long
        return _leb(body, position)[1]
    if opcode == 0x43:
        return position + 4
    if opcode == 0x44:
        return position + 8
    if opcode == 0x0E:
        count, position = _leb(body, position)
        for _ in range(min(count or 0, len(body)) + 1):
            _, position = _leb(body, position)
        return position
    if opcode == 0x1C:
        count, position = _leb(body, position)
        return position + (count or 0)
    if opcode == 0xFC:
        second, position = _leb(body, position)
        numbers = 2 if second in (8, 10, 12, 14) else 0 if second is None or second < 8 else 1
    elif opcode == 0xFD or opcode in range(0xE0, 0xFC):
        return None
    elif opcode == 0x11 or opcode in range(0x28, 0x3F):
        numbers = 2
    else:
        numbers = 1 if opcode in (0x0C, 0x0D, 0x10, *range(0x20, 0x27), 0x3F, 0x40, 0xD0, 0xD2) else 0
    for _ in range(numbers):
        _, position = _leb(body, position)
    return position


class Mutator:
    """Makes modules out of others. The same seed makes the same ones."""

    def __init__(self, modules: Sequence[bytes], rng: random.Random) -> None:
        self._modules = modules
        self._rng = rng
        self._raw: tuple[Callable[[bytes], bytes], ...] = (
            self._flip_bits,
            self._edit_bytes,
            self._edit_number,
            self._cut,
            self._repeat,
            self._splice,
        )

    def mutate(self, module: bytes) -> bytes:
        """Damage a module in one to four places; leave its code's types whole more often than not."""
        for _ in range(self._rng.choice((1, 1, 1, 1, 2, 2, 3))):
            way = self._rng.random()
            if way < 0.65:
                module = self._change_code(module)
            elif way < 0.80:
                module = self._change_sections(module)
            else:
                module = self._rng.choice(self._raw)(module)
        return module

    # -- bytes

    def _flip_bits(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._rng.choice((1, 1, 2, 4, 8)) if data else 0):
            changed[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)
        return bytes(changed)

    def _edit_bytes(self, data: bytes) -> bytes:
        position = self._rng.randrange(len(data) + 1)
        length = self._rng.choice((1, 1, 2, 4))
        new = bytes(
            self._rng.choice((0, 1, 0x0B, 0x7F, 0x80, 0xFF, self._rng.randrange(256))) for _ in range(length)
        )
        return data[:position] + new + data[position + self._rng.choice((0, length)) :]

    def _edit_number(self, data: bytes) -> bytes:
        position = self._rng.randrange(len(data) + 1)
        value, end = _leb(data, position)
        return data[:position] + self._number(value or 0) + data[end:]

    def _number(self, value: int) -> bytes:
        """Return a number near another, or a remarkable one, perhaps longer than it need be."""
        value = self._rng.choice(
            (value + 1, max(0, value - 1), value, self._rng.choice(_NUMBERS), self._rng.choice(_LARGE))
        )
        encoded = unsigned(value)
        if self._rng.random() < 0.3:
            longer = self._rng.randrange(1, 6)
            encoded = encoded[:-1] + bytes([encoded[-1] | 0x80]) + b"\x80" * (longer - 1) + b"\0"
        return encoded

    def _cut(self, data: bytes) -> bytes:
        start = self._rng.randrange(len(data) + 1)
        return data[:start] + data[start + self._rng.choice((1, 2, 8, 64, len(data))) :]

    def _repeat(self, data: bytes) -> bytes:
        start = self._rng.randrange(len(data) + 1)
        end = start + self._rng.choice((1, 2, 8, 64))
        return data[:end] + data[start:end] * self._rng.choice((1, 1, 3, 20)) + data[end:]

    def _splice(self, data: bytes) -> bytes:
        other = self._rng.choice(self._modules)
        start = self._rng.randrange(len(other) + 1)
        position = self._rng.randrange(len(data) + 1)
        piece = other[start : start + self._rng.choice((4, 16, 64, 256))]
        return data[:position] + piece + data[position + self._rng.choice((0, len(piece))) :]

    # -- sections

    def _change_sections(self, module: bytes) -> bytes:
        parts = sections(module)
        if not parts:
            return module
        index = self._rng.randrange(len(parts))
        kind, content = parts[index]
        way = self._rng.randrange(8)
        if way == 0:
            del parts[index]
        elif way == 1:
            parts.insert(self._rng.randrange(len(parts) + 1), parts[index])
        elif way == 2:
            other = self._rng.randrange(len(parts))
            parts[index], parts[other] = parts[other], parts[index]
        elif way == 3:
            theirs = sections(self._rng.choice(self._modules))
            alike = [part for part in theirs if part[0] == kind]
            if alike:
                parts[index] = alike[0]
        elif way == 4:
            theirs = sections(self._rng.choice(self._modules))
            if theirs:
                parts.insert(index, self._rng.choice(theirs))
        elif way == 5:
            name = sized(self._rng.choice((b"name", b"x", b"plasm:gas", b"producers")))
            parts.insert(index, (0, name + self._rng.randbytes(self._rng.randrange(20))))
        else:
            parts[index] = (kind, self._rng.choice(self._raw)(content))
        return joined(parts)

    # -- code

    def _change_code(self, module: bytes) -> bytes:
        parts = sections(module)
        for index, (kind, content) in enumerate(parts):
            functions = bodies(content) if kind == CODE else None
            if functions:
                which = self._rng.randrange(len(functions))
                functions[which] = self._change_body(functions[which])
                parts[index] = (CODE, unsigned(len(functions)) + b"".join(map(sized, functions)))
                return joined(parts)
        return module

    def _change_body(self, body: bytes) -> bytes:
        found = instructions(body)
        if not found:
            return self._rng.choice(self._raw)(body)
        start, end = self._rng.choice(found)
        way = self._rng.randrange(10)
        if way < 4:
            new = self._exchanged(body[start:end])
        elif way < 7:
            new = self._rng.choice(_HARMLESS) + body[start:end]
        elif way < 8:
            new = body[start:end] * 2
        elif way < 9:
            new = b""
        else:
            other_start, other_end = self._rng.choice(found)
            new = body[other_start:other_end] + body[start:end]
        return body[:start] + new + body[end:]

    def _exchanged(self, instruction: bytes) -> bytes:
        """Return an instruction of the same type, or the same with another number in it."""
        opcode, rest = instruction[0], instruction[1:]
        if opcode in _CLASS_OF:
            opcode = self._rng.choice(_CLASS_OF[opcode])
            if opcode in range(0x28, 0x3F):
                rest = b"\0" + unsigned(self._rng.choice((*_NUMBERS, (1 << 32) - 1)))
            return bytes([opcode]) + rest
        if opcode in (0x41, 0x42):
            value = self._rng.choice((*_NUMBERS, *_LARGE[: 2 if opcode == 0x41 else 5]))
            return bytes([opcode]) + signed(self._rng.choice((value, -value)))
        if opcode in (0x43, 0x44):
            return bytes([opcode]) + self._rng.choice((bytes(len(rest)), self._rng.randbytes(len(rest))))
        if rest and opcode not in (0x02, 0x03, 0x04):
            return bytes([opcode]) + unsigned(self._rng.randrange(8)) + rest[_leb(rest, 0)[1] :]
        return instruction
