"""Measure where the time of metered code goes: `python benchmarks/metering_cost.py MODULE [ARGUMENT...]`.

wasmtime compiles the module in several forms: bare; with parts of metering alone; metered as for a job; and metered,
with other settings of the compiler. Then all forms run in turn, so that a busy machine is as busy for each. The host functions are wasmtime's own, in one form a worker's. Each line is the least processor time
in which `_start` ran, and its quotient by that of the bare module. `--only NAME` (repeated) measures some forms only.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import wasmtime
from wasmtime import _bindings

from plasm_core.plugins.engine import LoadedModule
from plasm_core.sandbox.metering import function_body, instructions, rewrite
from plasm_core.sandbox.metering.binary import signed
from plasm_core.sandbox.metering.injected import GAS_GLOBAL, PAGES_GLOBAL
from plasm_core.sandbox.metering.sections import read_module
from plasm_core.sandbox.process import worker, worker_frames
from plasm_runtime_wasmtime import library
from plasm_runtime_wasmtime.engine import WasmtimeEngine

ROUNDS = 3
GAS = 1 << 60
PAGES = 1 << 15
PARTS = frozenset({"gas", "gas checks", "stack", "stack checks", "charges"})
"""The parts of metering. With `gas in memory`, each charge reads the counter's global, and no local has its value."""


@attrs.frozen(kw_only=True)
class Form:
    """A form of a module. `parts`: those of metering that it has, None for the original. `switches`: of wasmtime's."""

    parts: frozenset[str] | None
    switches: dict[str, bool] = attrs.field(factory=dict)
    speed: int = 1
    """What wasmtime optimises for: nothing, speed, or speed and size."""
    has_worker_host: bool = False


def _with(*parts: str, speed: int = 1, **switches: bool) -> Form:
    return Form(parts=frozenset(parts), switches=switches, speed=speed)


FORMS = {
    "bare": Form(parts=None, switches={"cranelift_nan_canonicalization": False}),
    "bare, may move": Form(
        parts=None, switches={"cranelift_nan_canonicalization": False, "memory_may_move": True}
    ),
    "bare, canonical NaNs": Form(parts=None),
    "nothing counted": _with(),
    "operands charged": _with("charges"),
    "gas": _with("gas"),
    "gas checked": _with("gas", "gas checks"),
    "stack": _with("stack"),
    "stack checked": _with("stack", "stack checks"),
    "gas and stack": _with("gas", "stack"),
    "metered": _with(*PARTS),
    "metered, gas in memory": _with(*PARTS, "gas in memory"),
    "metered, explicit bounds": _with(*PARTS, signals_based_traps=False),
    "metered, not optimised": _with(*PARTS, speed=0),
    "metered, a worker's host": Form(parts=PARTS, has_worker_host=True),
}


def metered(data: bytes, parts: frozenset[str]) -> bytes:
    """Return a module with some parts of metering."""
    body, patches = instructions.Instructions, []
    if "gas" not in parts or "gas in memory" in parts:
        patches.append(mock.patch.object(body, "_keep_gas"))
    if "gas" not in parts:
        patches.append(
            mock.patch.object(body, "_charge", return_value=(b"\x42", b"\x42", b"\x1a"))
        )  # const, drop
    if "gas checks" not in parts:
        patches.append(mock.patch.object(body, "_check", return_value=b""))
    if "charges" not in parts:
        patches.append(mock.patch.object(instructions.op, "OPERAND_CHARGED", frozenset()))
    if "stack" not in parts:
        patches.append(mock.patch.object(function_body, "enter", return_value=b""))
        patches.append(mock.patch.object(function_body, "leave", return_value=b""))
    elif "stack checks" not in parts:
        patches.append(mock.patch.object(function_body, "enter", _enter))
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        return rewrite.meter_module(read_module(data))


def _enter(stack: bytes, weight: int, _exhausted: bytes) -> bytes:
    return b"\x23" + stack + b"\x41" + signed(weight) + b"\x6a\x24" + stack


def engine_of(form: Form) -> wasmtime.Engine:
    """Return an engine with the configuration of workers, but for a form's switches."""
    config = wasmtime.Config()
    address = ctypes.cast(config.ptr(), ctypes.c_void_p)
    switches = {**library._SWITCHES, "parallel_compilation": True, **form.switches}
    for name, value in switches.items():
        setter = getattr(library.lib, f"wasmtime_config_{name}_set")
        setter.restype = None
        setter(address, ctypes.c_bool(value))
    for name in ("async_stack_size", "max_wasm_stack"):
        getattr(_bindings, f"wasmtime_config_{name}_set")(config.ptr(), library.MAX_WASM_STACK)
    _bindings.wasmtime_config_cranelift_opt_level_set(config.ptr(), form.speed)
    return wasmtime.Engine(config)


def compiled(form: Form, data: bytes) -> bytes:
    """Compile a form of a module."""
    code = data if form.parts is None else metered(data, form.parts)
    if form.has_worker_host:
        return WasmtimeEngine(threads=True).compile(code)
    return bytes(wasmtime.Module(engine_of(form), code).serialize())


class Loaded:
    """A compiled form of a module. `arguments`: those of each run."""

    def __init__(self, form: Form, artefact: bytes, arguments: list[str], stdin: Path) -> None:
        self._form, self._arguments, self._stdin = form, arguments, stdin
        self._engine = engine_of(form)
        self._module: Any = (
            WasmtimeEngine().load(artefact)
            if form.has_worker_host
            else wasmtime.Module.deserialize(self._engine, artefact)
        )

    def run(self) -> float:
        """Run the module once. Return the processor time of `_start` in seconds."""
        if self._form.has_worker_host:
            return _run_in_worker(self._module, self._arguments, self._stdin)
        linker, store = wasmtime.Linker(self._engine), wasmtime.Store(self._engine)
        linker.define_wasi()
        wasi = wasmtime.WasiConfig()
        wasi.argv = ["main", *self._arguments]
        wasi.stdin_file, wasi.stdout_file = str(self._stdin), os.devnull
        wasi.inherit_stderr()
        store.set_wasi(wasi)
        exports: Any = linker.instantiate(store, self._module).exports(store)
        if self._form.parts is not None:
            exports[GAS_GLOBAL].set_value(store, GAS)
            exports[PAGES_GLOBAL].set_value(store, PAGES)
        began = time.process_time()
        try:
            exports["_start"](store)
        except wasmtime.ExitTrap as exc:
            if exc.code:
                raise
        return time.process_time() - began


def _run_in_worker(module: LoadedModule, arguments: list[str], stdin: Path) -> float:
    size_bytes = stdin.stat().st_size
    packed = worker_frames.pack_job(
        gas=GAS,
        memory_bytes=PAGES << 16,
        output_bytes=1 << 30,
        stdin_bytes=size_bytes,
        cpu_s=10_000,
        flags=0,
        seed=bytes(32),
        args=tuple(argument.encode() for argument in arguments),
        env=(),
    )
    host, instance = worker.make_instance(module)
    with stdin.open("rb") as stream:
        given = worker.FileStdin(stream.fileno(), size_bytes)
        began = time.process_time()
        outcome = worker.run(instance, host, worker_frames.WorkerJob(packed), given, lambda *_: None)
        used_s = time.process_time() - began
    kind, code, *_ = worker_frames.unpack_outcome(outcome)
    if (kind, code) != ("exited", 0):
        raise SystemExit(f"the module ended as {kind} {code}")
    return used_s


def main() -> None:
    """Print a line for each form of the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=FORMS, metavar="FORM")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--stdin", type=Path, default=Path(os.devnull))
    parser.add_argument("module", type=Path)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    data = asked.module.read_bytes()
    forms = {}
    for name in asked.only or FORMS:
        form = FORMS[name]
        forms[name] = Loaded(form, compiled(form, data), asked.arguments, asked.stdin)
        sys.stderr.write(f"compiled: {name}\n")
    figures: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(asked.rounds):
        for name, loaded in forms.items():
            figures[name].append(loaded.run())
    first_s = min(next(iter(figures.values())))
    for name, times_s in figures.items():
        sys.stdout.write(f"{name:26} {min(times_s):7.3f} s  {min(times_s) / first_s:5.2f}\n")


if __name__ == "__main__":
    main()
