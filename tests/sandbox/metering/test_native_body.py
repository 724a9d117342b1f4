"""`native/body.wasm` rewrites as Python does, byte for byte, or leaves a function to Python."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from plasm_core.plugins.engine import Instance, Trap
from plasm_core.sandbox.metering import native_body
from plasm_core.sandbox.metering.binary import signed, unsigned
from plasm_core.sandbox.metering.native_body import NativeBodies, native_code
from plasm_core.sandbox.metering.rewrite import meter_module
from plasm_core.sandbox.metering.sections import read_module
from tests.fuzz.dense import dense_module
from tests.sandbox.modules import command, wat
from tests.support.receipts import ROOT

validator_module = pytest.importorskip("plasm_runtime_wasmtime.validator")

NATIVE = ROOT / "plasm_core" / "sandbox" / "metering" / "native"
WAYS = [{"canonical_nans": nans, "trap_checks": checks} for nans in (False, True) for checks in (False, True)]
MODULES = sorted(
    [
        *(ROOT / "tests" / "corpus").glob("*/*.wasm"),
        *(ROOT / "plasm_core" / "testing" / "modules").glob("*.wasm"),
    ]
)


@pytest.fixture(scope="module")
def native() -> Instance:
    made: Instance = validator_module.ModuleValidator().instantiate(native_code())
    return made


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collects how many functions were taken at once; 0 is one that was left to Python."""
    found: list[int] = []
    rewrite = NativeBodies.rewrite

    def noted(self: NativeBodies, first: int) -> tuple[int, bytes]:
        count, code = rewrite(self, first)
        found.append(count)
        return count, code

    monkeypatch.setattr(NativeBodies, "rewrite", noted)
    return found


def differences(native: Instance, data: bytes) -> list[dict[str, bool]]:
    """Return the ways in which the two rewrite a module differently."""
    found = []
    for way in WAYS:
        one, other = read_module(data), read_module(data)
        same = meter_module(one, **way) == meter_module(other, **way, native=native)  # type: ignore[arg-type]
        if not same or (one.features, one.memory_grows) != (other.features, other.memory_grows):
            found.append(way)
    return found


def test_programs_are_rewritten_alike(native: Instance, taken: list[int]) -> None:
    assert [str(file) for file in MODULES if differences(native, file.read_bytes())] == []
    assert sum(taken) > 9 * taken.count(0)


def dense() -> Iterator[bytes]:
    rng = random.Random(1)
    for _ in range(60):
        yield dense_module(rng)
        yield dense_module(rng, floats=True)
        yield dense_module(rng, lowered=True)
        yield dense_module(rng, raising=True)


def test_generated_modules_are_rewritten_alike(native: Instance, taken: list[int]) -> None:
    assert [number for number, data in enumerate(dense()) if differences(native, data)] == []
    assert sum(taken) > taken.count(0)


def _padded(value: int) -> bytes:
    encoded = bytearray(unsigned(value))
    encoded[-1] |= 0x80
    return bytes(encoded) + b"\x80" * (4 - len(encoded)) + b"\0"


_LOOP = b"\x03\x40\x41\x01\x0d" + _padded(0) + b"\x0b"
BODIES = {
    "padded indices": b"\x41" + _padded(5) + b"\x24" + _padded(0) + b"\x23" + _padded(0) + b"\x1a",
    "padded negative": b"\x41\xff\xff\xff\xff\x7f\x1a\x42\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x1a",
    "padded access": b"\x41\x00\x28" + _padded(2) + _padded(8) + b"\x1a",
    "padded f32 access": b"\x41\x00\x2a" + _padded(2) + _padded(8) + b"\x1a",
    "padded call": b"\x41\x00\x04\x40\x10" + _padded(0) + b"\x0b",
    "padded branches": b"\x02\x40\x0c" + _padded(0) + b"\x0b\x02\x40\x41\0\x0d" + _padded(0) + b"\x0b",
    "padded table": b"\x02\x40\x41\x00\x0e" + _padded(1) + _padded(0) + _padded(0) + b"\x0b",
    "padded prefix": b"\x43\0\0\0\0\xfc" + _padded(0) + b"\x1a",
    "padded growth": b"\x41\x00\x40" + _padded(0)[:2] + b"\x80\x80\0\x1a",
    "a loop": _LOOP,
    "nested deeply": b"\x02\x40" * 5_000 + b"\x0b" * 5_000,
    "nested less": b"\x02\x40" * 4_000 + b"\x0b" * 4_000,
    "many values": b"\x41\x00" * 300 + b"\x1a" * 300,
    "many values before a block": b"\x41\x00" * 300 + b"\x02\x40\x0b" + b"\x1a" * 300,
    "a wide table": b"\x02\x40\x41\x00\x0e" + unsigned(20_000) + b"\0" * 20_001 + b"\x0b",
    "dead blocks": b"\x0f\x02\x7f\x41\x00\x0b\x04\x40\x05\x0b\x03\x40\x0b\x43\0\0\x80\x7f\x44"
    + bytes(8)
    + b"\x1a\x1a",
    "dead else": b"\x41\x01\x04\x7f\x00\x41\x02\x05\x41\x03\x0b\x1a",
    "signalling": b"\x43\x01\x00\xa0\x7f\x1a",
    "large constants": b"".join(b"\x41" + signed(-(1 << at)) + b"\x1a" for at in range(32)),
    "large code": b"\x41\x00\x1a" * 50_000,
}


@pytest.mark.parametrize("name", BODIES)
def test_single_bodies_are_rewritten_alike(native: Instance, name: str) -> None:
    assert differences(native, command(BODIES[name])) == []


TEXTS = {
    "many locals": f"(func {'(local i64)' * 400} {'(local.set 399 (local.get 3)) (drop (local.get 7))' * 100})",
    "locals in few bytes": "(func (result i64) (local " + "i64 " * 49_000 + ") (local.get 48000))",
    "reads that wait": "(func (param i64) (local.get 0) (local.get 0) (local.get 0) (local.set 0 (i64.const 1))"
    " (drop) (drop) (drop))",
    "reads that wait for a block": "(func (param f64 i32) (local.get 0) (local.get 0) (block) (local.get 0)"
    " (local.get 0) (if (local.get 1) (then)) (drop) (drop) (drop) (drop))",
    "a float that a branch carries": "(func (param f64 i32) (result f64) (block (result f64)"
    " (f64.add (local.get 0) (local.get 0)) (br_if 0 (local.get 1))))",
    "several results": "(func (result i32 i32) (i32.const 1) (i32.const 2))",
    "vectors": "(func (result v128) (v128.const i64x2 0 0))",
    "references": "(func (result funcref) (ref.null func))",
    "an indirect call": "(table 3 funcref) (elem (i32.const 0) func 0) (func (call_indirect (i32.const 0)))",
    "bulk": "(func (memory.copy (i32.const 0) (i32.const 1) (i32.const 2)) (memory.fill (i32.const 0) (i32.const 1)"
    " (i32.const 2)))",
    "conversions": "(func (param f32 f64) (drop (i32.trunc_f32_s (local.get 0))) (drop (i64.trunc_f64_u (local.get 1)))"
    " (drop (i32.trunc_sat_f32_s (local.get 0))) (drop (i32.extend8_s (i32.const 3))))",
    "wide calls": f"(func $wide (param {'i32 ' * 900}) (result i32) (i32.const 1))"
    f" (func (drop (call $wide {'(i32.const 0)' * 900})))",
}


@pytest.mark.parametrize("name", TEXTS)
def test_single_functions_are_rewritten_alike(native: Instance, name: str) -> None:
    assert differences(native, wat(f"(module … {TEXTS[name]})")) == []


def test_a_fault_of_it_leaves_the_module_to_python(native: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    data = MODULES[0].read_bytes()
    expected = meter_module(read_module(data))

    class Faulty(Instance):
        memory = native.memory

        def get_global(self, name: str) -> int:
            return native.get_global(name)

        def set_global(self, name: str, value: int) -> None:
            raise AssertionError(name)

        def call(self, name: str) -> None:
            if name == "rewrite":
                raise Trap("unreachable")
            native.call(name)

    assert meter_module(read_module(data), native=Faulty()) == expected


def test_a_module_that_does_not_fit_into_memory_is_left_to_python(
    native: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_body, "_MOST_OUT_BYTES", 1 << 33)
    monkeypatch.setattr(native_body, "_OUT_FACTOR", 1 << 31)
    data = command(BODIES["a loop"])

    assert differences(native, data) == []


def test_results_arrive_in_pieces_if_the_buffer_is_small(
    native: Instance, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_body, "_DONE_BYTES", 0)
    monkeypatch.setattr(native_body, "_OUT_FACTOR", 4)
    data = (ROOT / "tests" / "corpus" / "rust" / "words.wasm").read_bytes()

    assert differences(native, data) == []
    assert sum(taken) > 0


@pytest.mark.skipif(shutil.which("clang-16") is None, reason="clang 16 is not installed")
def test_the_module_is_its_source_compiled(tmp_path: Path) -> None:
    copy = tmp_path / "native"
    shutil.copytree(NATIVE, copy)
    (copy / "body.wasm").unlink()
    subprocess.run(["sh", str(copy / "build.sh")], check=True, timeout=120)

    assert (copy / "body.wasm").read_bytes() == native_code()
