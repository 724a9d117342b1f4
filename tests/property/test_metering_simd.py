"""Hold rewritten modules with vector instructions against wasmtime, which the reference has none of.

Source: WebAssembly core specification, "Binary Format", section "Vector Instructions".
"""

from functools import partial

import pytest
from wasmtime import Func, Global, Instance, Module, Store, Trap

from tests.support import encoder
from tests.support.decoder import FuncType
from tests.support.encoder import I32, Encoder
from tests.support.engine import ENGINE, is_valid, on_deep_stack, run_metered, run_original
from tests.support.observable import metered
from tests.support.reference import STACK_UNITS


def _numbers(text: str) -> list[int]:
    """Read opcodes and ranges of them: `35-38 44`."""
    bounds = [part.partition("-") for part in text.split()]
    return [n for first, _, last in bounds for n in range(int(first), int(last or first) + 1)]


# Operands and result: v is v128, a an address (i32), i, l, f and d are i32, i64, f32 and f64.
SIGNATURES = {
    "a:v": "0-10 92 93",
    "av:": "11 88-91",
    "av:v": "84-87",
    ":v": "12",
    "i:v": "15-17",
    "l:v": "18",
    "f:v": "19",
    "d:v": "20",
    "v:i": "21 22 24 25 27 83 99 100 131 132 163 164 195 196",
    "v:l": "29",
    "v:f": "31",
    "v:d": "33",
    "vi:v": "23 26 28 107-109 139-141 171-173 203-205",
    "vl:v": "30",
    "vf:v": "32",
    "vd:v": "34",
    "vvv:v": "82",
    "v:v": """77 94-98 103-106 116 117 122 124-129 135-138 148 160 161 167-170 192 193 199-202 224 225 227
              236 237 239 248-255""",
    "vv:v": """13 14 35-76 78-81 101 102 110-115 118-121 123 130 133 134 142-147 149-153 155-159 174 177 181-186
               188-191 206 209 213-223 228-235 240-247""",
}
INSTRUCTIONS = {opcode: types for types, opcodes in SIGNATURES.items() for opcode in _numbers(opcodes)}

_CONSTANT = {
    "a": b"\x41\x10",
    "i": b"\x41\x03",
    "l": b"\x42\x05",
    "f": b"\x43\x00\x00\x40\x40",
    "d": b"\x44" + bytes(6) + b"\x08\x40",
    "v": b"\xfd\x0c" + bytes(range(250, 256)) + bytes(range(10)),
}
_STORE = {"i": b"\x36\x00", "l": b"\x37\x00", "f": b"\x38\x00", "d": b"\x39\x00", "v": b"\xfd\x0b\x00"}


def instruction(opcode: int, encode: Encoder) -> bytes:
    """Encode a vector instruction with immediates that are valid for it."""
    code = b"\xfd" + encode.u32(opcode)
    if opcode <= 11 or 84 <= opcode <= 93:
        code += encode.u32(0) + encode.u32(300)
    if opcode == 12:
        code += bytes(range(0x70, 0x80))
    elif opcode == 13:
        code += bytes(range(31, 15, -1))
    elif 21 <= opcode <= 34 or 84 <= opcode <= 91:
        code += b"\x01"
    return code


def module(bodies: list[bytes]) -> bytes:
    """Encode functions of type `() -> ()`, exported as `f0` and on, the first as `_start` too."""
    encode = Encoder()
    exports = [encode.name(f"f{index}") + b"\0" + encode.u32(index) for index in range(len(bodies))]
    exports += [
        encode.name("_start") + b"\0\0",
        encode.name("memory") + b"\2\0",
        encode.name("depth") + b"\3\0",
    ]
    return (
        encoder.MAGIC
        + encode.section(encoder.TYPE, encode.vec([encode.functype(FuncType())]))
        + encode.section(encoder.FUNCTION, encode.vec([encode.u32(0)] * len(bodies)))
        + encode.section(encoder.MEMORY, encode.vec([encode.limits(1, 1)]))
        + encode.section(encoder.GLOBAL, encode.vec([bytes([I32, 1]) + b"\x41\0\x0b"]))
        + encode.section(encoder.EXPORT, encode.vec(exports))
        + encode.section(encoder.CODE, encode.vec([encode.sized(b"\0" + body + b"\x0b") for body in bodies]))
    )


def executed(opcode: int, address: int, encode: Encoder) -> bytes:
    """Execute an instruction and store its result, if it has one."""
    operands, _, result = INSTRUCTIONS[opcode].partition(":")
    code = b"".join(_CONSTANT[operand] for operand in operands) + instruction(opcode, encode)
    if not result:
        return code
    return b"\x41" + encode.i32(0) + code + _STORE[result] + encode.u32(address)


def test_the_table_is_complete() -> None:
    unused = {
        154,
        162,
        165,
        166,
        175,
        176,
        178,
        179,
        180,
        187,
        194,
        197,
        198,
        207,
        208,
        210,
        211,
        212,
        226,
        238,
    }

    assert INSTRUCTIONS.keys() == set(range(256)) - unused


@pytest.mark.parametrize("pad_every", [0, 1])
def test_vector_code_computes_the_same_for_as_much_gas_as_fuel(pad_every: int) -> None:
    encode = Encoder(pad_every)
    body = b"".join(executed(opcode, 1000 + 16 * opcode, encode) for opcode in INSTRUCTIONS)
    code = module([body])

    original = run_original(code, fuel=100_000, memory_pages=1)
    observed = run_metered(metered(code), gas=100_000, memory_pages=1)

    assert original.outcome == observed.outcome == "returned"
    assert observed.used == original.used
    assert observed.memory == original.memory


def test_vector_code_behind_a_branch_is_valid_still() -> None:
    """Unreachable code has operands of unknown type."""
    dead = [b"\x00" + instruction(opcode, Encoder()) + b"\x00" for opcode in INSTRUCTIONS]
    code = module(dead)
    assert is_valid(code)

    assert is_valid(metered(code))


def test_vector_instructions_change_the_height_as_their_types_say() -> None:
    """Each function recurs, having executed one instruction often; how often it does tells its weight."""
    zero, encode = b"\x41\x00", Encoder()
    deeper = b"\x23\x00\x41\x01\x6a\x24\x00"
    bodies: list[bytes] = []
    heights: list[int] = []
    for opcode, types in INSTRUCTIONS.items():
        operands, _, result = types.partition(":")
        once = b"".join(_CONSTANT[operand] for operand in operands) + instruction(opcode, encode)
        again = b"\x10" + encode.u32(len(bodies))
        bodies.append(deeper + zero * 8 + once * 4 + zero * 8 + again + b"\x00")
        heights.append(8 + max(3 * len(result) + len(operands), 4 * len(result) + 8))
    rewritten = Module(ENGINE, metered(module(bodies)))

    for index, (opcode, height) in enumerate(zip(INSTRUCTIONS, heights, strict=True)):
        size = len(bodies[index]) + 2  # no locals, end
        depth = on_deep_stack(partial(_depth, rewritten, f"f{index}"))
        assert depth == STACK_UNITS // (4 + height + size // 128), opcode


def _depth(rewritten: Module, function: str) -> int:
    """Count how often a function calls itself before the stack is exhausted."""
    store = Store(ENGINE)
    store.set_fuel(1 << 40)
    exports = Instance(store, rewritten, []).exports(store)
    gas, depth, call = exports["plasm:gas"], exports["depth"], exports[function]
    assert isinstance(gas, Global)
    assert isinstance(depth, Global)
    assert isinstance(call, Func)
    gas.set_value(store, 1 << 40)
    with pytest.raises(Trap):
        call(store)
    value = depth.value(store)
    assert isinstance(value, int)
    return value
