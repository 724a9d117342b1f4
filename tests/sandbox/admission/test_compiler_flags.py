"""A refusal names the proposal that a module uses, and the flag by which each compiler leaves it out."""

from __future__ import annotations

import pytest

from plasm_core.errors import RefusedError
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Runtime
from plasm_core.records.manifest import Limits
from plasm_core.sandbox.admission.compiler_flags import advice_against, flags_against
from plasm_core.sandbox.admission.fit import check_fit, lacking
from tests.sandbox.modules import MEMORY_AND_START, command, described, problems, wat

_M = '(memory (export "memory") 1)'
PROPOSALS = {
    "threads": '(module (memory (export "memory") 1 1 shared))',
    "threads, ": f"(module {_M} (func (drop (i32.atomic.load (i32.const 0)))))",
    "memory64": '(module (memory (export "memory") i64 1))',
    "multiple memories": '(module (memory 1) (memory (export "memory") 1))',
    "relaxed SIMD": f"(module {_M} (func (param v128)"
    " (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0)))))",
    "types of garbage collection": f"(module {_M} (type (struct (field i32))))",
    "typed function references": f"(module {_M} (type $f (func)) (func (param (ref null $f))))",
    "wide arithmetic": f"(module {_M} (func (param i64) (result i64 i64)"
    " local.get 0 local.get 0 local.get 0 local.get 0 i64.add128))",
}


@pytest.mark.parametrize("words", PROPOSALS)
def test_a_proposal_that_is_off_is_named_instead_of_the_validators_switch(words: str) -> None:
    """ "Support is not enabled" sends people looking for a switch that is not there."""
    (problem,) = problems(wat(PROPOSALS[words]))

    assert problem.reason == "feature"
    assert problem.message.startswith(f"the module uses {words}")
    assert "enabled" not in problem.message


def test_exceptions_of_the_older_form_come_with_the_flag_for_the_newer() -> None:
    try_and_catch_all = b"\x06\x40\x19\x0b\x0b"

    (problem,) = problems(command(try_and_catch_all))

    assert problem.reason == "feature"
    assert problem.message.startswith("the module uses exceptions in the form before WebAssembly 3.0")
    assert problem.hint is not None
    for compiler in ("clang", "zig"):
        assert f"{compiler}: -mllvm -wasm-use-legacy-eh=false" in problem.hint


def test_a_module_that_is_not_valid_is_not_said_to_use_a_proposal() -> None:
    (problem,) = problems(wat(f"(module {MEMORY_AND_START} (func i32.add))"))

    assert problem.reason == "invalid"
    assert problem.hint is None


@pytest.mark.parametrize(
    ("imported", "remedy"),
    [
        ('"gojs" "runtime.wasmExit" (func (param i32))', "GOOS=wasip1"),
        ('"env" "emscripten_memcpy_js" (func (param i32 i32 i32))', "-sSTANDALONE_WASM"),
        ('"wbg" "__wbindgen_throw" (func (param i32 i32))', "wasm32-wasip1"),
        ('"env" "abort" (func (param i32 i32 i32 i32))', "--use abort="),
        ('"wasi" "thread-spawn" (func (param i32) (result i32))', "no -pthread"),
    ],
)
def test_an_import_that_is_not_there_comes_with_the_target_that_does_without(
    imported: str, remedy: str
) -> None:
    (problem,) = problems(wat(f"(module (import {imported}) {MEMORY_AND_START})"))

    assert problem.reason == "forbidden_import"
    assert problem.hint is not None
    assert remedy in problem.hint


def test_a_module_without_a_start_or_memory_comes_with_the_targets() -> None:
    found = {problem.reason: problem.hint or "" for problem in problems(wat("(module)"))}

    assert "AssemblyScript: --exportStart _start" in found["no_start"]
    assert "rustc: --target wasm32-wasip1" in found["no_start"]
    assert "--noExportMemory" in found["no_memory"]


def test_every_feature_that_compilers_emit_has_a_flag() -> None:
    wasmtime = loading.create(Runtime, "wasmtime", {})  # type: ignore[type-abstract]
    by_size_or_hand = {
        "bulk-table",
        "f32-bits",
        "large-frames",
        "large-module",
        "partial-table",
        "wide-types",
    }
    without = {feature for feature in wasmtime.features if not flags_against([feature])}

    assert without == by_size_or_hand | {"files"}  # of jobs, not of modules


def test_flags_of_several_features_stand_together_by_compiler() -> None:
    assert flags_against(["simd", "reference-types"])["clang"] == "-mno-reference-types -mno-simd128"
    assert advice_against(["wide-types"]) is None


def test_a_module_that_an_engine_lacks_a_feature_for_is_refused_with_the_flag() -> None:
    wasm3 = loading.create(Runtime, "wasm3", {})  # type: ignore[type-abstract]
    info = described(wat(f"(module {MEMORY_AND_START} (func (param v128)))"))

    with pytest.raises(RefusedError) as caught:
        check_fit(info, wasm3, Limits(gas=1, memory_bytes=1 << 20, output_bytes=1))

    assert lacking(info, wasm3) == ["simd"]
    assert "clang: -mno-simd128" in (caught.value.hint or "")
