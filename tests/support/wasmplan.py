"""What the functions of one generated module share, made of choices."""

from collections.abc import Sequence
from typing import TypeVar

import attrs

from tests.support.decoder import FuncType
from tests.support.encoder import EXTERNREF, F32, F64, FUNCREF, I32, I64, Encoder

T = TypeVar("T")

NUMBERS = (I32, I64, F32, F64)
REFERENCES = (FUNCREF, EXTERNREF)
BITS = {I32: 32, I64: 64, F32: 32, F64: 64}

_POWERS = [7, 8, 16, 31, 32]
_INTEGERS = [0, 1, 2, 3, 7, 31, 63, 64, *((1 << n) - low for n in _POWERS for low in (0, 1) if n < 32 or low)]
_LONG_INTEGERS = [*_INTEGERS, 1 << 32, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
_FLOATS = [0, 0x3F800000, 0x3F000000, 0x40200000, 0xC0490FDB, 0x4F000000, 0xCF000000, 0x5F000000, 0x7F7FFFFF]
_ODD_FLOATS = [0x80000000, 1, 0x807FFFFF, 0x7F800000, 0xFF800000]
_NANS = [0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFA12345]
_DOUBLES = [0, 0x3FF0000000000000, 0x3FE0000000000000, 0xC00921FB54442D18, 0x41E0000000000000]
_MORE_DOUBLES = [0xC1E0000000000000, 0x43E0000000000000, 0x47EFFFFFE0000000, 0x36A0000000000000, 1, 1 << 63]
_ODD_DOUBLES = [0x7FF << 52, 0xFFF << 52, 0x7FF8 << 48, 0xFFF8 << 48, (0x7FF << 52) + 1, 0xFFF4000000054321]
CONSTANTS = {
    I32: _INTEGERS,
    I64: _LONG_INTEGERS,
    F32: [*_FLOATS, *_ODD_FLOATS, *_NANS],
    F64: [*_DOUBLES, *_MORE_DOUBLES, *_ODD_DOUBLES],
}
"""Bits of numbers that are likely to matter."""


@attrs.frozen
class GlobalPlan:
    type: int
    mutable: bool


@attrs.frozen
class TablePlan:
    type: int
    size: int
    maximum: int | None


class Choices:
    """Make choices from bytes; where there are no more, the first choice, which is the simplest."""

    def __init__(self, entropy: bytes) -> None:
        self._entropy = iter(entropy)

    def below(self, n: int) -> int:
        return next(self._entropy, 0) * n >> 8

    def rarely(self, n: int) -> bool:
        """Be true about once in `n` times."""
        return self.below(n) == n - 1

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def some(self, options: Sequence[T], most: int) -> tuple[T, ...]:
        return tuple(self.pick(options) for _ in range(self.below(most + 1)))

    def bytes(self, count: int) -> bytes:
        return bytes(self.below(256) for _ in range(count))

    def bits(self, valtype: int) -> int:
        if not self.rarely(6):
            return self.pick(CONSTANTS[valtype])
        return int.from_bytes(self.bytes(BITS[valtype] // 8), "little")


def quiet(bits: int) -> int:
    """Make an f32 that is a signalling NaN a quiet one."""
    return bits | 0x400000 if bits & 0x7FFFFFFF > 0x7F800000 else bits


class Plan(Choices):
    """The types, functions, tables, globals and segments of a module, before any code.

    Functions call those behind them in `order`, so that there is no cycle; with `traps`, seldom others.
    Table 0 holds functions, `contents` from its start.
    Of the element segments the first fills it, the second is passive and the third declarative.
    What is `plain` has no feature that any engine lacks.
    """

    def __init__(self, entropy: bytes, *, traps: bool, bulk: bool, grow: bool, plain: bool = False) -> None:
        super().__init__(entropy)
        self.traps, self.bulk, self.grow, self.plain = traps, bulk, grow, plain
        self.encoder = Encoder(self.pick([0, 0, 1, 2, 5]))
        self.valtypes = (*NUMBERS, I32, I64, *REFERENCES) if bulk else NUMBERS
        self.imports = int(traps and self.rarely(3))
        self._choose_functions(1 + self.below(4))
        self.types: list[FuncType] = []
        self.type_indices = [self.type_index(signature) for signature in self.signatures]
        self.globals = [GlobalPlan(I64, True)]
        self.globals += [
            GlobalPlan(self.pick(self.valtypes), not self.rarely(4)) for _ in range(self.below(5))
        ]
        self.pages = self.pick([1, 1, 1, 1, 2, 2, 0]) if traps else 1
        self.page_maximum = self.pick([None, self.pages, self.pages + 1, 65536])
        self.tables = [TablePlan(FUNCREF, 8 + self.below(1 if plain else 3), self.pick([None, 11, 20]))]
        if bulk and self.rarely(3):
            self.tables.append(TablePlan(self.pick(REFERENCES), self.below(9), self.pick([None, 9])))
        self.contents = [self.pick(range(len(self.signatures))) for _ in range(8)]
        self.data = [self.bytes(self.below(13)) for _ in range(self.below(3) + bulk)]
        if plain and not self.pages:
            self.data = []
        self.uses_data = False

    def _choose_functions(self, defined: int) -> None:
        self.signatures = [FuncType(results=(I32,))] * self.imports
        self.signatures += [FuncType(self.some(self.valtypes, 3), self.results(3)) for _ in range(defined)]
        self.order = list(range(self.imports, len(self.signatures)))
        if self.rarely(2):
            self.order.reverse()
        self.entry = self.order[0]
        self.signatures[self.entry] = FuncType()
        self.start = self.order[-1] if self.traps and defined > 1 and self.rarely(3) else None
        if self.start is not None:
            self.signatures[self.start] = FuncType()

    def bits(self, valtype: int) -> int:
        found = super().bits(valtype)
        return quiet(found) if self.plain and valtype == F32 else found

    def results(self, most: int) -> tuple[int, ...]:
        return self.some(self.valtypes, min(most, 1) if self.plain else most)

    def type_index(self, type_: FuncType) -> int:
        """Give an index of a type, sometimes a new one for a type that is there already."""
        if type_ in self.types and not self.rarely(8):
            return self.types.index(type_)
        self.types.append(type_)
        return len(self.types) - 1

    def callable_from(self, function: int) -> list[int]:
        if self.traps and self.rarely(8):
            return list(range(len(self.signatures)))
        return [*range(self.imports), *self.order[self.order.index(function) + 1 :]]
