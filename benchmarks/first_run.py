"""Measure first runs beside bare wasmtime: `python benchmarks/first_run.py MODULE [ARGUMENT...]`.

Each line is the least wall time of so many rounds, its quotient by bare wasmtime's compile and run, with all processors
and without a cache, and the same of processor time. `plasm run` has empty caches each time, but for second runs, which
are compared with bare wasmtime that loads what it has compiled. All of them run in turn, so that a busy machine is as
busy for each. The exit codes of the module are not looked at.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 3
_BARE = """
import os, sys, wasmtime
engine = wasmtime.Engine()
kept = os.path.join(os.environ["XDG_CACHE_HOME"], "bare.cwasm")
if KEEPS and os.path.exists(kept):
    module = wasmtime.Module.deserialize_file(engine, kept)
else:
    module = wasmtime.Module.from_file(engine, sys.argv[1])
    if KEEPS:
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        open(kept, "wb").write(module.serialize())
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


def timed(command: list[str], homes: Path) -> tuple[float, float]:
    """Run a command to its end, and return its wall time and its processor time in seconds."""
    names = {f"XDG_{name.upper()}_HOME": str(homes / name) for name in ("state", "cache", "config")}
    used, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, env={**os.environ, **names}
    )
    wall_s, now = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


def main() -> None:
    """Print a line for each way to run the module."""
    module, *arguments = sys.argv[1:]
    plasm = [sys.executable, "-m", "plasm_core.cli", "run", "--limit", "gas=1e12", "--limit", "memory=1GiB"]
    bare = [sys.executable, "-c"]
    ways = {
        "bare": [*bare, _BARE.replace("KEEPS", "False"), module, *arguments],
        "first run, v8": [*plasm, module, "--", *arguments],
        "first run, winch": [*plasm, "--set", "plasm.first_run=winch", module, "--", *arguments],
        "first run, cranelift": [*plasm, "--runtime", "wasmtime", module, "--", *arguments],
        "second run": [*plasm, "--runtime", "wasmtime", module, "--", *arguments],
        "kept by bare": [*bare, _BARE.replace("KEEPS", "True"), module, *arguments],
        "second run, bare": [*bare, _BARE.replace("KEEPS", "True"), module, *arguments],
    }
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        homes = tempfile.TemporaryDirectory()
        for name, command in ways.items():
            if name.startswith("first"):
                homes.cleanup()
                homes = tempfile.TemporaryDirectory()
            figures[name].append(timed(command, Path(homes.name)))
        homes.cleanup()
    least = {name: [min(column) for column in zip(*rows, strict=True)] for name, rows in figures.items()}
    for name, (wall_s, used_s) in least.items():
        of_wall_s, of_used_s = least["second run, bare" if name.startswith("second") else "bare"]
        if name != "kept by bare":
            quotients = f"{wall_s / of_wall_s:4.2f}   processor {used_s:6.2f} s  {used_s / of_used_s:4.2f}"
            sys.stdout.write(f"{name:22} {wall_s:6.2f} s  {quotients}\n")


if __name__ == "__main__":
    main()
