"""Measure first runs beside bare wasmtime: `python benchmarks/first_run.py MODULE [ARGUMENT...]`.

Each line is the least wall time of so many rounds, and its quotient by bare wasmtime's compile and run, with all
processors and without a cache. `plasm run` has empty caches each time, but for the last line. All of them run in turn,
so that a busy machine is as busy for each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 3
_BARE = """
import sys, wasmtime
engine = wasmtime.Engine()
module = wasmtime.Module.from_file(engine, sys.argv[1])
linker, store, wasi = wasmtime.Linker(engine), wasmtime.Store(engine), wasmtime.WasiConfig()
linker.define_wasi()
wasi.argv = ["main", *sys.argv[2:]]
wasi.inherit_stdout()
store.set_wasi(wasi)
try:
    linker.instantiate(store, module).exports(store)["_start"](store)
except wasmtime.ExitTrap as exc:
    sys.exit(exc.code)
"""


def timed(command: list[str], homes: Path) -> float:
    """Run a command to its end, and return its wall time in seconds."""
    names = {f"XDG_{name.upper()}_HOME": str(homes / name) for name in ("state", "cache", "config")}
    began = time.monotonic()
    subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, capture_output=True, env={**os.environ, **names}
    )
    return time.monotonic() - began


def main() -> None:
    """Print a line for each way to run the module."""
    module, *arguments = sys.argv[1:]
    plasm = [sys.executable, "-m", "plasm_core.cli", "run", "--limit", "gas=1e12", "--limit", "memory=1GiB"]
    ways = {
        "bare wasmtime, all processors": [sys.executable, "-c", _BARE, module, *arguments],
        "first run, v8": [*plasm, module, "--", *arguments],
        "first run, wasmtime": [*plasm, "--runtime", "wasmtime", module, "--", *arguments],
        "second run, wasmtime": [*plasm, "--runtime", "wasmtime", module, "--", *arguments],
    }
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        homes = tempfile.TemporaryDirectory()
        for name, command in ways.items():
            if name.startswith("first"):
                homes.cleanup()
                homes = tempfile.TemporaryDirectory()
            least[name] = min(least[name], timed(command, Path(homes.name)))
        homes.cleanup()
    bare = least["bare wasmtime, all processors"]
    for name, wall_s in least.items():
        sys.stdout.write(f"{name:30} {wall_s:6.2f} s  {wall_s / bare:4.2f}\n")


if __name__ == "__main__":
    main()
