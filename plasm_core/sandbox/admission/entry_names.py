"""The names of cache entries: a digest of all that an entry's content depends on."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from pathlib import Path

import attrs

from plasm_core.records.digest import sha256
from plasm_core.records.manifest import GAS_SCHEDULE, PROFILE


@attrs.frozen
class Code:
    """A module by its digest, to be called by an export: None for `_start`."""

    digest: str
    entry: str | None

    @property
    def identity(self) -> str:
        """The part of the cache key that identifies the metered code."""
        return self.digest if self.entry is None else f"{self.digest}/{self.entry}"


def entry_name(what: str, code: Code, entry: str, version: str, options: dict[str, object]) -> str:
    """Return a cache entry's name: all that its content depends on."""
    parts = [what, code.identity, PROFILE, GAS_SCHEDULE, _sources(), entry, version, _processor()]
    return json.dumps([*parts, options], sort_keys=True)


@functools.cache
def _sources() -> str:
    """Return a digest of the code that meters: a changed rewriter must not find its old work."""
    here = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted([*here.rglob("*.py"), *here.rglob("*.wasm")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@functools.cache
def _processor() -> str:
    """Return the processor's architecture and a digest of its feature flags."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {sha256(flags.encode())[:16]}"
