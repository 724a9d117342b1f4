"""The runtime `wasmer`: wasmer 1.1, whose package has wheels up to CPython 3.10 only."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.errors import PluginMissingError
from plasm_core.plugins.interfaces import Runtime

_QUESTION = "import wasmer, wasmer_compiler_cranelift, importlib.metadata as m; print(m.version('wasmer'))"
_WAIT_S = 30


@functools.cache
def _ask(python: str) -> str:
    """Return the version of wasmer that an interpreter has. Raises: `PluginMissingError`."""
    try:
        answer = subprocess.run(
            [python, "-I", "-c", _QUESTION], capture_output=True, text=True, timeout=_WAIT_S, check=True
        )
    except subprocess.CalledProcessError as exc:
        last = (exc.stderr.strip().splitlines() or [""])[-1]
        raise PluginMissingError(
            f"the interpreter {python} cannot import wasmer: {last}",
            hint=f"install it with: {python} -m pip install wasmer wasmer-compiler-cranelift",
        ) from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise PluginMissingError(f"runtime.wasmer.python: cannot run {python}: {exc}") from exc
    return answer.stdout.strip()


@attrs.frozen(kw_only=True)
class WasmerRuntime(Runtime):
    """Runs modules on wasmer.

    `python`: the path of a CPython, 3.10 at most, with wasmer; by default the one that runs Plasm.
    """

    name: ClassVar[str] = "wasmer"
    install: ClassVar[str | None] = "pip install 'phase-plasm[wasmer]'"
    entry: ClassVar[str] = "plasm_runtime_wasmer.engine:WasmerEngine"
    threads: ClassVar[bool] = True
    canonical_nans: ClassVar[bool] = False
    features: ClassVar[frozenset[str]] = frozenset(
        {
            "bulk-memory",
            "bulk-memory-opt",
            "bulk-table",
            "f32-bits",
            "files",
            "large-frames",
            "large-memory",
            "large-module",
            "multi-value",
            "nontrapping-float-to-int",
            "partial-table",
            "sign-extension",
        }
    )

    interpreter: str = attrs.field(default="", metadata={"plasm.json_name": "python"})

    def check(self) -> None:
        if not self.interpreter:
            if sys.version_info >= (3, 11):
                raise PluginMissingError(
                    f"wasmer has no package for CPython {sys.version_info[0]}.{sys.version_info[1]}: "
                    "its last wheels are for 3.10",
                    hint="name a Python 3.10 that has wasmer in runtime.wasmer.python",
                )
            if importlib.util.find_spec("wasmer") is None:
                raise PluginMissingError(
                    "the runtime wasmer needs the library wasmer, which is not installed",
                    hint=f"install it with: {self.install}",
                )
        _ask(self.python())

    def python(self) -> str:
        return self.interpreter or sys.executable

    def version(self) -> str:
        return _ask(self.python())


@hookimpl
def plasm_runtime() -> list[type[Runtime]]:
    return [WasmerRuntime]
