"""Measure how fast modules are metered: `python benchmarks/metering_speed.py MODULE...`.

For each module, by Python alone and with `native/body.wasm`: the size of its code section, the least processor time of
three runs, megabytes of code a second, and the digest of the metered code, which two versions of the rewriter must have
in common. The module `native/body.wasm` is compiled once before, as for each module that is admitted.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

from plasm_core.plugins import loading
from plasm_core.plugins.engine import Instance
from plasm_core.plugins.interfaces import Validator
from plasm_core.sandbox.metering.module import CODE
from plasm_core.sandbox.metering.native_body import native_code
from plasm_core.sandbox.metering.rewrite import meter_module
from plasm_core.sandbox.metering.sections import read_module
from plasm_core.sandbox.process.entry import make

RUNS = 3


def measure(path: Path, native: Instance | None) -> str:
    """Return the line for one module."""
    data = path.read_bytes()
    start, end = read_module(data).sections[CODE]
    least_s, code = float("inf"), b""
    for _ in range(RUNS):
        began = time.process_time()
        code = meter_module(read_module(data), native=native)
        least_s = min(least_s, time.process_time() - began)
    megabytes = (end - start) / 1e6
    digest = hashlib.sha256(code).hexdigest()[:12]
    how = "python" if native is None else "native"
    return f"{path.name:20} {how} {megabytes:6.2f} MB of code {least_s:6.2f} s {megabytes / least_s:5.2f} MB/s  {digest}"


def main() -> None:
    """Print a line for each module named."""
    validator = loading.create(Validator, "wasmtime", {})  # type: ignore[type-abstract]
    made = make(validator.entry, validator.options())
    began = time.process_time()
    native = made.instantiate(native_code())
    sys.stdout.write(f"body.wasm compiled in {time.process_time() - began:.2f} s\n")
    for name in sys.argv[1:]:
        for how in (None, native):
            sys.stdout.write(measure(Path(name), how) + "\n")


if __name__ == "__main__":
    main()
