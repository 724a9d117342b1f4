"""Run one module on wasmtime alone, with its own WASI over a directory: `python -m tests.real_programs.native SPEC`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import wasmtime


def compiled(engine: wasmtime.Engine, module: Path, cache: Path) -> wasmtime.Module:
    """Return a module, compiled once."""
    if cache.is_file():
        return wasmtime.Module.deserialize(engine, cache.read_bytes())
    made = wasmtime.Module.from_file(engine, str(module))
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_bytes(made.serialize())
    return made


def run(spec: dict[str, Any]) -> int:
    """Run a module, and return its exit code, or -1 if it trapped. Raises: `wasmtime.WasmtimeError`."""
    config = wasmtime.Config()
    config.wasm_exceptions = True
    engine = wasmtime.Engine(config)
    module = compiled(engine, Path(spec["module"]), Path(spec["cache"]))
    wasi = wasmtime.WasiConfig()
    wasi.argv = ["main", *spec["args"]]
    wasi.env = [tuple(item.split("=", 1)) for item in spec["env"]]
    wasi.stdin_file = spec["stdin"]
    wasi.stdout_file = spec["stdout"]
    wasi.stderr_file = spec["stderr"]
    wasi.preopen_dir(spec["root"], "/")
    store = wasmtime.Store(engine)
    store.set_wasi(wasi)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    try:
        exports = linker.instantiate(store, module).exports(store)
        if spec["entry"] is None:
            exports["_start"](store)  # type: ignore[operator]
            return 0
        if exports.get("_initialize") is not None:
            exports["_initialize"](store)  # type: ignore[operator]
        return int(exports[spec["entry"]](store) or 0)  # type: ignore[operator]
    except wasmtime.ExitTrap as exc:
        return int(exc.code)
    except wasmtime.Trap as exc:
        sys.stderr.write(f"{exc}\n")
        return -1


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(json.loads(sys.argv[1]))))
