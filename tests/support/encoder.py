"""Write the binary format of WebAssembly, with LEB128 numbers longer than need be if so wished.

Source: WebAssembly core specification, chapter "Binary Format".
"""

from collections.abc import Iterable, Sequence

from tests.support.decoder import OPCODES, FuncType

MAGIC = b"\0asm\1\0\0\0"
TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA, DATA_COUNT = range(1, 13)
I32, I64, F32, F64, FUNCREF, EXTERNREF = 0x7F, 0x7E, 0x7D, 0x7C, 0x70, 0x6F

_OPCODES = {name: opcode for opcode, name in OPCODES.items()}


class Encoder:
    """Encode numbers and what is made of them.

    Every `pad_every`-th number that may be padded is padded by some bytes, none if it is 0.
    """

    def __init__(self, pad_every: int = 0) -> None:
        self.pad_every = pad_every
        self._written = 0

    def u32(self, value: int) -> bytes:
        return self._pad(_leb128(value, is_signed=False), 5, b"\x80", b"\x00")

    def i32(self, value: int) -> bytes:
        return self._signed(value, 32)

    def i64(self, value: int) -> bytes:
        return self._signed(value, 64)

    def vec(self, items: Sequence[bytes]) -> bytes:
        return self.u32(len(items)) + b"".join(items)

    def sized(self, content: bytes) -> bytes:
        return self.u32(len(content)) + content

    def name(self, text: str) -> bytes:
        return self.sized(text.encode())

    def section(self, kind: int, content: bytes) -> bytes:
        return bytes([kind]) + self.sized(content)

    def functype(self, type_: FuncType) -> bytes:
        return b"\x60" + self.sized(bytes(type_.params)) + self.sized(bytes(type_.results))

    def limits(self, minimum: int, maximum: int | None) -> bytes:
        if maximum is None:
            return b"\0" + self.u32(minimum)
        return b"\1" + self.u32(minimum) + self.u32(maximum)

    def op(self, name: str, *indices: int) -> bytes:
        """Encode an instruction whose immediates, if any, are indices (or alignment and offset)."""
        opcode = _OPCODES[name]
        head = b"\xfc" + self.u32(opcode - 0xFC00) if opcode >= 0xFC00 else bytes([opcode])
        if name in ("memory.size", "memory.grow"):
            return head + b"\0"
        return head + b"".join(self.u32(index) for index in indices)

    def const(self, valtype: int, bits: int) -> bytes:
        """Encode the constant of a number type that has these bits."""
        if valtype == I32:
            return b"\x41" + self.i32(bits)
        if valtype == I64:
            return b"\x42" + self.i64(bits)
        return (
            b"\x43" + bits.to_bytes(4, "little") if valtype == F32 else b"\x44" + bits.to_bytes(8, "little")
        )

    def _signed(self, bits: int, n: int) -> bytes:
        value = bits - (1 << n) if bits >> (n - 1) else bits
        fill = (b"\xff", b"\x7f") if value < 0 else (b"\x80", b"\x00")
        return self._pad(_leb128(value, is_signed=True), -(-n // 7), *fill)

    def _pad(self, minimal: bytes, longest: int, middle: bytes, last: bytes) -> bytes:
        self._written += 1
        if not self.pad_every or self._written % self.pad_every or len(minimal) == longest:
            return minimal
        extra = 1 + self._written % (longest - len(minimal))
        return minimal[:-1] + bytes([minimal[-1] | 0x80]) + middle * (extra - 1) + last


def _leb128(value: int, *, is_signed: bool) -> bytes:
    encoded = bytearray()
    while True:
        low = value & 0x7F
        value >>= 7
        if value == (-1 if is_signed and low & 0x40 else 0) and not (is_signed and value == 0 and low & 0x40):
            encoded.append(low)
            return bytes(encoded)
        encoded.append(low | 0x80)


def groups(valtypes: Iterable[int]) -> list[tuple[int, int]]:
    """Join neighbours of one type: `(count, type)` for each stretch, as locals are declared."""
    stretches: list[tuple[int, int]] = []
    for valtype in valtypes:
        if stretches and stretches[-1][1] == valtype:
            stretches[-1] = (stretches[-1][0] + 1, valtype)
        else:
            stretches.append((1, valtype))
    return stretches
