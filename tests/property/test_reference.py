"""Hold the reference interpreter against wasmtime, on generated modules as they are."""

import itertools

from hypothesis import given, settings
from wasmtime import Func, Instance, Module, Store, Trap, wat2wasm

from tests.support.engine import ENGINE, TRAPS, exported_numbers, is_valid, run_original
from tests.support.numerics import NUMERIC, NumericTrap
from tests.support.reference import run
from tests.support.wasmcode import OPERATIONS, Operation
from tests.support.wasmgen import modules
from tests.support.wasmplan import CONSTANTS

GAS = 20_000
PAGES = 4

deterministic = settings(deadline=None, derandomize=True, max_examples=100)


@deterministic
@given(modules())
def test_generated_modules_are_valid(code: bytes) -> None:
    assert is_valid(code)


@deterministic
@given(modules(traps=False, bulk=False, grow=False))
def test_gas_is_fuel_where_nothing_traps_or_costs_by_its_operands(code: bytes) -> None:
    result = run(code, gas=GAS, memory_pages=PAGES)
    observed = run_original(code, fuel=2 * GAS, memory_pages=PAGES)

    assert result.outcome in ("returned", "out_of_gas")
    if result.outcome == "returned":
        assert observed.outcome == "returned"
        assert observed.used == result.gas_used
        assert observed.memory == result.memory
        assert observed.globals == exported_numbers(code, result.globals)


@deterministic
@given(modules())
def test_the_reference_computes_what_wasmtime_does(code: bytes) -> None:
    result = run(code, gas=GAS, memory_pages=PAGES)
    if result.outcome in ("out_of_gas", "stack_exhausted"):
        return
    observed = run_original(code, fuel=2 * GAS, memory_pages=PAGES)

    assert observed.outcome == result.outcome
    if observed.instantiated:
        assert observed.memory == result.memory
        assert observed.globals == exported_numbers(code, result.globals)


def _on_bits(operation: Operation) -> str:
    """Write a function that takes and gives the bits of floats as integers."""
    name = {0x7F: "i32", 0x7E: "i64", 0x7D: "i32", 0x7C: "i64"}
    take = {0x7D: "f32.reinterpret_i32", 0x7C: "f64.reinterpret_i64"}
    give = {0x7D: "i32.reinterpret_f32", 0x7C: "i64.reinterpret_f64"}
    params = "".join(f"(param {name[t]})" for t in operation.operands)
    operands = " ".join(f"local.get {i} {take.get(t, '')}" for i, t in enumerate(operation.operands))
    result = f"(result {name[operation.result]})"
    body = f"{operands} {operation.name} {give.get(operation.result, '')}"
    return f'(func (export "{operation.name}") {params} {result} {body})'


def test_every_numeric_instruction_computes_what_wasmtime_does() -> None:
    store = Store(ENGINE)
    store.set_fuel(1 << 40)
    module = Module(ENGINE, bytes(wat2wasm("(module " + "".join(map(_on_bits, OPERATIONS)) + ")")))
    exports = Instance(store, module, []).exports(store)

    for operation in OPERATIONS:
        function = exports[operation.name]
        assert isinstance(function, Func)
        bits = 64 if operation.result in (0x7E, 0x7C) else 32
        for operands in itertools.product(*(CONSTANTS[t] for t in operation.operands)):
            expected: int | str
            observed: int | str
            try:
                expected = NUMERIC[operation.name](*operands)
            except NumericTrap as trap:
                expected = str(trap)
            try:
                observed = function(store, *operands) % (1 << bits)
            except Trap as trap:
                assert trap.trap_code is not None
                observed = TRAPS[trap.trap_code]
            assert observed == expected, (operation.name, [hex(operand) for operand in operands])


# What the specification of gas says, counted by hand; the module's one function is `_start`.
COUNTED = {
    "an empty function costs its entry": ("", 1),
    "structure is free": ("nop block end loop end unreachable", 1),
}
