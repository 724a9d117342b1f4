"""Hold rewritten modules against what was counted by hand, where chance would not lead."""

import pytest
from wasmtime import wat2wasm

from tests.support.decoder import decode
from tests.support.engine import is_valid, run_metered
from tests.support.observable import metered
from tests.support.reference import STACK_UNITS, extent, run

ZERO = "i32.const 0 "
DROP = "drop "
TALL = ZERO * 20 + DROP * 20
MANY = "(result " + "i64 " * 20 + ")"


def compiled(text: str) -> bytes:
    return bytes(wat2wasm(text))


def started(body: str, *, fields: str = "", memory: str = "1") -> bytes:
    """Compile a module with a memory whose `_start` has this body."""
    return compiled(f'(module (memory (export "memory") {memory}) {fields} (func (export "_start") {body}))')


# What follows is 1 for the entry of `_start` and the rest by the instruction.
COUNTED = {
    "": 1,
    "nop block end loop end": 1,
    "i32.const 1 drop": 2,
    "i32.const 1 if nop else i32.const 2 drop end": 3,
    "i32.const 0 if nop else i32.const 2 drop end": 4,
    "i32.const 0 if i32.const 2 drop i32.const 2 drop end": 3,
    "block br 0 i32.const 1 drop end": 2,
    "block i32.const 1 br_if 0 i32.const 1 drop end i32.const 1 drop": 4,
    "block i32.const 0 br_table 0 end return i32.const 1 drop": 3,
    "(local i32) i32.const 3 local.set 0 loop local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0 end": 18,
    "call $callee": 4,
    "i32.const 0 call_indirect": 5,
    "i32.const 2 memory.grow drop": 5,
    "i32.const -1 memory.grow drop": 3 + 0xFFFFFFFF,
    "i32.const 0 i32.const 0 i32.const 9 memory.fill": 14,
    "i32.const 0 i32.const 0 i32.const 9 memory.copy": 14,
    "i32.const 0 i32.const 0 i32.const 3 memory.init $data data.drop $data": 9,
    "i32.const 0 ref.null func i32.const 1 table.fill": 6,
    "i32.const 0 i32.const 1 i32.const 2 table.copy": 7,
    "i32.const 0 i32.const 0 i32.const 1 table.init $elements elem.drop $elements": 7,
    "ref.null func i32.const 5 table.grow drop": 9,
    "ref.null func i32.const -1 table.grow drop": 4 + 0xFFFFFFFF,
}
TRAPPING = {
    "unreachable": 1,
    "i32.const 1 i32.const 0 i32.div_u drop i32.const 1 drop": 5,
    "i32.const 1 unreachable i32.const 1 drop": 2,
    "i32.const 9 call_indirect i32.const 1 drop": 3,
    "i32.const 0 i32.const 0 i32.const -1 memory.fill i32.const 1 drop": 6 + 0xFFFFFFFF,
    "i32.const 0 i32.const 0 i32.const -1 memory.copy": 5 + 0xFFFFFFFF,
    "i32.const 0 i32.const 0 i32.const -1 memory.init $data": 5 + 0xFFFFFFFF,
    "i32.const 0 ref.null func i32.const -1 table.fill": 5 + 0xFFFFFFFF,
    "i32.const 0 i32.const 0 i32.const -1 table.copy": 5 + 0xFFFFFFFF,
    "i32.const 0 i32.const 0 i32.const -1 table.init $elements": 5 + 0xFFFFFFFF,
}
FIELDS = """
    (table 4 funcref) (elem (i32.const 0) $callee) (elem $elements func $callee) (data $data "abc")
    (func $callee i32.const 1 drop)
"""


@pytest.mark.parametrize(("body", "gas"), [*COUNTED.items(), *TRAPPING.items()])
def test_gas_is_what_was_counted_by_hand(body: str, gas: int) -> None:
    code = started(body, fields=FIELDS)
    rewritten = metered(code)

    for limit in (gas, gas + 1, 1 << 40):
        assert run(code, gas=limit, memory_pages=4).gas_used == gas
        observed = run_metered(rewritten, gas=limit, memory_pages=4)
        assert observed.used == gas
        assert (observed.outcome == "returned") == (body in COUNTED)
    assert run(code, gas=gas - 1, memory_pages=4).outcome == "out_of_gas"
    observed = run_metered(rewritten, gas=gas - 1, memory_pages=4)
    assert (observed.outcome, observed.used) == ("out_of_gas", gas - 1)


def test_a_run_out_of_gas_stops_at_the_next_check() -> None:
    store = "i32.const {0} i32.const 1 i32.store8 "
    code = started(
        store.format(0) + "i32.const 1 if " + store.format(1) + "end loop " + store.format(2) + "end"
    )

    expected = run(code, gas=6, memory_pages=1)
    observed = run_metered(metered(code), gas=6, memory_pages=1)

    assert expected.memory[:3] == b"\x01\x01\x00"
    assert observed.memory == expected.memory
    assert observed.outcome == expected.outcome == "out_of_gas"


@pytest.mark.parametrize("limit", [1, (1 << 32) + 5, (1 << 62) + 1])
def test_growth_by_any_operand_is_charged_before_it_is_refused(limit: int) -> None:
    code = started("loop i32.const -1 memory.grow drop i32.const -1 memory.grow drop end")

    expected = run(code, gas=limit, memory_pages=1)
    observed = run_metered(metered(code), gas=limit, memory_pages=1)

    assert (observed.outcome, observed.used) == (expected.outcome, expected.gas_used)


GREW = '(global $size (export "size") (mut i32) (i32.const 7))'


@pytest.mark.parametrize(
    ("memory", "pages", "by", "size"),
    [
        ("1", 4, 3, 1),
        ("1", 4, 4, -1),
        ("1", 4, -1, -1),
        ("1 3", 4, 2, 1),
        ("1 3", 4, 3, -1),
        ("1", 1, 0, 1),
        ("1", 65536, 65536, -1),
        ("0 0", 4, 0, 0),
        ("0 0", 4, 1, -1),
        ("1", 0x7FFFFFFF, -1, -1),
    ],
)
def test_memory_grows_to_the_limit_and_its_own_maximum(memory: str, pages: int, by: int, size: int) -> None:
    code = started(f"i32.const {by} memory.grow global.set $size", fields=GREW, memory=memory)

    observed = run_metered(metered(code), gas=1 << 40, memory_pages=pages, host_memory_pages=8)

    assert observed.outcome == "returned"
    assert observed.globals["size"] == size % (1 << 32)


def test_growth_that_the_host_refuses_is_a_fault_and_no_result() -> None:
    code = started("i32.const 2 memory.grow global.set $size", fields=GREW)

    observed = run_metered(metered(code), gas=1000, memory_pages=4, host_memory_pages=2)

    assert (observed.outcome, observed.used) == ("growth_refused", 6)
    assert observed.globals["size"] == 7


@pytest.mark.parametrize(
    ("tables", "by", "size"),
    [
        ("(table 1 funcref)", 999_999, 1),
        ("(table 1 funcref)", 1_000_000, -1),
        ("(table 1 funcref) (table 0 externref)", 499_999, 1),
        ("(table 1 funcref) (table 0 externref)", 500_000, -1),
        ("(table 1 funcref) (table 0 externref) (table 0 funcref)", 333_332, 1),
        ("(table 1 funcref) (table 0 externref) (table 0 funcref)", 333_333, -1),
        ("(table 1 9 funcref)", 8, 1),
        ("(table 1 9 funcref)", 9, -1),
        ("(table 1 2000000 funcref)", 1_000_000, -1),
    ],
)
def test_tables_share_a_million_elements(tables: str, by: int, size: int) -> None:
    code = started(f"ref.null func i32.const {by} table.grow 0 global.set $size", fields=GREW + tables)

    observed = run_metered(metered(code), gas=10_000_000, memory_pages=1)
    expected = run(code, gas=10_000_000, memory_pages=1)

    assert observed.globals["size"] == size % (1 << 32)
    assert expected.globals == (size % (1 << 32),)
    assert observed.used == expected.gas_used


HEIGHTS = {
    "": 0,
    TALL: 20,
    "unreachable " + TALL: 0,
    "return " + TALL: 0,
    "br 0 " + TALL: 0,
    ZERO + "br_table 0 " + TALL: 1,
    ZERO + "br_if 0 " + TALL: 20,
    "block unreachable end " + TALL: 20,
    "loop br 0 end " + TALL: 20,
    "unreachable block " + TALL + "end": 0,
    "unreachable " + ZERO + "if " + TALL + "else " + TALL + "end": 0,
    f"{ZERO}if unreachable block {TALL} end else {ZERO * 9} {DROP * 9} end": 9,
    f"{ZERO}if unreachable else unreachable {TALL} end": 1,
    f"block {MANY} unreachable end {DROP * 20}": 20,
    f"block {MANY} unreachable end unreachable": 20,
    f"{ZERO * 5} loop (param i32 i32) {DROP} {ZERO * 3} unreachable end unreachable": 7,
    f"{ZERO * 5} {ZERO} if (param i32 i32) (result i32) drop else unreachable end {DROP * 4}": 6,
    f"{ZERO} if {MANY} unreachable else unreachable end unreachable": 20,
    f"{ZERO * 3} call $many unreachable": 23,
    f"{ZERO * 3} {ZERO} call_indirect {MANY} unreachable": 23,
    f"{ZERO * 3} {ZERO * 3} memory.copy {DROP * 3}": 6,
    f"{ZERO * 3} {ZERO * 3} select {ZERO} {DROP * 5}": 6,
    "block block unreachable end unreachable end " + ZERO * 3 + DROP * 3: 3,
}
DEPTH = '(global $depth (export "depth") (mut i32) (i32.const 0))'
DEEPER = "(global.set $depth (i32.add (global.get $depth) (i32.const 1)))"


@pytest.mark.parametrize(("body", "height"), HEIGHTS.items())
def test_a_function_weighs_its_height_where_validation_sees_it_reached(body: str, height: int) -> None:
    """The function calls itself without operands; how often that goes tells its weight."""
    recursive = f"(func $f (local i32 i64) {DEEPER} (if (global.get $depth) (then call $f)) {body})"
    many = f'(table 1 funcref) (func $many {MANY} unreachable) (export "_start" (func $f))'
    code = compiled(f'(module (memory (export "memory") 1) {DEPTH} {recursive} {many})')
    height = max(height, 2)
    decoded = decode(code)

    observed = run_metered(metered(code), gas=10_000_000, memory_pages=1)

    signatures = [function.type for function in decoded.functions]
    measured, nesting = extent(decoded.functions[0], signatures)
    assert measured == height
    assert observed.outcome == "stack_exhausted"
    size = decoded.functions[0].size
    assert observed.globals["depth"] == STACK_UNITS // (4 + 2 + height + nesting + size // 128)


@pytest.mark.parametrize("results", [0, 1, 20])
def test_the_results_of_a_function_weigh_even_if_its_end_is_dead(results: int) -> None:
    inner = f"(func $f (result {'i64 ' * results}) {DEEPER} call $g unreachable)"
    outer = f'(func $g (export "_start") call $f {DROP * results})'
    code = compiled(f'(module (memory (export "memory") 1) {DEPTH} {inner} {outer})')
    weights = 4 + max(results, 2) + 4 + results

    observed = run_metered(metered(code), gas=10_000_000, memory_pages=1)

    assert run(code, gas=10_000_000, memory_pages=1).globals == (STACK_UNITS // weights,)
    assert observed.globals["depth"] == STACK_UNITS // weights


SHAPES = {
    "the lightest function": ("", "", ""),
    "many parameters": ("(param " + "i64 " * 300 + ")", "i64.const 1 " * 300, ""),
    "many vectors": ("(param " + "v128 " * 300 + ")", "local.get 0 " * 300, ""),
    "many results": ("(result " + "f64 " * 300 + ")", "", ""),
    "live values below the call": ("", "i32.const 3 i64.load " * 60, DROP * 60),
    "live vectors below the call": ("", "i32.const 3 v128.load " * 60, "i32.const 0 " + "drop " + DROP * 60),
    "live locals": ("(param i64 i64 i64 i64)", "local.get 0 local.get 1 local.get 2 local.get 3", ""),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_units_run_out_before_the_native_stack_does(shape: str) -> None:
    type_, before, after = SHAPES[shape]
    results = type_.count("f64")
    zeros = "i64.const 0 " * type_.count("i64") + "v128.const i64x2 0 0 " * type_.count("v128")
    body = f"{before} call $f {after}"
    code = compiled(
        f'(module (memory (export "memory") 1) (func $f {type_} {body})'
        f' (func (export "_start") {zeros} call $f {DROP * results}))'
    )

    assert run_metered(metered(code), gas=1 << 40, memory_pages=1).outcome == "stack_exhausted"


def test_a_function_may_have_as_many_locals_as_validators_allow() -> None:
    """The locals that the rewriter needs are added to these."""
    grow = "i32.const 0 memory.grow drop i32.const 0 i32.const 0 i32.const 0 memory.fill"
    code = started(f"(local {'i64 ' * 50_000}) {grow}")
    assert is_valid(code)

    assert is_valid(metered(code))
    assert run_metered(metered(code), gas=1000, memory_pages=1).used == 7


@pytest.mark.parametrize(
    "use",
    [
        "global.get {0} drop",
        "i64.const 9 global.set {0}",
        "i32.const 0 global.set {0}",
        "call {0}",
        "ref.func {0} drop",
        "i32.const 0 call_indirect (type {0})",
    ],
)
def test_a_module_that_reaches_beyond_what_is_its_own_is_invalid(use: str) -> None:
    """So what the rewriter adds behind that is out of its reach."""
    assert is_valid(started("", fields="(global (mut i64) (i64.const 0))"))
    for index in range(1, 8):
        assert not is_valid(started(use.format(index), fields="(global (mut i64) (i64.const 0))"))


@pytest.mark.parametrize("opening", ["block ", "loop ", "i32.const 1 if "])
def test_blocks_may_be_nested_as_deeply_as_validators_allow(opening: str) -> None:
    code = started(opening * 5_000 + "end " * 5_000)

    assert is_valid(metered(code))
