"""A large module of one's own runs at once on the engine that compiles while it runs, then on the configured one."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from plasm_core.first_run import LEAST_MODULE_BYTES
from tests.agreement.engines import WINCH, missing
from tests.sandbox.modules import wat
from tests.support.cli import JOB_FAILED, OK, Plasm

needs_v8 = pytest.mark.skipif(bool(missing("v8")), reason="mini-racer is not installed")
needs_winch = pytest.mark.skipif(bool(missing(WINCH)), reason="Winch is for x86-64")

_FILL = LEAST_MODULE_BYTES // 4
_LARGE = f"""(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 16)
  (data (i32.const 0) "{"wasm" * _FILL}")
  (func (export "_start")
    SIMD
    (call $exit (i32.load8_u (i32.const 3)))))"""
CODE = ord("m")


@pytest.fixture
def large(tmp_path: Path) -> str:
    file = tmp_path / "large.wasm"
    file.write_bytes(wat(_LARGE.replace("SIMD", "")))
    return str(file)


def run(plasm: Plasm, module: str, *options: str, code: int = JOB_FAILED) -> tuple[str, dict[str, Any]]:
    """Run a module. Return the engine that its receipt names, with the compiler, and what anybody can check."""
    receipt = plasm.home / "receipt.json"
    done = plasm("run", "--receipt", str(receipt), *options, module)
    assert done.code == code, done.err
    payload = json.loads(receipt.read_text())["payload"]
    predicate = json.loads(base64.b64decode(payload))["predicate"]
    engine = predicate["claims"]["runtime"]
    assert f" · {engine['name']} {engine['version']}" in done.err
    tier = "/winch" if engine["version"].endswith(" winch") else ""
    return engine["name"] + tier, predicate["result"]


def until_compiled(plasm: Plasm, module: str, *options: str) -> tuple[str, dict[str, Any]]:
    """Run a module until the configured engine does, which a process of the lowest priority prepares.

    Return the last engine and result, after five minutes at most.
    """
    deadline = time.monotonic() + 300
    while True:
        engine, result = run(plasm, module, *options)
        if engine == "wasmtime" or time.monotonic() > deadline:
            return engine, result


@needs_v8
def test_the_first_runs_are_quick_and_a_hot_module_is_compiled_behind(plasm: Plasm, large: str) -> None:
    first, result = run(plasm, large)
    second, again = run(plasm, large)
    third, last = until_compiled(plasm, large)

    assert (first, second, third) == ("v8", "v8", "wasmtime")
    assert result == again == last
    assert result["outcome"] == {"kind": "exited", "code": CODE}


@pytest.mark.parametrize(
    "options",
    [("--runtime", "wasmtime"), ("--set", "plasm.first_run=none")],
)
def test_a_caller_may_ask_for_the_configured_engine(
    plasm: Plasm, large: str, options: tuple[str, ...]
) -> None:
    assert run(plasm, large, *options)[0] == "wasmtime"


def test_a_compiled_module_runs_on_the_configured_engine(plasm: Plasm, large: str) -> None:
    run(plasm, large, "--runtime", "wasmtime")

    assert run(plasm, large)[0] == "wasmtime"


@needs_winch
@pytest.mark.parametrize(
    "options",
    [
        ("--set", "plasm.first_run=winch"),
        ("--set", "plasm.first_run=nothing"),
        ("--require-sandbox", "rlimits"),
    ],
)
def test_without_v8_the_first_runs_are_compiled_by_winch(
    plasm: Plasm, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Its workers have every layer of the sandbox, unlike V8's."""
    file = tmp_path / "another.wasm"  # for each of the options: all tests here share a cache
    file.write_bytes(wat(_LARGE.replace("SIMD", f"(drop (i32.const {len(options[1])}))")))
    first, result = run(plasm, str(file), *options)
    second, again = run(plasm, str(file), *options)
    third, last = until_compiled(plasm, str(file), *options)

    assert (first, second, third) == ("wasmtime/winch", "wasmtime/winch", "wasmtime")
    assert result == again == last
    assert result["outcome"] == {"kind": "exited", "code": CODE}


@needs_winch
def test_a_module_that_winch_refuses_is_compiled_by_cranelift(plasm: Plasm, tmp_path: Path) -> None:
    file = tmp_path / "references.wasm"
    file.write_bytes(wat(_LARGE.replace("SIMD", "(drop (ref.null extern))")))

    assert run(plasm, str(file), "--set", "plasm.first_run=winch")[0] == "wasmtime"


def test_a_module_that_the_quick_engine_refuses_runs_on_the_configured_one(
    plasm: Plasm, tmp_path: Path
) -> None:
    if missing("wasm3"):
        pytest.skip("wasm3 is not installed")
    file = tmp_path / "simd.wasm"
    file.write_bytes(wat(_LARGE.replace("SIMD", "(drop (v128.const i64x2 0 0))")))

    assert run(plasm, str(file), "--set", "plasm.first_run=wasm3")[0] == "wasmtime"


def test_a_small_module_is_compiled_at_once(plasm: Plasm, tmp_path: Path) -> None:
    file = tmp_path / "small.wasm"
    file.write_bytes(wat("(module …)"))

    assert run(plasm, str(file), code=OK)[0] == "wasmtime"
