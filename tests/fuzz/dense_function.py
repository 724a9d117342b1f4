"""One function of dense, typed code: many values on the operand stack, kept alive across blocks, branches and calls."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import attrs

from plasm_core.sandbox.metering.binary import signed, sized, unsigned, vector

I32, I64, F32, F64 = 0x7F, 0x7E, 0x7D, 0x7C
TYPES = (I32, I64, F32, F64)
_EMPTY = 0x40

_UNARY = {
    I32: (0x45, 0x67, 0x68, 0x69, 0xC0, 0xC1),
    I64: (0x79, 0x7A, 0x7B, 0xC2, 0xC3, 0xC4),
    F32: tuple(range(0x8B, 0x92)),
    F64: tuple(range(0x99, 0xA0)),
}
_BINARY = {
    I32: (0x6A, 0x6B, 0x6C, *range(0x71, 0x79)),
    I64: (0x7C, 0x7D, 0x7E, *range(0x83, 0x8B)),
    F32: tuple(range(0x92, 0x99)),
    F64: tuple(range(0xA0, 0xA7)),
}
_DIVIDE = {I32: tuple(range(0x6D, 0x71)), I64: tuple(range(0x7F, 0x83))}
_COMPARE = {
    I32: tuple(range(0x46, 0x50)),
    I64: tuple(range(0x51, 0x5B)),
    F32: tuple(range(0x5B, 0x61)),
    F64: tuple(range(0x61, 0x67)),
}
_AS_F32 = (b"\xbe", F32)
_CONVERT: dict[int, tuple[tuple[bytes, int], ...]] = {
    I32: ((b"\xac", I64), (b"\xad", I64), (b"\xb2", F32), (b"\xb3", F32), (b"\xb7", F64), (b"\xb8", F64)),
    I64: (
        *((b"\xa7", I32), (b"\x50", I32), (b"\xb4", F32), (b"\xb5", F32)),
        *((b"\xb9", F64), (b"\xba", F64), (b"\xbf", F64)),
    ),
    F32: (
        *((b"\xbb", F64), (b"\xbc", I32), (b"\xfc\x00", I32), (b"\xfc\x01", I32)),
        *((b"\xfc\x04", I64), (b"\xfc\x05", I64), (b"\xa8", I32), (b"\xae", I64)),
    ),
    F64: (
        *((b"\xb6", F32), (b"\xbd", I64), (b"\xfc\x02", I32), (b"\xfc\x03", I32)),
        *((b"\xfc\x06", I64), (b"\xfc\x07", I64), (b"\xab", I32), (b"\xb1", I64)),
    ),
}
_LOAD = {I32: (0x28, *range(0x2C, 0x30)), I64: (0x29, *range(0x30, 0x36)), F32: (0x2A,), F64: (0x2B,)}
STORE = {I32: (0x36, 0x3A, 0x3B), I64: (0x37, 0x3C, 0x3D, 0x3E), F32: (0x38,), F64: (0x39,)}
ZERO = {I32: b"\x41\x00", I64: b"\x42\x00", F32: b"\x43" + bytes(4), F64: b"\x44" + bytes(8)}
_INTEGERS = (0, 1, 2, -1, 31, 63, 255)
_FLOATS = (0.0, -0.0, 1.0, -1.5, 3.7, 1e30, 2.0**63, -(2.0**31) - 0.5)
_ODD_FLOATS = (float("inf"), float("-inf"), float("nan"), 1e-40)
_DEEPEST, _MOST_VALUES = 7, 16
EXNREF = 0x69
TAGS: tuple[tuple[int, ...], ...] = ((), (I32,), (F64, I64), (F32, I32, F32))
"""What the exceptions of a module carry that throws any."""
SEGMENT_BYTES = (0, 5, 64, 5000)
"""Of the data segments behind the first, which are passive, in a module of what is lowered for some engines."""


@attrs.define
class _Open:
    """A block that is open: the types a branch to it carries."""

    carries: tuple[int, ...]
    loop: bool = False


@attrs.frozen
class Signature:
    params: tuple[int, ...]
    results: tuple[int, ...]

    def encoded(self) -> bytes:
        return b"\x60" + sized(bytes(self.params)) + sized(bytes(self.results))

    def alike(self, other: Signature) -> bool:
        """Return whether the types differ by f32 in place of i32 at most."""
        return self.encoded().replace(b"\x7d", b"\x7f") == other.encoded().replace(b"\x7d", b"\x7f")


class Function:
    """Writes one function. `signatures` are those of all functions, of which it may call the later ones.

    `block_types`: the signatures of blocks by their type indices, none where blocks are to be plain. `handler_types`:
    the encoded types of blocks by their results, for exception handlers, none where nothing is to be thrown.
    """

    def __init__(
        self,
        rng: random.Random,
        index: int,
        signatures: list[Signature],
        *,
        steps: int,
        floats: bool,
        f32_bits: bool,
        block_types: dict[int, Signature],
        handler_types: dict[tuple[int, ...], bytes] | None = None,
    ) -> None:
        self._rng = rng
        self._index = index
        self._signatures = signatures
        self._floats, self._f32_bits, self._block_types = floats, f32_bits, block_types
        self._handler_types = handler_types or {}
        own = signatures[index]
        self._results = own.results
        declared = [rng.choice((F32, F64, I32) if floats else TYPES) for _ in range(rng.randrange(1, 6))]
        self._locals = [*own.params, *declared]
        self._own = len(self._locals)  # loops' counters come behind
        self._hot = [rng.randrange(self._own) for _ in range(rng.randrange(1, 4))]
        self._params = len(own.params)
        self._budget = rng.choice((steps // 6, steps * 5 // 12, steps))
        self._code = bytearray()
        self._kinds: tuple[int, ...] = (F32, F64, F32, F64, I32) if floats else TYPES
        if block_types:
            self._kinds = (*TYPES, F32, F32)
        self._stack: list[int] = []
        self._open = [_Open(self._results)]

    def body(self) -> bytes:
        """Return the function's entry in the code section."""
        self._sequence(self._results, depth=0)
        declared = [b"\x01" + bytes([value_type]) for value_type in self._locals[self._params :]]
        return sized(vector(declared) + bytes(self._code) + b"\x0b")

    # -- values

    def _local(self, value_type: int | None = None) -> int | None:
        fits = [i for i in range(self._own) if value_type is None or self._locals[i] == value_type]
        hot = [i for i in self._hot if i in fits]
        return self._rng.choice(hot) if hot and self._rng.random() < 0.6 else self._rng.choice(fits or [-1])

    def _push(self, value_type: int) -> None:
        """Put a value of a type on the stack: most often a local's."""
        local = self._local(value_type)
        way = self._rng.random()
        if local is not None and local >= 0 and way < 0.7:
            self._code += b"\x20" + unsigned(local)
        elif way < 0.8:
            self._code += b"\x23" + unsigned(TYPES.index(value_type))
        else:
            self._code += self._constant(value_type)
        self._stack.append(value_type)

    def _constant(self, value_type: int) -> bytes:
        if value_type in (I32, I64):
            bits = 32 if value_type == I32 else 64
            edge = 1 << (bits - 1)
            value = self._rng.choice((*_INTEGERS, edge - 1, -edge, self._rng.randrange(-edge, edge)))
            return bytes([0x41 if value_type == I32 else 0x42]) + signed(value)
        if value_type == F32 and self._block_types and self._rng.random() < 0.3:
            return b"\x43" + signalling(self._rng)
        number = self._rng.choice((*_FLOATS, *_ODD_FLOATS, self._rng.uniform(-1e6, 1e6)))
        return (
            b"\x43" + struct.pack("<f", number) if value_type == F32 else b"\x44" + struct.pack("<d", number)
        )

    def _emit(self, opcode: int, immediate: bytes = b"") -> None:
        self._code += bytes([opcode]) + immediate

    def _top(self, *least: int) -> int:
        """Return the type of the topmost value, having pushed one if there is none."""
        if not self._stack:
            self._push(self._rng.choice(least or TYPES))
        return self._stack[-1]

    # -- code

    def _sequence(self, results: tuple[int, ...], *, depth: int, params: tuple[int, ...] = ()) -> None:
        """Write code that begins with the parameters alone on the stack, and ends with the results alone."""
        outer, self._stack = self._stack, [*params]
        for _ in range(self._rng.randrange(3, 30 if not depth else 12)):
            if self._budget <= 0:
                break
            self._budget -= 1
            self._step(depth)
        self._finish(results)
        self._stack = outer

    def _finish(self, results: tuple[int, ...]) -> None:
        """Leave the results alone on the stack."""
        while tuple(self._stack) != results[: len(self._stack)]:
            self._dispose()
        for value_type in results[len(self._stack) :]:
            self._push(value_type)

    def _dispose(self) -> None:
        """Take the topmost value away, mostly so that it is seen later."""
        value_type = self._stack.pop()
        local = self._local(value_type)
        way = self._rng.random()
        if local is not None and local >= 0 and way < 0.4:
            self._emit(0x21, unsigned(local))
        elif way < 0.8:
            self._emit(0x24, unsigned(TYPES.index(value_type)))
        else:
            self._emit(0x1A)

    def _step(self, depth: int) -> None:
        if len(self._stack) < _MOST_VALUES and self._rng.random() < (0.3 if len(self._stack) > 1 else 0.7):
            self._push(self._rng.choice(self._kinds))
            return
        steps: list[tuple[Callable[[], None], int]] = [
            (self._change_local, 6),
            (self._combine, 7),
            (self._unary, 3),
            (self._convert, 4),
            (self._select, 3),
            (self._dispose_if_any, 2),
            (self._store, 2),
            (self._load, 2),
            (self._memory, 1),
            (self._call, 3),
            (self._branch_if, 15 if self._floats else 5),
        ]
        if self._block_types:
            steps += [(self._bulk, 2)]
        if self._handler_types:
            steps += [(self._throw, 3), (self._tail_call, 2)]
            if depth < _DEEPEST:
                steps += [(lambda: self._try(depth), 8), (lambda: self._try_again(depth), 2)]
        if depth < _DEEPEST:
            steps += [(lambda: self._block(depth), 5), (lambda: self._leave(depth), 2)]
        ways, weights = zip(*steps, strict=True)
        self._rng.choices(ways, weights)[0]()

    def _dispose_if_any(self) -> None:
        self._top()
        self._dispose()

    def _change_local(self) -> None:
        local = self._local(self._top())
        if local is None or local < 0:
            self._dispose()
        elif self._rng.random() < 0.5:
            self._emit(0x22, unsigned(local))
        else:
            self._stack.pop()
            self._emit(0x21, unsigned(local))

    def _combine(self) -> None:
        value_type = self._top()
        if len(self._stack) < 2 or self._stack[-2] != value_type:
            self._push(value_type)
        self._stack.pop()
        way = self._rng.random()
        if way < 0.1 and value_type in _DIVIDE:
            self._emit(self._rng.choice(_DIVIDE[value_type]))
        elif way < 0.8:
            self._emit(self._rng.choice(_BINARY[value_type]))
        else:
            self._emit(self._rng.choice(_COMPARE[value_type]))
            self._stack[-1] = I32

    def _unary(self) -> None:
        self._emit(self._rng.choice(_UNARY[self._top()]))

    def _convert(self) -> None:
        ways = _CONVERT[self._top()]
        if self._block_types and self._stack[-1] == I32:
            ways += (_AS_F32,) * 3
        code, value_type = self._rng.choice(ways)
        if code in (b"\xa8", b"\xab", b"\xae", b"\xb1") and self._rng.random() < 0.8:
            return  # those trap
        self._code += code
        self._stack[-1] = value_type

    def _select(self) -> None:
        value_type = self._top()
        if len(self._stack) < 2 or self._stack[-2] != value_type:
            self._push(value_type)
        self._push(I32)
        self._stack[-2:] = []
        self._emit(0x1B)

    def _address(self) -> None:
        self._push(I32)
        if self._rng.random() < 0.98:
            self._code += b"\x41" + signed(0x3F8) + b"\x71"

    def _store(self) -> None:
        value_type = self._rng.choice(TYPES)
        self._address()
        self._push(value_type)
        self._emit(self._rng.choice(STORE[value_type]), b"\0" + unsigned(self._rng.randrange(8)))
        self._stack[-2:] = []

    def _load(self) -> None:
        value_type = self._rng.choice(TYPES if self._f32_bits else (I32, I64, F64))
        self._address()
        self._emit(self._rng.choice(_LOAD[value_type]), b"\0" + unsigned(self._rng.randrange(8)))
        self._stack[-1] = value_type

    def _memory(self) -> None:
        if self._rng.random() < 0.5:
            self._emit(0x3F, b"\0")
        else:
            self._code += b"\x41" + signed(self._rng.choice((0, 1, 7, -1))) + b"\x40\0"
        self._stack.append(I32)

    def _bulk(self) -> None:
        """Write memory.fill, copy or init with operands that mostly lie inside, or data.drop."""
        way = self._rng.randrange(10)
        if way == 9:
            self._code += b"\xfc\x09" + unsigned(self._rng.randrange(1 + len(SEGMENT_BYTES)))
            return
        self._address()
        if way < 6:
            self._push(I32)  # the value, or the source
            if self._rng.random() < 0.97:
                self._code += b"\x41" + signed(0x1F) + b"\x71"
        else:
            self._code += b"\x41" + signed(self._rng.randrange(3))
            self._stack.append(I32)
        if self._rng.random() < 0.8:
            self._code += b"\x41" + signed(self._rng.choice((0, 0, 1, 2, 3, 5, 8, 17, 40)))
            self._stack.append(I32)
        else:
            self._push(I32)
            self._code += b"\x41" + signed(0x3F) + b"\x71"
        code = b"\x0b\0" if way < 3 else b"\x0a\0\0"
        if way >= 6:
            code = b"\x08" + unsigned(self._rng.choice((0, 1, 2, 3, 3, 4, 4, 4))) + b"\0"
        self._code += b"\xfc" + code
        del self._stack[-3:]

    def _call(self) -> None:
        if self._index + 1 >= len(self._signatures):
            return
        callee = self._rng.randrange(self._index + 1, len(self._signatures))
        signature = self._signatures[callee]
        for value_type in signature.params:
            self._push(value_type)
        if self._rng.random() < 0.6:
            self._emit(0x10, unsigned(1 + callee))  # function 0 is imported
        else:
            element = self._astray(signature) if self._block_types and self._rng.random() < 0.15 else callee
            self._code += b"\x41" + signed(element) + b"\x11" + unsigned(2 + callee) + b"\0"
        del self._stack[len(self._stack) - len(signature.params) :]
        self._stack += signature.results

    def _astray(self, signature: Signature) -> int:
        """Return an element of the table that an indirect call most often traps on."""
        later = range(self._index + 1, len(self._signatures))
        alike = [other for other in later if self._signatures[other].alike(signature)]
        if alike and self._rng.random() < 0.7:
            return self._rng.choice(alike)
        return self._rng.randrange(self._index + 1, len(self._signatures) + 5)

    # -- exceptions and tail calls

    def _try(self, depth: int) -> None:
        """Write a block that exceptions of one kind lead out of, and perhaps of another kind to an outer block."""
        tag, kind = self._rng.randrange(len(TAGS)), self._rng.randrange(4)
        carries = TAGS[tag] if kind < 2 else ()
        keeps = (EXNREF,) if kind % 2 else ()
        catches = [bytes([kind]) + (unsigned(tag) if kind < 2 else b"") + b"\0"]
        self._emit(0x02, self._handler_types[carries + keeps])
        self._open.append(_Open(carries + keeps, loop=bool(keeps)))
        outer = [
            (t, d) for d in self._targets() for t, of in enumerate(TAGS) if self._open[-1 - d].carries == of
        ]
        if outer and self._rng.random() < 0.5:
            other, target = self._rng.choice(outer)
            catches.insert(self._rng.randrange(2), b"\0" + unsigned(other) + unsigned(target))
        result = self._rng.choice((None, *self._kinds))
        results = (result,) if result else ()
        self._emit(0x1F, bytes([result or _EMPTY]) + vector(catches))
        self._inside(_Open(results), Signature((), results), depth)
        self._emit(0x0B)
        self._code += b"\x1a" * len(results) + b"".join(map(self._constant, carries))
        self._code += b"\xd0\x69" * len(keeps) + b"\x0b"
        self._open.pop()
        if keeps:
            kept = unsigned(len(self._locals))
            self._locals.append(EXNREF)
            self._emit(0x21, kept)
        self._stack += carries
        if keeps and self._rng.random() < 0.5:
            self._push(I32)
            self._stack.pop()
            self._code += b"\x04\x40\x20" + kept + b"\x0a\x0b"  # null traps

    def _try_again(self, depth: int) -> None:
        """Write a loop that every exception begins again, a few times."""
        counter = unsigned(len(self._locals))
        self._locals.append(I32)
        self._code += b"\x41" + signed(self._rng.randrange(1, 4)) + b"\x21" + counter + b"\x02\x40\x03\x40"
        self._code += b"\x20" + counter + b"\x45\x0d\x01\x20" + counter + b"\x41\x01\x6b\x21" + counter
        self._emit(0x1F, b"\x40" + vector([b"\x02\0"]))
        self._open += [_Open(()), _Open((), loop=True)]
        self._inside(_Open(()), Signature((), ()), depth)
        del self._open[-2:]
        self._code += b"\x0b\x0b\x0b"

    def _throw(self) -> None:
        tag = self._rng.randrange(len(TAGS))
        self._push(I32)
        self._stack.pop()
        self._code += b"\x04\x40" + b"".join(map(self._constant, TAGS[tag])) + b"\x08" + unsigned(tag)
        if self._rng.random() < 0.3:
            self._code += self._rng.choice((b"\x0a", b"\x1f\x40\0\x0b", b"\x1a\x0c\x00"))  # dead
        self._emit(0x0B)

    def _tail_call(self) -> None:
        """Write an `if` that leaves by a call of a later function with the same results."""
        later = range(self._index + 1, len(self._signatures))
        fits = [other for other in later if self._signatures[other].results == self._results]
        if not fits:
            return
        callee = self._rng.choice(fits)
        self._push(I32)
        self._stack.pop()
        self._code += b"\x04\x40" + b"".join(map(self._constant, self._signatures[callee].params))
        if self._rng.random() < 0.6:
            self._emit(0x12, unsigned(1 + callee))
        else:
            element = self._astray(self._signatures[callee]) if self._rng.random() < 0.1 else callee
            self._code += b"\x41" + signed(element) + b"\x13" + unsigned(2 + callee) + b"\0"
        self._emit(0x0B)

    # -- control

    def _block_type(self) -> tuple[bytes, Signature]:
        if self._block_types and self._rng.random() < 0.5:
            index = self._rng.choice([*self._block_types])
            return unsigned(index), self._block_types[index]
        result = self._rng.choice((None, *self._kinds))
        return bytes([result or _EMPTY]), Signature((), (result,) if result else ())

    def _block(self, depth: int) -> None:
        encoded, kind = self._block_type()
        for value_type in kind.params:
            self._push(value_type)
        way = self._rng.random()
        if 0.4 <= way < 0.8:
            self._push(I32)
            self._stack.pop()
        del self._stack[len(self._stack) - len(kind.params) :]
        if way < 0.4:
            self._emit(0x02, encoded)
            self._inside(_Open(kind.results), kind, depth)
        elif way < 0.8:
            self._emit(0x04, encoded)
            self._inside(_Open(kind.results), kind, depth)
            if kind.params != kind.results or self._rng.random() < 0.6:
                self._emit(0x05)
                self._inside(_Open(kind.results), kind, depth)
        else:
            self._loop(encoded, kind, depth)
        self._emit(0x0B)
        self._stack += kind.results

    def _inside(self, block: _Open, kind: Signature, depth: int) -> None:
        self._open.append(block)
        self._sequence(kind.results, depth=depth + 1, params=kind.params)
        self._open.pop()

    def _loop(self, encoded: bytes, kind: Signature, depth: int) -> None:
        counter = unsigned(len(self._locals))
        self._locals.append(I32)
        self._code += b"\x41" + signed(self._rng.randrange(1, 5)) + b"\x21" + counter + b"\x03" + encoded
        # A branch to a loop carries its parameters.
        carried = Signature(kind.params, kind.params or kind.results)
        self._inside(_Open(kind.params, loop=True), carried, depth)
        self._code += b"\x20" + counter + b"\x41\x01\x6b\x22" + counter + b"\x0d\0"
        outer, self._stack = self._stack, [*carried.results]
        self._finish(kind.results)
        self._stack = outer

    def _targets(self) -> list[int]:
        """Return the depths of the blocks that can be left."""
        return [depth for depth, block in enumerate(reversed(self._open)) if not block.loop]

    def _anew(self) -> bool:
        """Return whether a branch is to carry another value than the one that lies there."""
        return self._floats and self._rng.random() < 0.8

    def _carried(self, depth: int) -> None:
        carries = self._open[-1 - depth].carries
        if carries and (tuple(self._stack[-len(carries) :]) != carries or self._anew()):
            for value_type in carries:
                self._push(value_type)

    def _branch_if(self) -> None:
        depth = self._rng.choice(self._targets())
        self._carried(depth)
        self._push(I32)
        self._stack.pop()
        self._emit(0x0D, unsigned(depth))

    def _leave(self, depth: int) -> None:
        """Write an `if` that is left by a jump, with values lying about, and dead code behind it."""
        self._push(I32)
        self._stack.pop()
        self._emit(0x04, bytes([_EMPTY]))
        self._open.append(_Open(()))
        outer, self._stack = self._stack, []
        for _ in range(self._rng.randrange(3)):
            self._push(self._rng.choice(TYPES))
        target = self._rng.choice(self._targets())
        way = self._rng.random()
        if way < 0.45:
            self._carried(target)
            carries = self._open[-1 - target].carries
            alike = [other for other in self._targets() if self._open[-1 - other].carries == carries]
            self._push(I32)
            self._code += b"\x41\x03\x71\x0e" + vector(
                [unsigned(self._rng.choice(alike)) for _ in range(self._rng.randrange(5))]
            )
            self._code += unsigned(target)
        elif way < 0.7:
            self._carried(len(self._open) - 1)
            self._emit(0x0F)
        elif way < 0.97:
            self._carried(target)
            self._emit(0x0C, unsigned(target))
        else:
            self._emit(0x00)
        if self._rng.random() < 0.5:
            self._code += self._rng.choice((b"\x1a", b"\x6a\x1a", b"\x02\x40\x0b", b"\x41\x05\x1a", b"\x01"))
        self._stack = outer
        self._open.pop()
        self._emit(0x0B)


def signalling(rng: random.Random) -> bytes:
    """Return the bits of an f32 that is a signalling NaN."""
    return struct.pack("<I", 0x7F80_0001 | rng.getrandbits(32) & 0x803F_FFFF)
