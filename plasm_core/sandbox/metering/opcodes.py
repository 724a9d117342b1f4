"""WebAssembly's instructions as the rewriter needs them: each opcode's immediates, and its effect on the operand
stack (WebAssembly specification 2.0, section 5.4, and its index of instructions).
"""

from __future__ import annotations

# The immediates that follow an opcode.
NONE = 0  # nothing
INDEX = 1  # one LEB128: an index or an integer constant
LOCAL = 2  # one LEB128: a local's index
MEMARG = 3  # two LEB128: alignment, offset
BYTES = 4  # a fixed number of bytes: IMMEDIATE_BYTES
CONTROL = 5  # handled by name in the rewriter
NOTED = 6  # one LEB128 or nothing, and the feature it belongs to is noted: NOTED_AS
INVALID = 7  # not an instruction of an accepted feature

UNREACHABLE, NOP, BLOCK, LOOP, IF, ELSE, END = 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x0B
BR, BR_IF, BR_TABLE, RETURN, CALL, CALL_INDIRECT = 0x0C, 0x0D, 0x0E, 0x0F, 0x10, 0x11
THROW, THROW_REF, TRY_TABLE, RETURN_CALL, RETURN_CALL_INDIRECT = 0x08, 0x0A, 0x1F, 0x12, 0x13
DROP, SELECT, SELECT_T = 0x1A, 0x1B, 0x1C
LOCAL_GET, LOCAL_SET, LOCAL_TEE = 0x20, 0x21, 0x22
MEMORY_SIZE, MEMORY_GROW = 0x3F, 0x40
F32_CONST, F64_CONST = 0x43, 0x44
REF_NULL = 0xD0
PREFIX_FC, PREFIX_FD = 0xFC, 0xFD

FREE = frozenset({UNREACHABLE, NOP, BLOCK, LOOP, ELSE, END, RETURN, DROP})
"""Instructions that cost no gas."""
COST = bytes(opcode not in FREE for opcode in range(256))
THROW_GAS = 1_000
"""The additional cost of `throw` and `throw_ref`, which took 0.4 µs on wasmtime and 1.1 µs on V8."""

FOLLOWS = bytearray([INVALID] * 256)
"""What follows each one-byte opcode."""
EFFECT = [0] * 256
"""Net effect of each one-byte opcode on the operand stack's height, where it is fixed."""
IMMEDIATE_BYTES = {F64_CONST: 8}


def _set(first: int, last: int, follows: int, effect: int) -> None:
    for opcode in range(first, last + 1):
        FOLLOWS[opcode] = follows
        EFFECT[opcode] = effect


for _opcode in (UNREACHABLE, BLOCK, LOOP, IF, ELSE, END, BR, BR_IF, BR_TABLE, RETURN, CALL, CALL_INDIRECT):
    FOLLOWS[_opcode] = CONTROL
for _opcode in (THROW, THROW_REF, TRY_TABLE, RETURN_CALL, RETURN_CALL_INDIRECT):
    FOLLOWS[_opcode] = CONTROL
for _opcode in (SELECT_T, MEMORY_GROW, PREFIX_FC, PREFIX_FD):
    FOLLOWS[_opcode] = CONTROL
_set(NOP, NOP, NONE, 0)
_set(DROP, DROP, NONE, -1)
_set(SELECT, SELECT, NONE, -2)
_set(LOCAL_GET, LOCAL_GET, LOCAL, 1)
_set(LOCAL_SET, LOCAL_SET, LOCAL, -1)
_set(LOCAL_TEE, LOCAL_TEE, LOCAL, 0)
_set(0x23, 0x23, INDEX, 1)  # global.get
_set(0x24, 0x24, INDEX, -1)  # global.set
_set(0x25, 0x25, NOTED, 0)  # table.get
_set(0x26, 0x26, NOTED, -2)  # table.set
_set(0x28, 0x35, MEMARG, 0)  # loads
_set(0x36, 0x3E, MEMARG, -2)  # stores
_set(MEMORY_SIZE, MEMORY_SIZE, INDEX, 1)
_set(0x41, 0x42, INDEX, 1)  # i32.const, i64.const
_set(F64_CONST, F64_CONST, BYTES, 1)
_set(0x45, 0x45, NONE, 0)  # i32.eqz
_set(0x46, 0x4F, NONE, -1)  # i32 comparisons
_set(0x50, 0x50, NONE, 0)  # i64.eqz
_set(0x51, 0x66, NONE, -1)  # i64, f32, f64 comparisons
_set(0x67, 0x69, NONE, 0)  # i32 clz, ctz, popcnt
_set(0x6A, 0x78, NONE, -1)
_set(0x79, 0x7B, NONE, 0)  # i64 clz, ctz, popcnt
_set(0x7C, 0x8A, NONE, -1)
_set(0x8B, 0x91, NONE, 0)  # f32 unary
_set(0x92, 0x98, NONE, -1)
_set(0x99, 0x9F, NONE, 0)  # f64 unary
_set(0xA0, 0xA6, NONE, -1)
_set(0xA7, 0xBF, NONE, 0)  # conversions
_set(0xC0, 0xC4, NOTED, 0)  # sign extension
_set(0xD0, 0xD0, NOTED, 1)  # ref.null
_set(0xD1, 0xD1, NOTED, 0)  # ref.is_null
_set(0xD2, 0xD2, NOTED, 1)  # ref.func

_set(0x2A, 0x2A, NOTED, 0)  # f32.load
_set(0xBE, 0xBE, NOTED, 0)  # f32.reinterpret_i32
_set(F32_CONST, F32_CONST, CONTROL, 1)

NOTED_AS = {
    0x2A: ("f32-bits", 2),
    0xBE: ("f32-bits", 0),
    **dict.fromkeys((0x25, 0x26, 0xD0, 0xD2), ("reference-types", 1)),
    0xD1: ("reference-types", 0),
    **dict.fromkeys(range(0xC0, 0xC5), ("sign-extension", 0)),
}
"""Opcode → (feature, number of LEB128 immediates)."""

F32_NAN, F64_NAN = b"\x43\0\0\xc0\x7f", b"\x44\0\0\0\0\0\0\xf8\x7f"
"""Instructions that push the canonical NaN with sign 0."""

F32_ARITHMETIC = frozenset({*range(0x8D, 0x98), 0xB6})  # ceil … max, demote
F64_ARITHMETIC = frozenset({*range(0x9B, 0xA6), 0xBB})  # ceil … max, promote
"""Instructions that may make a NaN whose bits WebAssembly leaves open."""

FOLLOWS_CANONICAL = bytearray(FOLLOWS)
"""The same as `FOLLOWS`, but those are stopped at."""
for _opcode in F32_ARITHMETIC | F64_ARITHMETIC:
    FOLLOWS_CANONICAL[_opcode] = CONTROL

TRUNCATIONS = {
    **dict.fromkeys((0xA8, 0xA9, 0xAE, 0xAF), 0x7D),  # i32, i64.trunc_f32_s, _u
    **dict.fromkeys((0xAA, 0xAB, 0xB0, 0xB1), 0x7C),  # i32, i64.trunc_f64_s, _u
}
"""Conversions to integers that trap → the type that they convert."""
FOLLOWS_CHECKED = bytearray(FOLLOWS_CANONICAL)
"""The same as `FOLLOWS_CANONICAL`, but those are stopped at too."""
for _opcode in TRUNCATIONS:
    FOLLOWS_CHECKED[_opcode] = CONTROL

# Behind the prefix 0xFC: opcode → (number of index immediates, net effect).
MEMORY_INIT, DATA_DROP, MEMORY_COPY, MEMORY_FILL = 8, 9, 10, 11
TABLE_INIT, ELEM_DROP, TABLE_COPY, TABLE_GROW, TABLE_SIZE, TABLE_FILL = 12, 13, 14, 15, 16, 17
FC = {
    **dict.fromkeys(range(8), (0, 0)),  # saturating conversions
    MEMORY_INIT: (2, -3),
    DATA_DROP: (1, 0),
    MEMORY_COPY: (2, -3),
    MEMORY_FILL: (1, -3),
    TABLE_INIT: (2, -3),
    ELEM_DROP: (1, 0),
    TABLE_COPY: (2, -3),
    TABLE_GROW: (1, -1),
    TABLE_SIZE: (1, 1),
    TABLE_FILL: (1, -3),
}
OPERAND_CHARGED = frozenset({MEMORY_INIT, MEMORY_COPY, MEMORY_FILL, TABLE_INIT, TABLE_COPY, TABLE_FILL})
"""Instructions after the prefix 0xFC whose gas includes their topmost operand.

table.grow, too, by a function of its own.
"""
FC_FEATURES = {
    **dict.fromkeys((MEMORY_COPY, MEMORY_FILL), "bulk-memory-opt"),
    **dict.fromkeys((MEMORY_INIT, DATA_DROP), "bulk-memory"),
    **dict.fromkeys((TABLE_INIT, ELEM_DROP, TABLE_COPY), "bulk-table"),
    **dict.fromkeys((TABLE_GROW, TABLE_SIZE, TABLE_FILL), "reference-types"),
}
"""The feature of each bulk instruction behind 0xFC."""

# Behind the prefix 0xFD (SIMD): opcode → (has a memarg, bytes behind it, net effect).
FD: dict[int, tuple[bool, int, int]] = {}


def _simd(opcodes: str, effect: int, *, memarg: bool = False, following: int = 0) -> None:
    for part in opcodes.split():
        first, _, last = part.partition("-")
        for opcode in range(int(first), int(last or first) + 1):
            FD[opcode] = (memarg, following, effect)


_simd("0-10 92-93", 0, memarg=True)  # loads
_simd("11", -2, memarg=True)  # v128.store
_simd("12", 1, following=16)  # v128.const
_simd("13", -1, following=16)  # i8x16.shuffle
_simd("14", -1)  # i8x16.swizzle
_simd("15-20", 0)  # splats
_simd("21-22 24-25 27 29 31 33", 0, following=1)  # extract_lane
_simd("23 26 28 30 32 34", -1, following=1)  # replace_lane
_simd("35-76", -1)  # comparisons
_simd("77", 0)  # v128.not
_simd("78-81", -1)  # and, andnot, or, xor
_simd("82", -2)  # bitselect
_simd("83", 0)  # any_true
_simd("84-87", -1, memarg=True, following=1)  # load_lane
_simd("88-91", -2, memarg=True, following=1)  # store_lane
_simd("94-100", 0)  # demote, promote, i8x16 abs … bitmask
_simd("101-102", -1)  # narrow
_simd("103-106", 0)  # f32x4 rounding
_simd("107-115", -1)  # i8x16 shifts, add, sub
_simd("116-117", 0)  # f64x2 ceil, floor
_simd("118-121", -1)  # i8x16 min, max
_simd("122", 0)  # f64x2.trunc
_simd("123", -1)  # i8x16.avgr_u
_simd("124-129", 0)  # extadd_pairwise, i16x8 abs, neg
_simd("130", -1)  # q15mulr_sat_s
_simd("131-132", 0)
_simd("133-134", -1)
_simd("135-138", 0)
_simd("139-147", -1)
_simd("148", 0)  # f64x2.nearest
_simd("149-153 155-159", -1)
_simd("160-161 163-164 167-170", 0)
_simd("171-174 177 181-186 188-191", -1)
_simd("192-193 195-196 199-202", 0)
_simd("203-206 209 213-223", -1)
_simd("224-225 227", 0)
_simd("228-235", -1)
_simd("236-237 239", 0)
_simd("240-247", -1)
_simd("248-255", 0)  # conversions

_F32X4_NAN = b"\xfd\x0c" + 4 * b"\x00\x00\xc0\x7f"
_F64X2_NAN = b"\xfd\x0c" + 2 * b"\x00\x00\x00\x00\x00\x00\xf8\x7f"
FLOAT_LANES: dict[int, tuple[bytes, bytes]] = {
    # f32x4: ceil … nearest, sqrt, add … max, demote_f64x2_zero
    **dict.fromkeys((*range(103, 107), 227, *range(228, 234), 94), (_F32X4_NAN, b"\x41")),
    # f64x2: ceil, floor, trunc, nearest, sqrt, add … max, promote_low_f32x4
    **dict.fromkeys((116, 117, 122, 148, 239, *range(240, 246), 95), (_F64X2_NAN, b"\x47")),
}
"""Vector instructions that may make a NaN whose bits are left open: a constant of NaNs, the opcode of `eq`."""
