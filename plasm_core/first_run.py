"""Which runtime takes the first runs of a large module of one's own: one that starts at once, until it is compiled.

Compiling ahead takes about a second a megabyte. All runtimes give the same output, outcome and gas, so the choice shows
in the time that a run takes, and in the receipt's claim of an engine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator

from plasm_core.config import NO_FIRST_RUN, Config
from plasm_core.errors import PlasmError, PluginError
from plasm_core.local_node import LocalNode
from plasm_core.paths import cache_directory, private_directory
from plasm_core.plugins.interfaces import Runtime
from plasm_core.records import Manifest

LEAST_MODULE_BYTES = 512 << 10
"""Smaller modules are compiled in less time than another engine takes to start."""


def first_runtime(node: LocalNode, manifest: Manifest, module_bytes: int) -> Runtime | None:
    """Return the runtime for a run of a module that is not compiled yet, None for the configured one.

    It is the one of `plasm.first_run`. If that is not installed, or must show layers of the sandbox that its workers
    lack, it is the configured engine with its quick compiler, None if that has none.
    """
    choice, configured = node.config.plasm, node.runtime()
    if choice.first_run in (NO_FIRST_RUN, configured.name) or not configured.compiles_ahead:
        return None
    if module_bytes < LEAST_MODULE_BYTES:
        return None
    if node.admission(configured).is_compiled(manifest.module, entry=manifest.entry):
        return None
    if node.config.sandbox.require or node.config.sandbox.isolation != "process":
        return configured.quick()
    try:
        return node.runtime(choice.first_run)
    except PluginError:
        return configured.quick()


def is_hot(node: LocalNode, manifest: Manifest, quick: Runtime) -> bool:
    """Return whether a module has run on the quick runtime before: then it is worth compiling."""
    return node.admission(quick).is_compiled(manifest.module, entry=manifest.entry)


def compile_behind(config: Config, manifest: Manifest, module: bytes) -> None:
    """Compile a module for the configured runtime in a process that outlives this one, at the lowest priority.

    Its limits are those of admission. One process compiles at a time, and a second one ends at once. The
    calling process must be about to exit, with its threads ended.
    """
    if not hasattr(os, "fork"):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        return
    status = 1
    try:
        os.setsid()
        os.nice(19)
        silence = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(silence, fd)
        with LocalNode(config) as node, contextlib.suppress(PlasmError, BlockingIOError), _alone():
            node.admission().admit(
                module, manifest.limits, entry=manifest.entry, profile=manifest.profile
            ).close()
        status = 0
    finally:
        os._exit(status)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock of the process that compiles in the background. Raises: BlockingIOError if another one has it."""
    place = private_directory(cache_directory())
    lock = os.open(place / "compiling.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)
