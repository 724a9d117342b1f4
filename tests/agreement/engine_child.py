"""A process that runs metered modules on one engine, as told over its standard input.

It runs under the engine's own interpreter, which may lack all of Plasm's dependencies: standard library only.
What it is told and answers are lines of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any, NoReturn

from plasm_core.plugins.engine import Engine, EngineFailure, Instance, Trap
from plasm_core.sandbox.metering.injected import FAULT_GLOBAL, GAS_GLOBAL, PAGES_GLOBAL, START_EXPORT
from plasm_core.sandbox.process.confinement import allow_deep_stack

HOST_CALL_GAS = 1_000


class _OutOfGas(Exception):
    """Raised by the host function, as the real host's are."""


def _run(engine: Engine, job: dict[str, Any]) -> dict[str, Any]:
    """Run a module. Its only host function, sched_yield, does nothing but cost gas."""
    instances: list[Instance] = []

    def spend() -> int:
        left = instances[0].get_global(GAS_GLOBAL) - HOST_CALL_GAS
        instances[0].set_global(GAS_GLOBAL, left)
        if left < 0:
            raise _OutOfGas
        return 0

    loaded = engine.load(engine.compile(bytes.fromhex(job["code_hex"])))
    instance = loaded.instantiate({"sched_yield": ("", "i", spend)})
    instances.append(instance)
    instance.set_global(GAS_GLOBAL, job["gas"])
    instance.set_global(PAGES_GLOBAL, job["pages"])
    outcome = "returned"
    try:
        if job["has_start"]:
            instance.call(START_EXPORT)
        instance.call("_start")
    except Trap as exc:
        outcome = exc.kind
    except _OutOfGas:
        outcome = "host_ran_out"
    finally:
        instances.clear()  # or the instance, of which its functions know, lives for ever with its stack
    return {
        "outcome": outcome,
        "gas": instance.get_global(GAS_GLOBAL),
        "fault": instance.get_global(FAULT_GLOBAL),
        "memory_hex": instance.memory.read(0, instance.memory.size()).hex(),
        "globals": {name: instance.get_global(name) for name in job["globals"]},
    }


def main(entry: str, options: dict[str, Any]) -> NoReturn:
    """Serve until standard input ends. Whatever the engine prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    allow_deep_stack()
    module, _, name = entry.partition(":")
    engine: Engine = getattr(importlib.import_module(module), name)(**options)
    for line in sys.stdin:
        try:
            answer = _run(engine, json.loads(line))
        except EngineFailure as exc:
            answer = {"failure": str(exc)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    sys.exit()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
