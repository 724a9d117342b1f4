"""One more run of a task for a verifier, on another engine than the receipts name where there is one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from plasm_core.errors import PlasmError, RefusedError
from plasm_core.records.claim import Laboratory
from plasm_core.records.observables import Observables
from plasm_core.records.receipt import Asked

ENGINES = ("wasmtime", "v8", "wasm3", "wasmer")
"""The engines that verifiers choose from, the preferred first."""


def run_again(
    laboratory: Laboratory,
    asked: Asked,
    *,
    runtimes: Sequence[str],
    used: Collection[str],
    wall_time_s: int,
) -> tuple[str, Observables]:
    """Run the task on another engine than those in `used`, if possible, and return the engine's name and its
    observables.

    Raises: `PlasmError` if no engine reaches an end that can be compared.
    """
    able = laboratory.runtimes(asked, runtimes)
    failures = []
    for runtime in sorted(able, key=lambda name: name in used):
        try:
            found = laboratory.run(asked, runtime=runtime, wall_time_s=wall_time_s)
        except PlasmError as exc:
            failures.append(f"{runtime}: {exc}")
            continue
        if found.outcome.recheckable:
            return runtime, found
        failures.append(f"{runtime}: {found.outcome}")
    raise RefusedError("no_runtime", "; ".join(failures) or "no engine that is installed can run it")
