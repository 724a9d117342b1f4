"""Modules of dense, typed code: each instruction has something to mix up with the ones around it.

What interpreters that keep values in registers get wrong needs many values at a time on the operand stack, read
from few locals, kept alive across blocks, branches and calls. `dense_module` makes valid code that does little else.
Every function but the entry may call those behind it only, and every loop counts down, so that most runs end.
"""

from __future__ import annotations

import random

from plasm_core.plugins.engine import WASI_MODULE
from plasm_core.sandbox.metering.binary import signed, sized, unsigned, vector
from tests.fuzz.dense_function import (
    EXNREF,
    F32,
    F64,
    I32,
    SEGMENT_BYTES,
    STORE,
    TAGS,
    TYPES,
    ZERO,
    Function,
    Signature,
    signalling,
)

STEPS = 60


def _entry(*, raising: bool) -> bytes:
    """Call the first function; write the globals behind the memory's first 1,100 bytes, and all to stdout."""
    code = b"\0\x02\x40\x1f\x40\x01\x02\0\x10\x01\x0b\x0b" if raising else b"\0\x10\x01"
    for index, value_type in enumerate(TYPES):
        address = b"\x41" + signed(1100 + 8 * index)
        code += address + b"\x23" + unsigned(index) + bytes([STORE[value_type][0], 0, 0])
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


def _some_types(rng: random.Random, most: int) -> tuple[int, ...]:
    return tuple(rng.choice(TYPES) for _ in range(rng.randrange(most + 1)))


def dense_module(
    rng: random.Random,
    *,
    steps: int = STEPS,
    floats: bool = False,
    lowered: bool = False,
    raising: bool = False,
) -> bytes:
    """Make a module whose functions have at most so many steps. The same state of `rng` makes the same one.

    `floats`: prefer floats, and branches that carry one while another lies in a register. `lowered`: use what is
    lowered for engines that lack it: several values, the bits of f32, bulk memory, extended constants, and a table
    with an empty end. `raising`: use exceptions and tail calls.
    """
    signatures = [Signature((), ())]
    for _ in range(rng.choice((2, 3, 4) if lowered or raising else (0, 1, 1, 2, 3))):
        kinds = (F32, F64) if floats else TYPES
        params = tuple(rng.choice(TYPES) for _ in range(rng.randrange(5)))
        results: tuple[int, ...] = (rng.choice(kinds),) if rng.random() < 0.8 else ()
        if lowered and rng.random() < 0.5:
            # Types that are alike but for f32, and functions of several results.
            of = rng.choice(signatures[1:] or signatures)
            params = tuple(rng.choice((I32, F32)) if item in (I32, F32) else item for item in of.params)
            results = _some_types(rng, 3) if rng.random() < 0.3 else of.results
        if raising and rng.random() < 0.5:
            results = signatures[-1].results  # a tail call needs them alike
        signatures.append(Signature(params, results))
    f32_bits = lowered or rng.random() < 0.1
    count = len(signatures)
    blocks = [Signature(_some_types(rng, 3), _some_types(rng, 3)) for _ in range(5 * lowered)]
    blocks += [Signature(item.params, item.params) for item in blocks]
    block_types = {2 + count + number: item for number, item in enumerate(blocks)}
    handlers = [of + keeps for of in TAGS for keeps in ((), (EXNREF,))] if raising else []
    handler_types = {of: signed(2 + count + len(blocks) + at) for at, of in enumerate(handlers)}
    bodies = [
        Function(
            *(rng, index, signatures),
            steps=steps,
            floats=floats,
            f32_bits=f32_bits,
            block_types=block_types,
            handler_types=handler_types,
        ).body()
        for index in range(count)
    ]
    write, start = Signature((I32,) * 4, (I32,)), Signature((), ())
    imported = sized(WASI_MODULE.encode()) + sized(b"fd_write") + b"\0\0"
    globals_ = [bytes([value_type, 1]) + ZERO[value_type] + b"\x0b" for value_type in TYPES]
    data = [b"\0\x41\0\x0b" + sized(rng.randbytes(1024))]
    origin = b"\x41\0\x0b"
    if lowered:
        globals_ = [
            b"\x7f\1\x41\x7f\x41\x03\x6c\x0b",  # -1 * 3
            b"\x7e\1\x42\x7f\x42\x05\x7c\x42\x7b\x7e\x0b",  # (-1 + 5) * -5
            b"\x7d\1\x43" + signalling(rng) + b"\x0b",
            b"\x7c\1" + ZERO[F64] + b"\x0b",
        ]
        words = [signalling(rng) if rng.random() < 0.3 else rng.randbytes(4) for _ in range(256)]
        data = [b"\0\x41\x7f\x41\1\x6a\x0b" + sized(b"".join(words))]
        data += [b"\1" + sized(rng.randbytes(length)) for length in SEGMENT_BYTES]
        origin = b"\x41\x05\x41\x05\x6b\x0b"
    first_tag = 2 + count + len(blocks) + len(handlers)
    size = unsigned(count + 3 * lowered)
    elements = vector([unsigned(1 + index) for index in range(count)])
    exports = [sized(b"memory") + b"\2\0", sized(b"_start") + b"\0" + unsigned(count + 1)]
    return b"\0asm\1\0\0\0" + b"".join(
        (
            _section(
                1,
                vector(
                    [
                        item.encoded()
                        for item in (
                            write,
                            start,
                            *signatures,
                            *blocks,
                            *(Signature((), of) for of in handlers),
                            *(Signature(of, ()) for of in TAGS),
                        )
                    ]
                ),
            ),
            _section(2, vector([imported])),
            _section(3, vector([*(unsigned(2 + index) for index in range(count)), b"\1"])),
            _section(4, vector([b"\x70\1" + size * 2])),
            _section(5, vector([b"\1\1\2"])),
            _section(13, vector([b"\0" + unsigned(first_tag + at) for at in range(len(TAGS))]))
            if raising
            else b"",
            _section(6, vector(globals_)),
            _section(7, vector(exports)),
            _section(9, vector([b"\0" + origin + elements])),
            _section(12, unsigned(len(data))) if lowered else b"",
            _section(10, vector([*bodies, _entry(raising=raising)])),
            _section(11, vector(data)),
        )
    )
