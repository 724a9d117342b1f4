"""Hold the wasmtime engine to the contract, compiled by Cranelift, by Winch and for its interpreter, and its plugin to its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from plasm_core.errors import ConfigError
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Runtime
from plasm_core.testing.bench import exited, open_bench
from plasm_core.testing.contract import RuntimeContract
from plasm_core.testing.engine_contract import EngineContract
from plasm_runtime_wasmtime.runtime import WasmtimeRuntime, WinchTier


class TestNative(RuntimeContract):
    @classmethod
    def runtime(cls) -> Runtime:
        return WasmtimeRuntime()


@pytest.mark.skipif(WasmtimeRuntime().quick() is None, reason="Winch is for x86-64")
class TestWinch(RuntimeContract):
    @classmethod
    def runtime(cls) -> Runtime:
        return WinchTier()


class TestPulley(EngineContract):
    @classmethod
    def runtime(cls) -> Runtime:
        return WasmtimeRuntime(target="pulley64")


def test_an_artefact_that_was_tampered_with_is_never_loaded(tmp_path: Path) -> None:
    """wasmtime would run it: it trusts what it once compiled."""
    with open_bench(WasmtimeRuntime(), tmp_path) as bench:
        assert bench.run("start_order").outcome == exited(0)
    entries = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert entries
    for path in entries:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    with open_bench(WasmtimeRuntime(), tmp_path) as bench:
        phases: list[str] = []
        ended = bench.run("start_order", progress=phases.append)
        assert "compiling" in phases
        assert (ended.outcome, ended.stdout) == (exited(0), b"startmain")


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"tagret": "native"}, "runtime.wasmtime.tagret"),
        ({"target": "natve"}, "runtime.wasmtime.target"),
        ({"target": 64}, "runtime.wasmtime.target"),
        ({"target": None}, "runtime.wasmtime.target"),
    ],
)
def test_a_typing_error_in_its_table_is_named(table: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        loading.create(Runtime, "wasmtime", table)  # type: ignore[type-abstract]


def test_its_target_is_part_of_what_the_cache_goes_by() -> None:
    assert WasmtimeRuntime().options() != WasmtimeRuntime(target="pulley64").options()
