"""Write the modules that apply every numeric instruction to interesting operands and print the results' bits.

Each instruction stands in functions of its own, with its operands straight from parameters or computed, since
interpreters and compilers treat those apart. A driver calls them through a table for every operand, or pair of
them, and stores what comes out. The `folded` modules hold the same with constants, for compilers that fold.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

INTEGERS = {
    "i32": [0, 1, 2, 3, 7, 8, 31, 32, 33, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x12345678]
    + [0x7FFFFFFE, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xAAAAAAAA, 0xFFFFFFFE, 0xFFFFFFFF],
    "i64": [0, 1, 2, 3, 7, 31, 32, 33, 63, 64, 65, 0x7F, 0x80, 0x7FFF, 0x8000, 0x7FFFFFFF, 0x80000000]
    + [0xFFFFFFFF, 0x100000000, 0x1FFFFFFFFFFFFF, 0x20000000000001, 0x123456789ABCDEF0, 0x7FFFFFFFFFFFFFFE]
    + [0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0x8000000000000001, 0xAAAAAAAAAAAAAAAA]
    + [0xFFFFFFFF00000000, 0xFFFFFFFF80000000, 0xFFFFFFFFFFFFFFFE, 0xFFFFFFFFFFFFFFFF],
}

# One half of each format; `_float_bits` adds the other sign.
_F32 = [0x00000000, 0x00000001, 0x00000002, 0x007FFFFF, 0x00800000, 0x00800001, 0x33800000, 0x34000000]
_F32 += [0x3EFFFFFF, 0x3F000000, 0x3F000001, 0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x3FC00000, 0x40000000]
_F32 += [0x40200000, 0x40400000, 0x40490FDB, 0x4AFFFFFF, 0x4B000000, 0x4B000001, 0x4B800000, 0x4EFFFFFF]
_F32 += [0x4F000000, 0x4F7FFFFF, 0x4F800000, 0x5EFFFFFF, 0x5F000000, 0x5F7FFFFF, 0x5F800000, 0x7F7FFFFF]
_F32 += [0x7F800000, 0x7FC00000, 0x7FC00001, 0x7FE12345, 0x7FFFFFFF]
_F32_SIGNALLING = [0x7F800001, 0x7FA00000, 0x7FBFFFFF]
_F64 = [0x0000000000000000, 0x0000000000000001, 0x0000000000000002, 0x000FFFFFFFFFFFFF, 0x0010000000000000]
_F64 += [0x36A0000000000000, 0x3690000000000000, 0x3690000000000001, 0x380FFFFFFFFFFFFF, 0x3810000000000000]
_F64 += [0x3CB0000000000000, 0x3FDFFFFFFFFFFFFF, 0x3FE0000000000000, 0x3FE0000000000001, 0x3FEFFFFFFFFFFFFF]
_F64 += [0x3FF0000000000000, 0x3FF0000000000001, 0x3FF0000010000000, 0x3FF0000030000000, 0x3FF8000000000000]
_F64 += [0x4004000000000000, 0x400921FB54442D18, 0x41DFFFFFFFC00000, 0x41DFFFFFFFE00000, 0x41E0000000000000]
_F64 += [0x41E0000000100000, 0x41E0000000200000, 0x41EFFFFFFFE00000, 0x41F0000000000000, 0x432FFFFFFFFFFFFF]
_F64 += [0x4330000000000001, 0x43DFFFFFFFFFFFFF, 0x43E0000000000000, 0x43EFFFFFFFFFFFFF, 0x43F0000000000000]
_F64 += [0x47EFFFFFE0000000, 0x47EFFFFFEFFFFFFF, 0x47EFFFFFF0000000, 0x7FEFFFFFFFFFFFFF, 0x7FF0000000000000]
_F64 += [0x7FF8000000000000, 0x7FF8000000000001, 0x7FF8123456789ABC, 0x7FFFFFFFFFFFFFFF]
_F64_SIGNALLING = [0x7FF0000000000001, 0x7FF4000000000000, 0x7FF7FFFFFFFFFFFF]

_INTEGER_BINARY = "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr"
_INTEGER_COMPARISONS = "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u"
_FLOAT_BINARY = "add sub mul div min max copysign"
_FLOAT_COMPARISONS = "eq ne lt gt le ge"
_FLOAT_UNARY = "abs neg ceil floor trunc nearest sqrt"

_SIZE = {"i32": 4, "i64": 8, "f32": 4, "f64": 8}
_OUT = 0x10000


@attrs.frozen
class Instruction:
    """A numeric instruction: its name and its type."""

    name: str
    params: tuple[str, ...]
    result: str


def _signs(values: list[int], bits: int) -> list[int]:
    return [value | sign << bits - 1 for value in values for sign in (0, 1)]


def _float_bits(kind: str, *, signalling: bool) -> list[int]:
    if kind == "f32":
        return _signs(_F32 + (_F32_SIGNALLING if signalling else []), 32)
    return _signs(_F64 + (_F64_SIGNALLING if signalling else []), 64)


def _instructions(prefix: str, names: str, params: tuple[str, ...], result: str) -> list[Instruction]:
    return [Instruction(f"{prefix}.{name}", params, result) for name in names.split()]


def integer_instructions(kind: str) -> list[Instruction]:
    both = (kind, kind)
    found = _instructions(kind, _INTEGER_BINARY, both, kind)
    found += _instructions(kind, _INTEGER_COMPARISONS, both, "i32")
    found += _instructions(kind, "clz ctz popcnt extend8_s extend16_s", (kind,), kind)
    return found + _instructions(kind, "eqz", (kind,), "i32")


def float_instructions(kind: str) -> list[Instruction]:
    both = (kind, kind)
    found = _instructions(kind, _FLOAT_BINARY, both, kind)
    found += _instructions(kind, _FLOAT_COMPARISONS, both, "i32")
    return found + _instructions(kind, _FLOAT_UNARY, (kind,), kind)


def conversions(source: str) -> list[Instruction]:
    """Return the conversions from a type that never trap, but for reinterpretation to f32."""
    table = {
        "i32": ["i64.extend_i32_s", "i64.extend_i32_u", *_converts("i32")],
        "i64": ["i32.wrap_i64", "i64.extend32_s", "f64.reinterpret_i64", *_converts("i64")],
        "f32": ["f64.promote_f32", "i32.reinterpret_f32", *_saturating("f32")],
        "f64": ["f32.demote_f64", "i64.reinterpret_f64", *_saturating("f64")],
    }
    return [Instruction(name, (source,), name[:3]) for name in table[source]]


def _converts(source: str) -> list[str]:
    return [f"{result}.convert_{source}_{sign}" for result in ("f32", "f64") for sign in "su"]


def _saturating(source: str) -> list[str]:
    return [f"{result}.trunc_sat_{source}_{sign}" for result in ("i32", "i64") for sign in "su"]


def _traps(instruction: Instruction) -> str:
    """Return a condition, in terms of the operands $a and $b, under which an instruction traps."""
    kind, _, name = instruction.name.partition(".")
    if name in ("div_u", "rem_u", "rem_s"):
        return f"({kind}.eqz (local.get $b))"
    if name == "div_s":
        least = f"({kind}.eq (local.get $a) ({kind}.const {-(1 << 8 * _SIZE[kind] - 1)}))"
        minus_one = f"({kind}.eq (local.get $b) ({kind}.const -1))"
        return f"(i32.or ({kind}.eqz (local.get $b)) (i32.and {least} {minus_one}))"
    return ""


def _computed(kind: str, operand: str) -> str:
    """Return code that yields an operand's very bits, but not straight from a local."""
    if kind[0] == "i":
        return f"({kind}.xor (local.get $zero_{kind}) {operand})"
    return f"({kind}.neg ({kind}.neg {operand}))"


def _functions(number: int, instruction: Instruction) -> list[str]:
    """Return functions that apply one instruction to operands of each provenance."""
    params = " ".join(f"(param ${name} {kind})" for name, kind in zip("ab", instruction.params, strict=False))
    plain = [f"(local.get ${name})" for name in "ab"[: len(instruction.params)]]
    zeros = {kind for kind in instruction.params if kind[0] == "i"}
    declared = " ".join(f"(local $zero_{kind} {kind})" for kind in sorted(zeros))
    guard = _traps(instruction)
    if guard:
        zero = f"({instruction.result}.const 0x5a)"
        guard = f"(if {guard} (then (return {zero})))"
    found = []
    for variant in range(1 << len(plain)):
        operands = [
            _computed(kind, operand) if variant >> index & 1 else operand
            for index, (kind, operand) in enumerate(zip(instruction.params, plain, strict=True))
        ]
        code = f"({instruction.name} {' '.join(operands)})"
        head = f"(func $f{number}_{variant} {params} (result {instruction.result}) {declared}"
        found.append(f"{head} {guard} {code})")
    return found


def _signature(instruction: Instruction) -> str:
    return f"{'_'.join(instruction.params)}_{instruction.result}"


def _driver(
    signature: str, instruction: Instruction, first: int, count: int, operands: dict[str, int]
) -> str:
    """Return a function that applies the table's entries from `first` to every operand or pair."""
    kind = instruction.params[0]
    pair = len(instruction.params) == 2
    get_a, get_b = f"(call $operand_{kind} (local.get $i))", f"(call $operand_{kind} (local.get $j))"
    index = f"(i32.add (i32.const {first}) (local.get $n))"
    call = f"(call_indirect (type ${signature}) {get_a} {get_b if pair else ''} {index})"
    store = f"({instruction.result}.store (global.get $out) {call})"
    step = f"(global.set $out (i32.add (global.get $out) (i32.const {_SIZE[instruction.result]})))"
    inner = f"{store} {step}"
    if pair:
        inner = _loop("j", operands[kind], inner)
    return (
        f"(func $run_{signature} (local $n i32) (local $i i32) (local $j i32)\n"
        f"  {_loop('n', count, _loop('i', operands[kind], inner) + ' (call $flush)')})"
    )


def _loop(name: str, count: int, body: str) -> str:
    step = f"(local.tee ${name} (i32.add (local.get ${name}) (i32.const 1)))"
    again = f"(br_if ${name} (i32.lt_u {step} (i32.const {count})))"
    return f"(local.set ${name} (i32.const 0)) (loop ${name} {body} {again})"


def constant(kind: str, bits: int) -> str:
    """Return the instruction that pushes a value of these bits."""
    if kind[0] == "i":
        return f"({kind}.const 0x{bits:x})"
    width, fraction = (32, 23) if kind == "f32" else (64, 52)
    sign = "-" if bits >> width - 1 else "+"
    exponent = bits >> fraction & (1 << width - 1 - fraction) - 1
    mantissa = bits & (1 << fraction) - 1
    top = (1 << width - 1 - fraction) - 1
    if exponent == top:
        return f"({kind}.const {sign}{f'nan:0x{mantissa:x}' if mantissa else 'inf'})"
    bias = top // 2
    if exponent:
        mantissa |= 1 << fraction
    return f"({kind}.const {sign}0x{mantissa:x}p{max(exponent, 1) - bias - fraction})"


def _operand_function(kind: str, operands: list[int], offset: int, *, constants: bool) -> str:
    """Return a function from an index to an operand, from memory or by a large br_table."""
    head = f"(func $operand_{kind} (param $i i32) (result {kind})"
    if not constants:
        size = _SIZE[kind]
        scaled = f"(i32.mul (local.get $i) (i32.const {size}))"
        return f"{head} ({kind}.load offset={offset} {scaled}))"
    labels = " ".join(f"$l{index}" for index in range(len(operands)))
    code = f"(br_table {labels} $none (local.get $i))"
    for index in range(len(operands)):
        code = f"(block $l{index} {code})\n  (return {constant(kind, operands[index])})"
    return f"{head}\n  (block $none {code})\n  (unreachable))"


_FRAME = """\
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") {pages})
  (global $out (mut i32) (i32.const {out}))
  (func $flush
    (i32.store (i32.const 0) (i32.const {out}))
    (i32.store (i32.const 4) (i32.sub (global.get $out) (i32.const {out})))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))
    (global.set $out (i32.const {out})))
{body})
"""


def applied(instructions: list[Instruction], operands: dict[str, list[int]], *, constants: bool) -> str:
    """Return a module that applies instructions to all operands of their types."""
    body: list[str] = []
    offset = 16
    for kind, values in operands.items():
        size = _SIZE[kind]
        by_constant = constants and kind[0] == "f"
        body.append(_operand_function(kind, values, offset, constants=by_constant))
        if not by_constant:
            data = b"".join(value.to_bytes(size, "little") for value in values)
            text = "".join(f"\\{byte:02x}" for byte in data)
            body.append(f'(data (i32.const {offset}) "{text}")')
            offset += len(data)
    groups: dict[str, list[Instruction]] = {}
    for instruction in instructions:
        groups.setdefault(_signature(instruction), []).append(instruction)
    names: list[str] = []
    drivers: list[str] = []
    for signature, group in groups.items():
        first = len(names)
        for instruction in group:
            functions = _functions(instructions.index(instruction), instruction)
            body += functions
            names += [function.split()[1] for function in functions]
        params = " ".join(group[0].params)
        body.append(f"(type ${signature} (func (param {params}) (result {group[0].result})))")
        counts = {kind: len(values) for kind, values in operands.items()}
        drivers.append(_driver(signature, group[0], first, len(names) - first, counts))
    body += drivers
    body.append(f"(table funcref (elem {' '.join(names)}))")
    calls = " ".join(f"(call $run_{signature})" for signature in groups)
    body.append(f'(func (export "_start") {calls})')
    return _FRAME.format(pages=3, out=_OUT, body="\n".join(f"  {line}" for line in body))


def folded(instructions: list[Instruction], operands: dict[str, list[int]]) -> str:
    """Return a module that applies instructions to constants, straight on."""
    functions: list[str] = []
    for number, instruction in enumerate(instructions):
        lines = []
        offset = 0
        for values in _tuples(instruction, operands):
            if _is_trapping(instruction, values):
                continue
            code = " ".join(map(constant, instruction.params, values))
            store = f"{instruction.result}.store offset={_OUT + offset}"
            lines.append(f"({store} (i32.const 0) ({instruction.name} {code}))")
            offset += _SIZE[instruction.result]
        lines.append(f"(global.set $out (i32.const {_OUT + offset})) (call $flush)")
        functions.append(f"(func $f{number}\n    " + "\n    ".join(lines) + ")")
    calls = " ".join(f"(call $f{number})" for number in range(len(instructions)))
    functions.append(f'(func (export "_start") {calls})')
    return _FRAME.format(pages=2, out=_OUT, body="\n".join(f"  {line}" for line in functions))


def _tuples(instruction: Instruction, operands: dict[str, list[int]]) -> Iterator[tuple[int, ...]]:
    for first in operands[instruction.params[0]]:
        if len(instruction.params) == 1:
            yield (first,)
        else:
            for second in operands[instruction.params[1]]:
                yield (first, second)


def _is_trapping(instruction: Instruction, values: tuple[int, ...]) -> bool:
    kind, _, name = instruction.name.partition(".")
    if name not in ("div_s", "div_u", "rem_s", "rem_u"):
        return False
    overflow = name == "div_s" and values == (1 << 8 * _SIZE[kind] - 1, (1 << 8 * _SIZE[kind]) - 1)
    return values[1] == 0 or overflow


_FEW = {
    "i32": [0, 1, 31, 33, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF],
    "i64": [0, 1, 63, 65, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF],
    "f32": [0, 0x80000000, 1, 0x3F000000, 0x3F800000, 0xBFC00000, 0x7F7FFFFF, 0x7F800000, 0xFF800000]
    + [0x7FC00000, 0xFFE12345],
    "f64": [0, 1 << 63, 1, 0x3FE0000000000000, 0x3FF0000000000000, 0xBFF8000000000000, 0x7FEFFFFFFFFFFFFF]
    + [0x7FF0000000000000, 0xFFF0000000000000, 0x7FF8000000000000, 0xFFF8123456789ABC],
}


def modules() -> dict[str, str]:
    """Return each module's text by its name."""
    found = {}
    for kind in ("i32", "i64"):
        instructions = integer_instructions(kind) + conversions(kind)
        found[f"numeric_{kind}"] = applied(instructions, {kind: INTEGERS[kind]}, constants=False)
        found[f"folded_{kind}"] = folded(instructions, _FEW)
    for kind in ("f32", "f64"):
        instructions = float_instructions(kind) + conversions(kind)
        quiet = {kind: _float_bits(kind, signalling=False)}
        found[f"numeric_{kind}"] = applied(instructions, quiet, constants=True)
        found[f"folded_{kind}"] = folded(instructions, _FEW)
        every = _float_bits(kind, signalling=True)
        integer = f"i{kind[1:]}"
        instructions.append(Instruction(f"{kind}.reinterpret_{integer}", (integer,), kind))
        found[f"numeric_{kind}_bits"] = applied(instructions, {kind: every, integer: every}, constants=False)
    return found


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    for name, text in modules().items():
        (directory / f"{name}.wat").write_text(text)
