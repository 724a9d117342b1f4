"""A lowered module is valid, has none of what was lowered, and does the same."""

from __future__ import annotations

import random

import pytest

from plasm_core.errors import BadModuleError
from plasm_core.plugins import loading
from plasm_core.plugins.engine import Engine
from plasm_core.plugins.interfaces import Runtime, Validator
from plasm_core.sandbox.admission.prepare import prepare
from plasm_core.sandbox.lowering.module import LOWERABLE, lower
from plasm_core.sandbox.lowering.passive_data import pieces
from plasm_core.sandbox.metering.rewrite import meter
from plasm_core.sandbox.metering.sections import read_module
from plasm_core.sandbox.process import entry
from plasm_core.sandbox.process.sealed_memory import sealed_blob
from tests.fuzz.dense import dense_module
from tests.fuzz.observing import Seen, observe
from tests.sandbox.modules import wat

_PRINT = """
  (func $print (param i32) (i32.store (i32.const 1024) (local.get 0))
    (i32.store (i32.const 1032) (i32.const 1024)) (i32.store (i32.const 1036) (i32.const 4))
    (drop (call $write (i32.const 1) (i32.const 1032) (i32.const 1) (i32.const 1040))))"""


def _program(code: str, declarations: str = "") -> bytes:
    return wat(
        '(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
        f'(memory (export "memory") 1) {declarations} {_PRINT} (func (export "_start") {code}))'
    )


def _validate(code: bytes) -> None:
    validator = loading.create(Validator, "wasmtime", {})  # type: ignore[type-abstract]
    entry.make(validator.entry, validator.options()).validate(code)


def _lowered(module: bytes) -> bytes:
    made = meter(module, canonical_nans=True)
    code = lower(made.code, made.module.features, LOWERABLE)
    _validate(code)
    return code


def _seen(module: bytes) -> Seen | str:
    """Return what wasmtime makes of a lowered module: any engine that has more does the same with it."""
    runtime = loading.create(Runtime, "wasmtime", {})  # type: ignore[type-abstract]
    engine: Engine = entry.make(runtime.entry, runtime.options())
    plain, lowered = (
        observe(engine, code, has_start=False, stdin_fd=sealed_blob("stdin", [b""]))
        for code in (meter(module, canonical_nans=True).code, _lowered(module))
    )
    assert lowered == plain
    return lowered


PROGRAMS = {
    "bulk-memory": _program(
        "(memory.init $b (i32.const 3) (i32.const 5) (i32.const 4100)) (call $print (i32.load (i32.const 3)))"
        "(memory.init $b (i32.const 0) (i32.const 0) (i32.const 3)) (call $print (i32.load (i32.const 0)))"
        "(memory.init $e (i32.const 65536) (i32.const 0) (i32.const 0)) (data.drop $a) (data.drop $b)"
        "(memory.init $b (i32.const 65536) (i32.const 0) (i32.const 0))"
        "(memory.init $a (i32.const 0) (i32.const 0) (i32.const 0))"
        "(memory.init $b (i32.const 0) (i32.const 0) (i32.const 1)) (call $print (i32.const 7))",
        f'(data $a (i32.const 8) "active") (data $b "{"0123456789" * 800}") (data $e "")',
    ),
    "extended-const": _program(
        "(call $print (global.get $g)) (call $print (i32.wrap_i64 (global.get $h)))"
        "(call $print (i32.load8_u (i32.const 6)))",
        "(global $g i32 (i32.mul (i32.const 0x40000001) (i32.const 3)))"
        "(global $h i64 (i64.sub (i64.const 1) (i64.const 0x8000000000000000)))"
        '(data (i32.add (i32.const 7) (i32.const -1)) "x")',
    ),
    "multi-value": _program(
        "(local $n i32) (call $three) (call $print) (call $print) (call $print)"
        "(i32.const 3) (i32.const 5) (loop $again (param i32 i32) (result i32 i32)"
        " (i32.add) (i32.const 1)"
        " (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 4))))"
        "(call $print) (call $print)"
        "(i32.const 8) (i32.const 9) (if (param i32 i32) (result i32 i32) (local.get $n)"
        " (then (call $print) (i32.const 2)) (else (drop) (i32.const 4))) (call $print) (call $print)"
        "(i32.const 1) (i32.const 2) (if (param i32 i32) (result i32 i32) (i32.const 0) (then (i32.add) (i32.const 0)))"
        "(call $print) (call $print)",
        "(func $three (result i32 i32 i32) (i32.const 1) (i32.const 2) (i32.const 3)"
        " (br_table 0 0 (i32.const 1)))",
    ),
    "f32-bits": _program(
        "(local $x f32) (i32.store (i32.const 0) (i32.const 0x7fa00001))"
        "(local.set $x (f32.load (i32.const 0)))"
        "(f32.store (i32.const 4) (call $same (local.get $x))) (call $print (i32.load (i32.const 4)))"
        "(call $print (i32.reinterpret_f32 (f32.neg (local.get $x))))"
        "(call $print (i32.reinterpret_f32 (f32.abs (f32.neg (local.get $x)))))"
        "(call $print (i32.reinterpret_f32 (f32.copysign (local.get $x) (f32.const -1))))"
        "(call $print (i32.reinterpret_f32 (f32.add (local.get $x) (f32.const 1))))"
        "(call $print (i32.reinterpret_f32 (f32.mul (f32.sqrt (f32.const 2)) (f32.add (f32.const 1) (f32.const 3)))))"
        "(call $print (i32.trunc_f32_s (f32.div (f32.const 7) (f32.const 2))))"
        "(call $print (i32.trunc_sat_f32_u (f32.const -1)))"
        "(call $print (i32.trunc_f64_s (f64.promote_f32 (f32.convert_i32_u (i32.const 77)))))"
        "(call $print (f32.lt (f32.const 1) (f32.const 2)))"
        "(drop (block (result f32) (global.get $g)))"
        "(call_indirect (param i32) (i32.const 5) (i32.const 0))",
        "(global $g f32 (f32.const nan:0x200000)) (type $i (func (param i32)))"
        "(table 1 1 funcref) (elem (i32.const 0) $f) (func $f (param f32))"
        "(func $same (param f32) (result f32) (local i32) (local.set 1 (i32.const 5)) (local.get 0))",
    ),
    "partial-table": _program(
        "(call_indirect (i32.const 0)) (call_indirect (i32.const 2))",
        "(table 3 3 funcref) (elem (i32.const 0) $f) (func $f (call $print (i32.const 1)))",
    ),
}
_TRAPS = {
    "bulk-memory": "memory_out_of_bounds",
    "f32-bits": "bad_signature",
    "partial-table": "indirect_call_to_null",
}


@pytest.mark.parametrize("feature", ["bulk-memory", "extended-const", "multi-value"])
def test_a_lowered_program_has_the_feature_no_more(feature: str) -> None:
    module = PROGRAMS[feature]
    code = _lowered(module)

    assert feature in meter(module).module.features
    assert lower(code, {feature}, LOWERABLE) == code  # nothing is left to do


def test_a_lowered_program_moves_no_f32() -> None:
    """The constant is all that is left of the type: arithmetic makes floats of bits where it needs them."""
    lowered = read_module(_lowered(PROGRAMS["f32-bits"]))

    assert not any(0x7D in item.params + item.results for item in lowered.types)
    assert lowered.features == set()


@pytest.mark.parametrize("feature", sorted(PROGRAMS))
def test_a_lowered_program_does_the_same_for_the_same_gas(feature: str) -> None:
    seen = _seen(PROGRAMS[feature])

    assert seen[0] == (f"trapped ({_TRAPS[feature]})" if feature in _TRAPS else "exited")


def test_dense_modules_do_the_same_when_they_are_lowered() -> None:
    rng = random.Random(8)
    for _ in range(20):
        _seen(dense_module(rng, lowered=True))


def test_a_module_of_features_that_cannot_be_lowered_is_left_as_it_is() -> None:
    module = wat("(module … (func (param v128) (result f32) (f32.load (i32.const 0))))")
    made = meter(module)

    assert {"f32-bits", "simd"} <= made.module.features
    assert lower(made.code, made.module.features, LOWERABLE) == made.code


def test_only_what_is_asked_for_is_lowered() -> None:
    module = PROGRAMS["f32-bits"]
    made = meter(module)

    assert lower(made.code, made.module.features, LOWERABLE - {"f32-bits"}) == made.code


def test_preparing_lowers_what_the_runtime_says() -> None:
    preparation, code = prepare(PROGRAMS["bulk-memory"], _validate, lowered=LOWERABLE)

    assert preparation.info is not None
    assert "bulk-memory" in preparation.info.features
    assert "bulk-memory" not in meter(code).module.features


def test_code_that_ends_too_early_is_refused() -> None:
    made = meter(PROGRAMS["f32-bits"])

    with pytest.raises(BadModuleError):
        lower(made.code[:-20], made.module.features, LOWERABLE)


def test_a_segment_is_cut_into_eights_and_filled_up() -> None:
    assert pieces(b"\1\0\0\0\0\0\0\0\2") == [1, 2]
