"""The child that compiles a metered module. It imports no more than the engine needs."""

from __future__ import annotations

import os
import sys
from typing import Any

from plasm_core.plugins.engine import Engine, EngineFailure, HostedEngine
from plasm_core.sandbox.process import entry
from plasm_core.sandbox.process.confinement import limit_resources, lock_down
from plasm_core.sandbox.process.descriptor import read_all, write_all


def main(spec: dict[str, Any]) -> None:
    """Compile the module in `module_fd` into `out_fd`.

    If that fails, write the reason to stdout.
    """
    engine: Engine | HostedEngine = entry.make(spec["entry"], spec["options"])
    limit_resources(cpu_s=spec["cpu_s"], memory_bytes=spec["memory_bytes"])
    lock_down(spec["confinement"])
    try:
        artefact = engine.compile(read_all(spec["module_fd"]))
    except EngineFailure as exc:
        os.write(1, str(exc).encode()[:2_000])
        sys.exit(3)
    write_all(spec["out_fd"], artefact)
