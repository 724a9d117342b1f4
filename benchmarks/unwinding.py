"""Measure what a unit of gas buys in exceptions: `python benchmarks/unwinding.py [PART OF A NAME …]`.

A throw looks at every frame and every handler on its way, at a price that is fixed in advance (docs/determinism.md,
"Exceptions and tail calls"). Told are milliseconds of processor time for a million gas, on each engine that has exceptions, of programs whose
exceptions have the longest ways. The exit code is 1 if any is above the bound.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import wasmtime  # noqa: E402

from plasm_core.errors import PluginError  # noqa: E402
from plasm_core.plugins import loading  # noqa: E402
from plasm_core.plugins.engine import HostedEngine  # noqa: E402
from plasm_core.plugins.interfaces import Runtime  # noqa: E402
from plasm_core.sandbox.metering.rewrite import meter  # noqa: E402
from plasm_core.sandbox.process import confinement, worker, worker_frames  # noqa: E402
from plasm_core.sandbox.process.entry import make  # noqa: E402

BOUND_MS = 100.0
"""Milliseconds of processor time that a million gas may buy."""

_LEAST_S = 0.2
_WIDE = " ".join(["v128"] * 16)


def _clauses(count: int, *, label: int = 0) -> str:
    """Return so many handlers of a tag that is never thrown."""
    return f"(catch $never {label}) " * count


def _deep(before: str = "", after: str = "") -> str:
    """Return a function that calls itself `$depth` times and throws, with code around each call."""
    return f"""(func $deep (param i32)
      (if (i32.eqz (local.get 0)) (then (throw $thrown)))
      {before} (call $deep (i32.sub (local.get 0) (i32.const 1))) {after})"""


def _program(called: str, body: str) -> str:
    """Return a module that runs `body` in a loop, with a handler around it. `$times`: how often, set by the caller."""
    return f"""(module (memory (export "memory") 1) (tag $thrown) (tag $never) (tag $wide (param {_WIDE}))
      {called}
      (func (export "_start") (local i32) (local $x exnref)
        (local.set 0 (i32.const TIMES))
        (loop $again
          (block $caught (try_table (catch_all $caught) {body}))
          (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"""


def _nested(count: int, inner: str, clauses: str) -> str:
    return f"(try_table {clauses} " * count + inner + ")" * count


def _programs() -> dict[str, str]:
    found = {
        "a throw": _program("", "(throw $thrown)"),
        "frames": _program(_deep(), "(call $deep (i32.const 20000))"),
        "frames with many values": _program(
            _deep("(local.get 0) (local.get 0) (local.get 0) (local.get 0)", "(drop) (drop) (drop) (drop)"),
            "(call $deep (i32.const 10000))",
        ),
    }
    for count in (1, 8, 100, 1000):
        guarded = _deep(f"(block $on (try_table {_clauses(count)}", ")) ")
        frames = max(20, 10_000 // count)
        found[f"frames with {count} handlers"] = _program(guarded, f"(call $deep (i32.const {frames}))")
    nested = _deep("(block $on " + "(try_table (catch $never $on) " * 30, ")" * 31)
    found["frames with 30 nested blocks"] = _program(nested, "(call $deep (i32.const 2000))")
    found["frames with catch_all_ref that throw again"] = _program(
        _deep(
            "(block $on (block $again (result exnref) (try_table (catch_all_ref $again)",
            ") (br $on)) (throw_ref))",
        ),
        "(call $deep (i32.const 2000))",
    )
    for count in (10, 300):
        found[f"{count} nested blocks"] = _program(
            "", f"(block $on {_nested(count, '(throw $thrown)', '(catch $never $on)')})"
        )
    for count in (100, 9000):
        found[f"{count} handlers of one block"] = _program(
            "", f"(block $on (try_table {_clauses(count)} (throw $thrown)))"
        )
    wide = "(v128.const i64x2 1 2) " * 16
    found["16 vectors"] = _program("", f"{wide} (throw $wide)")
    found["16 vectors that are caught"] = _program(
        "",
        f"(block $vectors (result {_WIDE}) (try_table (catch $wide $vectors) {wide} (throw $wide)) (unreachable))"
        + "(drop)" * 16,
    )
    found["16 vectors below 20000 frames"] = _program(
        f"""(func $deep (param i32) (local $x exnref)
        (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1)))) (else (call $many))))
        (func $many (local i32) (local $x exnref)
        (local.set 0 (i32.const 1000))
        (loop $again
          (local.set $x (block $caught (result exnref) (try_table (catch_all_ref $caught) {wide} (throw $wide)) (unreachable)))
          (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))""",
        "(call $deep (i32.const 20000))",
    )
    for place in ("before", "after"):
        sites = "(if (i32.lt_s (local.get 0) (i32.const 0)) (then " + "(call $nothing)" * 20_000 + "))"
        before, after = (sites, "") if place == "before" else ("", sites)
        found[f"20000 calls {place} in each frame"] = _program(
            "(func $nothing)" + _deep(f"(block $on (try_table (catch $never $on) {before}", f"{after}))"),
            "(call $deep (i32.const 500))",
        )
    sites = (
        "(if (i32.lt_s (local.get 0) (i32.const 0)) (then "
        + "(block $out (try_table (catch $never $out) (call $nothing)))" * 10_000
        + "))"
    )
    found["10000 blocks in each frame"] = _program(
        "(func $nothing)" + _deep(f"(block $on (try_table (catch $never $on) {sites}", "))"),
        "(call $deep (i32.const 200))",
    )
    found["many blocks without a throw"] = _program(
        "", "(block $on " + f"(try_table {_clauses(10)})" * 100 + ")"
    )
    return found


def _dropped(_stream: int, _data: bytes) -> None:
    """Take a job's output."""


class Measuring:
    """Runs programs on one engine."""

    def __init__(self, runtime: Runtime) -> None:
        self._canonical_nans = not runtime.canonical_nans
        self._engine = make(runtime.entry, runtime.options())

    def _spent(self, text: str, times: int) -> tuple[float, int]:
        """Return seconds of processor time and gas of a job."""
        module = bytes(wasmtime.wat2wasm(text.replace("TIMES", str(times))))
        code = meter(module, canonical_nans=self._canonical_nans).code
        job = worker_frames.WorkerJob(
            worker_frames.pack_job(
                gas=2**53 - 1,
                memory_bytes=1 << 20,
                output_bytes=0,
                stdin_bytes=0,
                cpu_s=600,
                flags=0,
                seed=bytes(32),
                args=(),
                env=(),
            )
        )
        stdin = worker.FileStdin(None, 0)
        artefact = self._engine.compile(code)
        if isinstance(self._engine, HostedEngine):
            hosted = self._engine.load(artefact)
            started = time.process_time()
            ended = worker.run_hosted(hosted, job, stdin, _dropped)
        else:
            host, instance = worker.make_instance(self._engine.load(artefact))
            started = time.process_time()
            ended = worker.run(instance, host, job, stdin, _dropped)
        spent_s = time.process_time() - started
        kind, _, _, gas, *_, detail = worker_frames.unpack_outcome(ended)
        if kind != "exited":
            raise RuntimeError(f"{kind} {detail}")
        return spent_s, gas

    def measure(self, text: str) -> tuple[float, float]:
        """Return milliseconds of processor time for a million gas, and microseconds for a turn of the loop."""
        times, (least_s, least_gas) = 4, self._spent(text, 1)
        while True:
            spent_s, gas = self._spent(text, times)
            spent_s, gas = spent_s - least_s, gas - least_gas
            if spent_s >= _LEAST_S:
                return spent_s * 1e9 / gas, spent_s * 1e6 / (times - 1)
            times *= 4


def runtimes() -> list[Runtime]:
    """Return the runtimes with exceptions that work in this interpreter."""
    found = []
    for name in ("wasmtime", "v8"):
        with contextlib.suppress(PluginError):
            runtime = loading.create(Runtime, name, {})  # type: ignore[type-abstract]
            if runtime.python() == sys.executable:
                found.append(runtime)
    return found


def _in_child(runtime: Runtime, text: str) -> tuple[float, float]:
    """Measure a program in a process of its own."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, json.dumps(Measuring(runtime).measure(text)).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        told = file.read()
    os.waitpid(pid, 0)
    figures = json.loads(told)
    return float(figures[0]), float(figures[1])


def main() -> int:
    confinement.allow_deep_stack()
    found = runtimes()
    most = 0.0
    heads = " ".join(f"{item.name:>9} {'µs a turn':>10}" for item in found)
    sys.stdout.write(f"{'ms of processor time for a million gas':44} {heads}\n")
    for label, text in _programs().items():
        if not any(item in label for item in sys.argv[1:] or [""]):
            continue
        row = [_in_child(runtime, text) for runtime in found]
        most = max(most, *(ms for ms, _ in row))
        sys.stdout.write(f"{label:44} {' '.join(f'{ms:9.1f} {us:10.1f}' for ms, us in row)}\n")
        sys.stdout.flush()
    sys.stdout.write(f"most {most:.1f}, bound {BOUND_MS:.0f}\n")
    return int(most > BOUND_MS)


if __name__ == "__main__":
    sys.exit(main())
