"""A process that runs vectors on one engine without a sandbox, as told over its standard input.

For machines on which workers cannot be had, as an emulated one. It does what a node's children do with a module and
a job: validate, meter, compile, run over the host. It needs the standard library and attrs only. What it is told are
cases of tests/vectors/determinism.json, a line each; what it answers, as many, has those of their fields that it
observed, or `failure`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from plasm_core.plugins.engine import Engine, EngineFailure, LoadedModule
from plasm_core.sandbox.metering.rewrite import meter
from plasm_core.sandbox.process import worker, worker_frames
from plasm_core.sandbox.process.confinement import allow_deep_stack
from plasm_core.sandbox.process.entry import make
from plasm_core.trap_kinds import TRAP_KINDS

CORPUS = Path(__file__).resolve().parent.parent / "corpus"
_CPU_S = 600


class _Laboratory:
    def __init__(self, engine: Engine, validator: Any, *, canonical_nans: bool) -> None:
        self._engine = engine
        self._validator = validator
        self._canonical_nans = canonical_nans
        self._name = ""
        self._last: tuple[LoadedModule, bool] | None = None

    def _loaded(self, name: str) -> tuple[LoadedModule, bool]:
        """Return a module, ready to run, and whether it has a start function. Cases of one module come together."""
        if self._last is None or self._name != name:
            code = (CORPUS / name).read_bytes()
            self._validator.validate(code)
            metered = meter(code, canonical_nans=self._canonical_nans)
            loaded = self._engine.load(self._engine.compile(metered.code))
            self._name, self._last = name, (loaded, metered.module.start is not None)
        return self._last

    def observe(self, case: dict[str, Any]) -> dict[str, Any]:
        loaded, has_start = self._loaded(case["module"])
        host, instance = worker.make_instance(loaded)
        stdin = bytes.fromhex(case.get("stdin_hex", ""))
        if "stdin_file" in case:
            stdin = (CORPUS / case["stdin_file"]).read_bytes()
        limits: dict[str, Any] = {name: int(value) for name, value in case["limits"].items()}
        job = worker_frames.WorkerJob(
            worker_frames.pack_job(
                **limits,
                stdin_bytes=len(stdin),
                cpu_s=_CPU_S,
                flags=worker_frames.HAS_START if has_start else 0,
                seed=bytes.fromhex(case["seed_hex"]),
                args=tuple(map(bytes.fromhex, case["args_hex"])),
                env=tuple(map(bytes.fromhex, case["env_hex"])),
            )
        )
        digests = {1: hashlib.sha256(), 2: hashlib.sha256()}
        sizes = {1: 0, 2: 0}

        def take(stream: int, data: bytes) -> None:
            digests[stream].update(data)
            sizes[stream] += len(data)

        fd = os.memfd_create("stdin")
        os.write(fd, stdin)
        packed = worker.run(instance, host, job, worker.FileStdin(fd, len(stdin)), take)
        os.close(fd)
        host.detach()
        kind, code, trap, gas_used, _, _, detail = worker_frames.unpack_outcome(packed)
        outcome: dict[str, str | int] = {"kind": kind}
        if kind == "exited":
            outcome["code"] = code
        elif kind == "trapped":
            outcome["trap"] = TRAP_KINDS[trap]
        elif kind == "system_error":
            raise EngineFailure(detail)
        outputs = {
            name: {"sha256": digests[stream].hexdigest(), "size_bytes": str(sizes[stream])}
            for name, stream in (("stdout", 1), ("stderr", 2))
        }
        return {"outcome": outcome, "gas_used": str(gas_used), **outputs}


def main(spec: dict[str, Any]) -> NoReturn:
    """Serve until standard input ends. Whatever the engine prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    allow_deep_stack()
    engine = make(spec["entry"], spec["options"])
    laboratory = _Laboratory(engine, make(spec["validator"], {}), canonical_nans=spec["canonical_nans"])
    for line in sys.stdin:
        try:
            answer = laboratory.observe(json.loads(line))
        except EngineFailure as exc:
            answer = {"failure": str(exc)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    sys.exit()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
