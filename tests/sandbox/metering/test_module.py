"""What is read of a module: its preamble, its description, and the features it uses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm_core.errors import BadModuleError
from plasm_core.sandbox.metering.sections import read_module
from tests.sandbox.modules import described, look_at, problems, wat

PREAMBLE = b"\0asm\1\0\0\0"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_wasm"),
        (b"\x7fELF\x02\x01\x01\0", "not_wasm"),
        (b"\0as", "not_wasm"),
        (b"asm\0\1\0\0\0", "not_wasm"),
        (b"(module)", "not_wasm"),
        (b"\0asm", "truncated"),
        (PREAMBLE[:7], "truncated"),
        (b"\0asm\x0d\0\1\0", "component"),
        (b"\0asm\x02\0\0\0", "version"),
        (b"\0asm\0\0\0\0", "version"),
    ],
)
def test_a_file_of_another_format_is_named_by_its_format(data: bytes, reason: str) -> None:
    (problem,) = problems(data)

    assert problem.reason == reason


@pytest.mark.parametrize("text", [b"(module)", b"\n  (module (memory 1))"])
def test_text_is_recognised_and_the_way_out_named(text: bytes) -> None:
    (problem,) = problems(text)

    assert problem.hint is not None
    assert "wat2wasm" in problem.hint


def test_a_component_is_recognised_and_the_way_out_named() -> None:
    (problem,) = problems(b"\0asm\x0d\0\1\0")

    assert problem.hint is not None
    assert "wasm32-wasip1" in problem.hint


@pytest.mark.parametrize("cut", [1, 2, 5, 20])
def test_a_module_cut_short_is_not_valid(cut: int) -> None:
    module = wat("(module …)")

    (problem,) = problems(module[:-cut])

    assert problem.reason in ("invalid", "truncated")


def test_bytes_behind_the_last_section_are_not_valid() -> None:
    assert [problem.reason for problem in problems(wat("(module …)") + b"\xff")] == ["invalid"]


def test_a_module_is_described() -> None:
    info = described(
        wat(
            """(module
              (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
              (memory (export "memory") 2 10)
              (table 3 funcref)
              (global (export "counter") (mut i32) (i32.const 0))
              (func $begin)
              (func (export "_start"))
              (start $begin))"""
        )
    )

    assert info.imports == ["function wasi_snapshot_preview1.sched_yield"]
    assert info.exports == ["memory memory", "global counter", "function _start"]
    assert (info.memory_min_pages, info.memory_max_pages) == (2, 10)
    assert (info.tables, info.functions, info.has_start) == (1, 2, True)
    assert info.features == []


def test_custom_sections_change_nothing_but_the_size() -> None:
    module = wat("(module …)")
    custom = b"\0\x09\4name\0\1\2\3"

    plain, plain_code = look_at(module)
    named, named_code = look_at(module[:8] + custom + module[8:] + custom)

    assert named_code == plain_code
    assert plain.info is not None
    assert named.info is not None
    assert named.info.size_bytes == plain.info.size_bytes + 2 * len(custom)


@pytest.mark.parametrize(
    ("feature", "text"),
    [
        ("bulk-memory-opt", "(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))"),
        ("bulk-memory-opt", "(memory.copy (i32.const 0) (i32.const 0) (i32.const 0))"),
        ("bulk-memory", "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 0))"),
        ("bulk-memory", "(data.drop $d)"),
        ("bulk-table", "(table.copy (i32.const 0) (i32.const 0) (i32.const 0))"),
        ("multi-value", "(block (result i32 i32) i32.const 0 i32.const 0) drop drop"),
        ("multi-value", "i32.const 0 (block (param i32) drop)"),
        ("multi-value", "call $pair drop drop"),
        ("nontrapping-float-to-int", "(drop (i32.trunc_sat_f32_u (f32.const 0)))"),
        ("nontrapping-float-to-int", "(drop (i64.trunc_sat_f64_s (f64.const 0)))"),
        ("reference-types", "(drop (table.size $t))"),
        ("reference-types", "(drop (table.grow $t (ref.null func) (i32.const 1)))"),
        ("reference-types", "(table.fill $t (i32.const 0) (ref.null func) (i32.const 0))"),
        ("reference-types", "(table.set $t (i32.const 0) (ref.null func))"),
        ("reference-types", "(drop (table.get $t (i32.const 0)))"),
        ("reference-types", "(drop (ref.is_null (ref.null extern)))"),
        ("reference-types", "(drop (ref.func $f))"),
        ("reference-types", "(drop (select (result i32) (i32.const 0) (i32.const 0) (i32.const 0)))"),
        ("reference-types", "(call_indirect $u (i32.const 0))"),
        ("sign-extension", "(drop (i32.extend8_s (i32.const 0)))"),
        ("sign-extension", "(drop (i64.extend32_s (i64.const 0)))"),
        ("simd", "(drop (v128.const i64x2 0 0))"),
        ("simd", "(drop (i32x4.splat (i32.const 0)))"),
        ("simd", "(v128.store (i32.const 0) (v128.load (i32.const 0)))"),
    ],
)
def test_a_feature_that_the_code_uses_is_named(feature: str, text: str) -> None:
    """An engine that lacks it refuses the module by this name, before it runs."""
    pair = "(func $pair (result i32 i32) i32.const 0 i32.const 0)" if "$pair" in text else ""
    second = "(table $u 1 funcref)" if "$u" in text else ""
    data = '(data $d "x")' if "$d" in text else ""
    module = f"""(module
      (memory (export "memory") 1) (table $t 1 funcref) {second} {data} {pair}
      (func $f) (elem (i32.const 0) $f)
      (func (export "_start") {text}))"""

    assert feature in described(wat(module)).features


@pytest.mark.parametrize(
    ("feature", "text"),
    [
        ("bulk-memory", '(data "passive")'),
        ("bulk-table", "(elem func $f)"),
        ("multi-value", "(func (result i32 i32) i32.const 0 i32.const 0)"),
        ("reference-types", "(table 1 funcref) (table 1 funcref)"),
        ("reference-types", "(table 1 externref)"),
        ("reference-types", "(table 1 funcref) (elem (i32.const 0) funcref (ref.func $f))"),
        ("reference-types", "(global funcref (ref.null func))"),
        ("reference-types", "(func (param externref))"),
        ("reference-types", "(func (local funcref))"),
        ("simd", "(global v128 (v128.const i64x2 0 0))"),
        ("simd", "(func (param v128))"),
        ("simd", "(func (local v128))"),
    ],
)
def test_a_feature_that_a_declaration_uses_is_named(feature: str, text: str) -> None:
    assert feature in described(wat(f"(module … (func $f) {text})")).features


def test_a_segment_in_a_newer_form_is_named() -> None:
    """wat2wasm makes it of this text; wasm3 takes the first form only, and so must not get it."""
    assert described(wat("(module … (table funcref (elem $f)) (func $f))")).features != []


def test_instructions_of_webassembly_1_0_are_no_feature() -> None:
    module = """(module …
      (table 1 funcref) (elem (i32.const 0) $f) (data (i32.const 0) "x")
      (global $g (mut f64) (f64.const 0))
      (func $f (param i32) (result i32)
        (block (result i32) (br_if 0 (i32.const 1) (i32.load (local.get 0))))
        (if (result i32) (then (call_indirect (result i32) (i32.const 0))) (else (i32.trunc_f64_s (global.get $g))))))"""

    assert described(wat(module)).features == []


@given(st.binary(max_size=60))
def test_no_bytes_are_read_into_anything_but_a_module_or_a_refusal(data: bytes) -> None:
    """The reader stands behind a validator, but trusts nothing."""
    for prefix in (b"", PREAMBLE):
        try:
            read_module(prefix + data)
        except BadModuleError as exc:
            assert exc.reason
            assert str(exc)


@given(st.integers(0, 12), st.binary(max_size=40))
def test_no_section_is_read_into_anything_but_a_module_or_a_refusal(number: int, content: bytes) -> None:
    types = b"\x01\x04\x01\x60\0\0"
    section = bytes([number, len(content)]) + content
    for module in (PREAMBLE + section, PREAMBLE + types + section):
        try:
            read_module(module)
        except BadModuleError as exc:
            assert exc.reason
