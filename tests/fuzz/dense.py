"""Modules of dense, typed code: each instruction has something to mix up with the ones around it.

What interpreters that keep values in registers get wrong needs many values at a time on the operand stack, read
from few locals, kept alive across blocks, branches and calls. `dense_module` makes valid code that does little else.
Every function but the entry may call those behind it only, and every loop counts down, so that most runs end.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import attrs

from plasm_core.engine import WASI_MODULE
from plasm_core.sandbox.binary import signed, sized, unsigned, vector

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
_STORE = {I32: (0x36, 0x3A, 0x3B), I64: (0x37, 0x3C, 0x3D, 0x3E), F32: (0x38,), F64: (0x39,)}
_ZERO = {I32: b"\x41\x00", I64: b"\x42\x00", F32: b"\x43" + bytes(4), F64: b"\x44" + bytes(8)}
_INTEGERS = (0, 1, 2, -1, 31, 63, 255)
_FLOATS = (0.0, -0.0, 1.0, -1.5, 3.7, 1e30, 2.0**63, -(2.0**31) - 0.5)
_ODD_FLOATS = (float("inf"), float("-inf"), float("nan"), 1e-40)
STEPS = 60
_DEEPEST, _MOST_VALUES = 7, 16


@attrs.define
class _Open:
    """A block that is open: the type a branch to it carries, and where the operand stack stood."""

    carries: int | None
    loop: bool = False


@attrs.frozen
class _Signature:
    params: tuple[int, ...]
    results: tuple[int, ...]

    def encoded(self) -> bytes:
        return b"\x60" + sized(bytes(self.params)) + sized(bytes(self.results))


class _Function:
    """Writes one function. `signatures` are those of all functions, of which it may call the later ones."""

    def __init__(
        self,
        rng: random.Random,
        index: int,
        signatures: list[_Signature],
        *,
        steps: int,
        floats: bool,
        f32_bits: bool,
    ) -> None:
        self._rng = rng
        self._index = index
        self._signatures = signatures
        self._floats, self._f32_bits = floats, f32_bits
        own = signatures[index]
        self._result = own.results[0] if own.results else None
        declared = [rng.choice((F32, F64, I32) if floats else TYPES) for _ in range(rng.randrange(1, 6))]
        self._locals = [*own.params, *declared]
        self._own = len(self._locals)  # loops' counters come behind
        self._hot = [rng.randrange(self._own) for _ in range(rng.randrange(1, 4))]
        self._params = len(own.params)
        self._budget = rng.choice((steps // 6, steps * 5 // 12, steps))
        self._code = bytearray()
        self._kinds = (F32, F64, F32, F64, I32) if floats else TYPES
        self._stack: list[int] = []
        self._open = [_Open(self._result)]

    def body(self) -> bytes:
        """Return the function's entry in the code section."""
        self._sequence(self._result, depth=0)
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

    def _sequence(self, result: int | None, *, depth: int) -> None:
        """Write code that begins with nothing of its own on the stack, and ends with the result alone."""
        outer, self._stack = self._stack, []
        for _ in range(self._rng.randrange(3, 30 if not depth else 12)):
            if self._budget <= 0:
                break
            self._budget -= 1
            self._step(depth)
        while self._stack and self._stack != [result]:
            self._dispose()
        if result is not None and not self._stack:
            self._push(result)
        self._stack = outer

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
        code, value_type = self._rng.choice(_CONVERT[self._top()])
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
        self._emit(self._rng.choice(_STORE[value_type]), b"\0" + unsigned(self._rng.randrange(8)))
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
            self._code += b"\x41" + signed(callee) + b"\x11" + unsigned(2 + callee) + b"\0"
        del self._stack[len(self._stack) - len(signature.params) :]
        self._stack += signature.results

    # -- control

    def _block(self, depth: int) -> None:
        result = self._rng.choice((None, *self._kinds))
        encoded = bytes([result or _EMPTY])
        way = self._rng.random()
        if way < 0.4:
            self._emit(0x02, encoded)
            self._inside(_Open(result), result, depth)
        elif way < 0.8:
            self._push(I32)
            self._stack.pop()
            self._emit(0x04, encoded)
            self._inside(_Open(result), result, depth, close=False)
            if result or self._rng.random() < 0.6:
                self._emit(0x05)
                self._inside(_Open(result), result, depth, close=False)
            self._emit(0x0B)
        else:
            self._loop(encoded, result, depth)
        if result:
            self._stack.append(result)

    def _inside(self, block: _Open, result: int | None, depth: int, *, close: bool = True) -> None:
        self._open.append(block)
        self._sequence(result, depth=depth + 1)
        self._open.pop()
        if close:
            self._emit(0x0B)

    def _loop(self, encoded: bytes, result: int | None, depth: int) -> None:
        counter = unsigned(len(self._locals))
        self._locals.append(I32)
        self._code += b"\x41" + signed(self._rng.randrange(1, 5)) + b"\x21" + counter + b"\x03" + encoded
        self._inside(_Open(None, loop=True), result, depth, close=False)
        self._code += b"\x20" + counter + b"\x41\x01\x6b\x22" + counter + b"\x0d\0\x0b"

    def _targets(self) -> list[int]:
        """Return the depths of the blocks that can be left."""
        return [depth for depth, block in enumerate(reversed(self._open)) if not block.loop]

    def _anew(self) -> bool:
        """Return whether a branch is to carry another value than the one that lies there."""
        return self._floats and self._rng.random() < 0.8

    def _carried(self, depth: int) -> None:
        carries = self._open[-1 - depth].carries
        if carries is not None and (not self._stack or self._stack[-1] != carries or self._anew()):
            self._push(carries)

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
        self._open.append(_Open(None))
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


def _entry() -> bytes:
    """Call the first function; write the globals behind the memory's first 1,100 bytes, and all to stdout."""
    code = b"\0\x10\x01"
    for index, value_type in enumerate(TYPES):
        address = b"\x41" + signed(1100 + 8 * index)
        code += address + b"\x23" + unsigned(index) + bytes([_STORE[value_type][0], 0, 0])
    code += (
        b"\x41"
        + signed(2000)
        + b"\x41\0\x36\2\0"
        + b"\x41"
        + signed(2004)
        + b"\x41"
        + signed(1200)
        + b"\x36\2\0"
    )
    return sized(code + b"\x41\1\x41" + signed(2000) + b"\x41\1\x41" + signed(2008) + b"\x10\0\x1a\x0b")


def _section(number: int, payload: bytes) -> bytes:
    return bytes([number]) + sized(payload)


def dense_module(rng: random.Random, *, steps: int = STEPS, floats: bool = False) -> bytes:
    """Make a module whose functions have at most so many steps. The same state of `rng` makes the same one.

    `floats`: prefer floats, and branches that carry one while another lies in a register.
    """
    signatures = [_Signature((), ())]
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        kinds = (F32, F64) if floats else TYPES
        params = tuple(rng.choice(TYPES) for _ in range(rng.randrange(5)))
        signatures.append(_Signature(params, (rng.choice(kinds),) if rng.random() < 0.8 else ()))
    f32_bits = rng.random() < 0.1
    bodies = [
        _Function(rng, index, signatures, steps=steps, floats=floats, f32_bits=f32_bits).body()
        for index in range(len(signatures))
    ]
    count = len(signatures)
    write, start = _Signature((I32,) * 4, (I32,)), _Signature((), ())
    imported = sized(WASI_MODULE.encode()) + sized(b"fd_write") + b"\0\0"
    globals_ = [bytes([value_type, 1]) + _ZERO[value_type] + b"\x0b" for value_type in TYPES]
    exports = [sized(b"memory") + b"\2\0", sized(b"_start") + b"\0" + unsigned(count + 1)]
    return b"\0asm\1\0\0\0" + b"".join(
        (
            _section(1, vector([item.encoded() for item in (write, start, *signatures)])),
            _section(2, vector([imported])),
            _section(3, vector([*(unsigned(2 + index) for index in range(count)), b"\1"])),
            _section(4, vector([b"\x70\1" + unsigned(count) * 2])),
            _section(5, vector([b"\1\1\2"])),
            _section(6, vector(globals_)),
            _section(7, vector(exports)),
            _section(9, vector([b"\0\x41\0\x0b" + vector([unsigned(1 + index) for index in range(count)])])),
            _section(10, vector([*bodies, _entry()])),
            _section(11, vector([b"\0\x41\0\x0b" + sized(rng.randbytes(1024))])),
        )
    )
