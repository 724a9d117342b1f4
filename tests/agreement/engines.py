"""The engines that are installed here, and why those are not that are not."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from plasm_core import config
from plasm_core.config import Config
from plasm_core.errors import PluginError
from plasm_core.local_node import LocalNode
from plasm_core.plugins.interfaces import Runtime

EMBEDDED = ("wasmtime", "wasm3", "wasmer")
"""Those whose instances a test can look into. V8 runs whole jobs only."""
ENGINES = (*EMBEDDED, "v8")
WINCH = "winch"
"""The name that tests give to wasmtime with the compiler Winch."""

WASMER_PYTHON = "PLASM_TEST_WASMER_PYTHON"
"""The environment variable that names a Python which has wasmer: its wheels end at CPython 3.10."""


def _pythons() -> Iterator[str]:
    named = os.environ.get(WASMER_PYTHON)
    if named:
        yield named
        return
    yield ""  # this one
    on_path = shutil.which("python3.10")
    if on_path:
        yield on_path
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from map(str, sorted(versions.glob("3.10*/bin/python")))


def runtime_of(node: LocalNode, engine: str) -> Runtime:
    """Return the runtime that a test calls by this name. Raises: `PluginError`."""
    if engine != WINCH:
        return node.runtime(engine)
    quick = node.runtime("wasmtime").quick()
    if quick is None:
        raise PluginError("Winch is for x86-64")
    return quick


@functools.cache
def missing(engine: str) -> str:
    """Return why an engine cannot be had here, or an empty text."""
    try:
        with LocalNode(configuration()) as node:
            runtime_of(node, engine).check()
    except PluginError as exc:
        hint = f"; name a Python that has it in {WASMER_PYTHON}" if engine == "wasmer" else ""
        return f"{exc}{hint}"
    return ""


@functools.cache
def configuration() -> Config:
    """Return a configuration under which every engine is found that is there."""
    found = config.load(environ={})
    for python in _pythons():
        settings = [f'runtime.wasmer.python="{python}"'] if python else []
        found = config.load(settings=settings, environ={})
        try:
            with LocalNode(found) as node:
                node.runtime("wasmer").check()
        except PluginError:
            continue
        break
    return found
