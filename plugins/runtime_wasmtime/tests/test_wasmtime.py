"""Hold the wasmtime engine to the contract, compiled by Cranelift, by Winch and for its interpreter, and its plugin to its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plasm_core.errors import ConfigError
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Runtime
from plasm_core.testing.bench import exited, open_bench
from plasm_core.testing.contract import RuntimeContract
from plasm_core.testing.engine_contract import EngineContract
from plasm_runtime_wasmtime.runtime import WasmtimeRuntime, WinchTier

NOBODY_ELSE = 0x5A17_0000
COMPILED_UNDER_A_LIMIT = f"""
import os, resource, sys
from plasm_runtime_wasmtime.engine import WasmtimeEngine

functions = 16
padding = bytes(64 << 10)
module = b"\\0asm\\1\\0\\0\\0" + b"\\x01\\x04\\x01\\x60\\0\\0" + bytes([3, functions + 1, functions, *bytes(functions)])
module += bytes([10, 3 * functions + 1, functions]) + b"\\x02\\0\\x0b" * functions
module += b"\\0\\x80\\x80\\x04" + padding
engine = WasmtimeEngine(threads=True)
processes, user = int(sys.argv[1]), {NOBODY_ELSE} + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
os.setresgid(user, user, user)
os.setresuid(user, user, user)
assert engine.compile(module)
print("compiled")
"""


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


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="a user without other processes is needed"
)
@pytest.mark.parametrize("processes", [1, 2, 3, 5, 9, 12])
def test_a_limit_of_processes_does_not_make_the_compiler_abort(processes: int) -> None:
    """The compiler would take down its process, and the module would be refused. A limit may leave some threads."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILED_UNDER_A_LIMIT, str(processes)], capture_output=True, text=True
    )

    assert (done.returncode, done.stdout) == (0, "compiled\n"), done.stderr[:500]


def test_its_target_is_part_of_what_the_cache_goes_by() -> None:
    assert WasmtimeRuntime().options() != WasmtimeRuntime(target="pulley64").options()
