"""The child that compiles a metered module. It imports no more than the engine needs."""

from __future__ import annotations

import os
import sys
from typing import Any

from plasm_core.engine import EngineFailure
from plasm_core.sandbox.confine import limit_resources, lock_down


def main(spec: dict[str, Any]) -> None:
    """Compile the module in `module_fd`, from `offset`, into `out_fd`. Write why it failed, if it did, to stdout."""
    module, _, name = spec["entry"].partition(":")
    __import__(module)
    engine = getattr(sys.modules[module], name)(**spec["options"])
    limit_resources(cpu_s=spec["cpu_s"], memory_bytes=spec["memory_bytes"])
    lock_down(spec["confinement"])
    with open(spec["module_fd"], "rb", closefd=False) as source:
        source.seek(spec["offset"])
        data = source.read()
    try:
        artefact = memoryview(engine.compile(data))
    except EngineFailure as exc:
        os.write(1, str(exc).encode()[:2_000])
        sys.exit(3)
    while artefact:
        artefact = artefact[os.write(spec["out_fd"], artefact) :]
