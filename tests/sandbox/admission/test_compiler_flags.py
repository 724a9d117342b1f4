"""A refusal names the proposal that a module uses, and the flag by which each compiler leaves it out."""

from __future__ import annotations

import pytest

from plasm_core.errors import RefusedError
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Runtime
from plasm_core.records.manifest import Limits
from plasm_core.sandbox.admission.compiler_flags import advice_against, flags_against
from plasm_core.sandbox.admission.compilers import named_compilers
from plasm_core.sandbox.admission.fit import check_fit, lacking
from plasm_core.sandbox.metering.binary import sized, vector
from tests.sandbox.modules import MEMORY_AND_START, command, described, problems, section, wat

ALL = ("clang", "rustc", "zig", "Go", "AssemblyScript", "Emscripten")


def producers(*languages: str) -> bytes:
    """Encode the section in which a compiler names the languages of a program."""
    values = vector([sized(name.encode()) + sized(b"1") for name in languages])
    return section(0, sized(b"producers") + vector([sized(b"language") + values]))


_START = '(func (export "_start"))'
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
        ('"env" "setTempRet0" (func (param i32))', "-sSTANDALONE_WASM"),
        ('"env" "invoke_vi" (func (param i32 i32))', "-fwasm-exceptions -sWASM_LEGACY_EXCEPTIONS=0"),
        ('"a" "b" (func (param i32))', "-sSTANDALONE_WASM"),
        ('"env" "abort" (func (param i32 i32 i32 i32))', "--use abort="),
        ('"env" "console.log" (func (param i32))', "@assemblyscript/wasi-shim"),
        ('"env" "__linear_memory" (memory 1)', "an object file: link it"),
        ('"env" "__memory_base" (global i32)', "without -shared"),
        ('"env" "__indirect_function_table" (table 1 funcref)', "clang: no -Wl,--import-table"),
        ('"wasi" "thread-spawn" (func (param i32) (result i32))', "no -pthread"),
    ],
)
def test_an_import_that_is_not_there_comes_with_the_target_that_does_without(
    imported: str, remedy: str
) -> None:
    text = f"(module (import {imported}) {MEMORY_AND_START if 'memory 1' not in imported else _START})"
    problem = problems(wat(text))[0]

    assert problem.reason == "forbidden_import"
    assert problem.hint is not None
    assert remedy in problem.hint


def test_a_module_without_a_start_or_memory_comes_with_the_targets() -> None:
    found = {problem.reason: problem.hint or "" for problem in problems(wat("(module)"))}

    assert "AssemblyScript: --exportStart _start" in found["no_start"]
    assert "rustc: --target wasm32-wasip1" in found["no_start"]
    assert "--noExportMemory" in found["no_memory"]


@pytest.mark.parametrize(
    ("languages", "compilers"),
    [
        (("Rust",), {"rustc"}),
        (("C11", "Rust"), {"rustc"}),
        (("Go",), {"Go"}),
        (("C_plus_plus_14", "C99"), {"clang", "zig", "Emscripten"}),
        (("Ada",), {"clang", "rustc", "zig", "Go", "AssemblyScript", "Emscripten"}),
        ((), {"clang", "rustc", "zig", "Go", "AssemblyScript", "Emscripten"}),
    ],
)
def test_a_hint_names_only_the_compilers_that_may_have_made_the_module(
    languages: tuple[str, ...], compilers: set[str]
) -> None:
    (problem,) = problems(wat(f"(module {_M})") + producers(*languages))

    assert problem.reason == "no_start"
    assert compilers == {name for name in ALL if f" {name}: " in (problem.hint or "")}


def test_a_proposal_is_refused_with_the_flags_of_the_modules_compiler() -> None:
    (problem,) = problems(wat(PROPOSALS["memory64"]) + producers("Rust"))

    assert (problem.hint or "").startswith("build it with rustc: --target wasm32-wasip1")
    assert "clang" not in (problem.hint or "")


@pytest.mark.parametrize("cut", [1, 5, 12, 18])
def test_a_list_of_producers_that_is_cut_short_names_nobody(cut: int) -> None:
    whole = producers("Rust")

    assert named_compilers(b"\0asm\1\0\0\0" + whole) == ("rustc",)
    assert named_compilers(b"\0asm\1\0\0\0" + whole[:-cut]) in ((), ("rustc",))
    assert named_compilers(b"\0asm\1\0\0\0" + section(0, whole[2:-cut])) == ()


def test_what_emscripten_exports_for_javascript_is_not_offered_as_an_entry() -> None:
    for_javascript = '(func (export "stackSave") (result i32) (i32.const 0))'
    (problem,) = problems(wat(f"(module {_M} {for_javascript})"))
    assert (
        problem.hint == "build a command, not a library or reactor: Emscripten: -sSTANDALONE_WASM and a main"
    )

    (problem,) = problems(wat(f'(module {_M} {for_javascript} (func (export "work")))'))
    assert (problem.hint or "").startswith("name the function to call: --entry work; or build a command")


def test_an_entry_is_not_advised_where_an_import_is_missing_too() -> None:
    imported = '(import "gojs" "runtime.wasmExit" (func (param i32)))'
    missing, start = problems(
        wat(f'(module {imported} {_M} (func (export "getsp") (result i32) i32.const 0))')
    )

    assert missing.reason == "forbidden_import"
    assert (
        start.hint
        == "build a command, not a library or reactor: Go: GOOS=wasip1 GOARCH=wasm, no -buildmode=c-shared"
    )


def test_an_i64_that_emscripten_split_for_javascript_comes_with_its_flag() -> None:
    seek = '(import "wasi_snapshot_preview1" "fd_seek" (func (param i32 i32 i32 i32 i32) (result i32)))'
    text = f'(module {seek} {MEMORY_AND_START} (func (export "stackSave") (result i32) (i32.const 0)))'
    (problem,) = problems(wat(text))

    assert problem.reason == "import_type"
    assert problem.hint == "build it with Emscripten: -sSTANDALONE_WASM"


def test_zig_gets_one_flag_for_several_features_because_it_obeys_the_last() -> None:
    assert flags_against(["simd", "tail-calls"])["zig"] == "-mcpu=generic-simd128-tail_call"
    assert flags_against(["bulk-memory-opt", "simd"])["zig"] == "-mcpu=mvp"
    assert flags_against(["simd", "threads"])["zig"] == "-mcpu=generic-simd128-atomics -fsingle-threaded"


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
