"""Values that lie on the operand stack while something else happens are what they were, on every engine.

wasm3 keeps the topmost integer and the topmost float in registers. Each function here leaves its values in the
globals, which `_start` writes to stdout; what they must be stands beside it, worked out from the code by hand.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

import pytest

from plasm_core.errors import RefusedError
from plasm_core.local_node import LocalNode
from plasm_core.quantities import bytes_text
from plasm_core.records.manifest import Limits
from tests.agreement.conftest import skip_if_missing
from tests.agreement.engines import ENGINES
from tests.agreement.vectors import Given, run
from tests.sandbox.modules import wat

_MODULE = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $d (mut f64) (f64.const 0)) (global $f (mut f32) (f32.const 0)) (global $l (mut i64) (i64.const 0))
  {functions}
  (func (export "_start")
    {calls}
    (f64.store (i32.const 16) (global.get $d)) (f32.store (i32.const 24) (global.get $f))
    (i64.store (i32.const 28) (global.get $l))
    (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 20))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""

_F64 = "f64.const 3 f64.const 4 f64.add"  # 7, in the register for floats
_F32 = "f32.const 3 f32.const 4 f32.add"

CASES: dict[str, tuple[str, str, tuple[float, float, int]]] = {
    "f64 under a branch with an f64": (
        f"(func $c (result f64) {_F64} f64.const 1 i32.const 0 br_if 0 drop global.set $d f64.const 2)",
        "call $c drop",
        (7.0, 0.0, 0),
    ),
    "f64 under a branch with an f32": (
        f"(func $c (result f32) {_F64} f32.const 1 i32.const 0 br_if 0 global.set $f global.set $d f32.const 2)",
        "call $c drop",
        (7.0, 1.0, 0),
    ),
    "f32 under a branch with an f64": (
        f"(func $c (result f64) {_F32} f64.const 1 i32.const 0 br_if 0 global.set $d global.set $f f64.const 2)",
        "call $c drop",
        (1.0, 7.0, 0),
    ),
    "f32 under a branch with a local": (
        f"(func $c (param f32) (result f32) {_F32} local.get 0 i32.const 0 br_if 0 drop global.set $f f32.const 2)",
        "f32.const 5 call $c drop",
        (0.0, 7.0, 0),
    ),
    "to a block": (
        f"(func $c block (result f64) {_F64} f64.const 1 i32.const 0 br_if 0 drop global.set $d f64.const 2 end drop)",
        "call $c",
        (7.0, 0.0, 0),
    ),
    "to an if, out of a loop": (
        f"(func $c i32.const 1 if (result f32) loop (result f32) {_F32} f32.const 1 i32.const 0 br_if 1 drop"
        " global.set $f f32.const 2 end else f32.const 9 end drop)",
        "call $c",
        (0.0, 7.0, 0),
    ),
    "twice in a row": (
        f"(func $c (result f64) {_F64} f64.const 1 i32.const 0 br_if 0 i32.const 0 br_if 0 drop global.set $d f64.const 2)",
        "call $c drop",
        (7.0, 0.0, 0),
    ),
    "with a computed condition under the result of a call": (
        "(func $seven (result f64) f64.const 7) (func $no (param i32) (result i32) local.get 0 i32.eqz)"
        " (func $c (result f64) call $seven f64.const 1 i32.const 4 call $no br_if 0 drop global.set $d f64.const 2)",
        "call $c drop",
        (7.0, 0.0, 0),
    ),
    "an integer under it": (
        "(func $c (result f64) i64.const 3 i64.const 4 i64.add f64.const 1 i32.const 0 br_if 0 drop global.set $l f64.const 2)",
        "call $c drop",
        (0.0, 0.0, 7),
    ),
    "a branch that is taken": (
        f"(func $c (result f64) {_F64} f64.const 1 i32.const 1 br_if 0 drop global.set $d f64.const 2)",
        "call $c global.set $d",
        (1.0, 0.0, 0),
    ),
    "a local read before it, changed behind it": (
        f"(func $c (param f64) (result f64) local.get 0 {_F64} f64.const 1 i32.const 0 br_if 0 local.set 0 drop"
        " global.set $d local.get 0)",
        "f64.const 5 call $c f32.demote_f64 global.set $f",
        (5.0, 1.0, 0),
    ),
}


@pytest.mark.parametrize(("functions", "calls", "expected"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_lies_under_a_conditional_branch_is_kept(
    nodes: Mapping[str, LocalNode],
    engine: str,
    functions: str,
    calls: str,
    expected: tuple[float, float, int],
) -> None:
    skip_if_missing(engine)
    limits = Limits(gas=1_000_000, memory_bytes=1 << 20, output_bytes=1 << 16)
    code = wat(_MODULE.format(functions=functions, calls=calls))

    ended = run(nodes[engine], engine, Given(given=code, limits=limits))

    assert ended.stdout == (hashlib.sha256(struct.pack("<dfq", *expected)).hexdigest(), 20)


GROWING = '(module (memory (export "memory") 1 {most}) (func (export "_start") {body}))'
_GROW = "i32.const 1 memory.grow drop"
GIB = 1 << 30


@pytest.mark.parametrize(
    ("most", "body", "memory_bytes", "needed"),
    [
        ("", _GROW, 4 * GIB, True),
        ("", _GROW, 2 * GIB + 65_536, True),
        ("65536", _GROW, 4 * GIB, True),
        ("32769", _GROW, 4 * GIB, True),
        ("", _GROW, 2 * GIB + 65_535, False),
        ("", _GROW, 2 * GIB, False),
        ("32768", _GROW, 4 * GIB, False),
        ("", "", 4 * GIB, False),
        ("", "return " + _GROW, 4 * GIB, False),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_module_that_may_outgrow_an_engine_is_refused_by_a_name(
    nodes: Mapping[str, LocalNode], engine: str, most: str, body: str, memory_bytes: int, needed: bool
) -> None:
    """wasm3 grows a memory to 2 GiB and no further, wasmer not to the last page: below what the job was promised."""
    skip_if_missing(engine)
    runtime = nodes[engine].runtime(engine)
    limits = Limits(gas=1_000_000, memory_bytes=memory_bytes, output_bytes=1 << 16)
    admission, code = nodes[engine].admission(runtime), wat(GROWING.format(most=most, body=body))

    lacking = {"large-memory"} if needed else set()
    if memory_bytes == 4 * GIB and most in ("", "65536") and needed:
        lacking.add("whole-memory")
    lacking -= runtime.features
    if lacking:
        with pytest.raises(RefusedError, match=f"uses {', '.join(sorted(lacking))}$") as caught:
            admission.admit(code, limits)
        assert caught.value.reason == "unsupported_feature"
        most_bytes = 2 * GIB if "large-memory" in lacking else 4 * GIB - 65_536
        assert f"--limit memory={bytes_text(most_bytes)}" in (caught.value.hint or "")
    else:
        admission.admit(code, limits).close()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_grows_a_memory_to_the_last_page_that_it_does_not_refuse(
    nodes: Mapping[str, LocalNode], engine: str
) -> None:
    """Not on wasm3, which fills what it grows by: 2 GiB would be written to."""
    skip_if_missing(engine)
    runtime = nodes[engine].runtime(engine)
    if "large-memory" not in runtime.features:
        pytest.skip("it writes to all of a memory")
    pages = 65_536 if "whole-memory" in runtime.features else 65_535
    body = f"""(i32.store (i32.const 100) (i32.const 42))
        (if (i32.ne (memory.grow (i32.const {pages - 1})) (i32.const 1)) (then unreachable))
        (if (i32.ne (memory.size) (i32.const {pages})) (then unreachable))
        (i32.store (i32.const {pages * 65_536 - 4 - (1 << 32)}) (i32.load (i32.const 100)))
        (if (i32.ne (i32.load (i32.const {pages * 65_536 - 4 - (1 << 32)})) (i32.const 42)) (then unreachable))
        (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))"""
    code = wat(GROWING.format(most="", body=body))
    limits = Limits(gas=1_000_000, memory_bytes=pages * 65_536, output_bytes=1 << 16)

    ended = run(nodes[engine], engine, Given(given=code, limits=limits))

    assert ended.outcome == {"kind": "exited", "code": 0}
