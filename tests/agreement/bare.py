"""Ask `bare_child` for what a vector comes to, on wasmtime, under any interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plasm_core
import plasm_runtime_wasmtime
from tests.agreement import bare_child

FIELDS = ("outcome", "gas_used", "stdout", "stderr")
"""The fields of a case that say what must come of it."""


class BareChild:
    """A process that runs vectors without a sandbox. It imports Plasm from here, all else from `path`."""

    def __init__(
        self, python: Sequence[str], path: Sequence[str], *, target: str = "native", deadline_s: float
    ) -> None:
        spec = {
            "entry": "plasm_runtime_wasmtime.engine:WasmtimeEngine",
            "options": {"target": target},
            "validator": "plasm_runtime_wasmtime.validator:ModuleValidator",
            "canonical_nans": False,
        }
        own = [
            str(Path(str(package.__file__)).parent.parent) for package in (plasm_core, plasm_runtime_wasmtime)
        ]
        self._deadline_s = deadline_s
        self._process = subprocess.Popen(
            [*python, str(bare_child.__file__), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": os.pathsep.join([*own, *path])},
            text=True,
        )

    def __enter__(self) -> BareChild:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def observe(self, case: dict[str, Any]) -> dict[str, Any]:
        """Return what a case came to, in the same fields, or the `failure`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        overdue = threading.Timer(self._deadline_s, self._process.kill)
        overdue.start()
        try:
            self._process.stdin.write(json.dumps(case) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            overdue.cancel()
        if not line:
            raise EOFError(f"the process ended at {case['name']}, or was ended after {self._deadline_s} s")
        answer: dict[str, Any] = json.loads(line)
        return answer
