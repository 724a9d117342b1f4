"""The entry points of installed distributions, read once: a scan of all metadata takes as long as a small job.

They are cached in memory, and in the state directory for the next process, until the search path or one of its
folders changes.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs

from plasm_core import paths
from plasm_core.errors import PlasmError
from plasm_core.ownership import open_regular

GROUP = "plasm"

_FILE = "entry-points.json"
_MAX_BYTES = 1 << 20
_SETTLED_S = 2.0
"""A folder that changed less than so long ago may change again without its time of change telling."""


@attrs.frozen(kw_only=True)
class EntryPoint:
    """One entry point of the group. `value`: a module, or `module:attribute`, of a distribution."""

    name: str
    value: str
    distribution: str | None
    version: str | None

    def load(self) -> Any:
        """Import and return the object that it names."""
        # As importlib.metadata does, whose import takes longer than that of a plugin.
        module, _, attribute = self.value.partition("[")[0].strip().partition(":")
        found = importlib.import_module(module.strip())
        return functools.reduce(getattr, filter(None, attribute.strip().split(".")), found)


_read: tuple[str, tuple[EntryPoint, ...]] | None = None


def read() -> tuple[EntryPoint, ...]:
    """Return the entry points of the group, of all distributions on the search path."""
    global _read
    path = tuple(sys.path)
    state, changed_s = _state_of(path)
    if _read is not None and _read[0] == state:
        return _read[1]
    found = _remembered(state)
    if found is None:
        found = _scanned()
        if time.time() - changed_s < _SETTLED_S:
            return found
        _remember(state, found)
    _read = state, found
    return found


def _state_of(path: tuple[str, ...]) -> tuple[str, float]:
    """Return what tells one state of the search path from another, and when it last changed."""
    parts: list[object] = [sys.version, sys.prefix]
    last = 0
    for folder in path:
        try:
            found = os.stat(folder or ".")
        except OSError:
            continue
        parts.append([os.path.abspath(folder), found.st_ino, found.st_mtime_ns])
        last = max(last, found.st_mtime_ns)
    return json.dumps(parts), last / 1e9


def _scanned() -> tuple[EntryPoint, ...]:
    import importlib.metadata

    found: dict[tuple[str, str, str | None], EntryPoint] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        distribution = point.dist.name if point.dist else None
        # One distribution can stand on the path twice, as when a source tree is installed editable.
        found.setdefault(
            (point.name, point.value, distribution),
            EntryPoint(
                name=point.name,
                value=point.value,
                distribution=distribution,
                version=point.dist.version if point.dist else None,
            ),
        )
    return tuple(found.values())


def _remembered(state: str) -> tuple[EntryPoint, ...] | None:
    """Return the entry points that an earlier process stored for the same state of the search path, or None."""
    try:
        with open_regular(paths.state_directory() / _FILE) as file:
            about = os.fstat(file.fileno())
            if about.st_uid != os.geteuid() or about.st_mode & 0o022:
                return None  # what it names is imported
            found = json.loads(file.read(_MAX_BYTES))
        if found["state"] != state:
            return None
        return tuple(EntryPoint(**point) for point in found["points"])
    except (OSError, ValueError, KeyError, TypeError, PlasmError):
        return None


def _remember(state: str, points: tuple[EntryPoint, ...]) -> None:
    """Store the entry points for the next process, if the state directory exists."""
    text = json.dumps({"state": state, "points": [attrs.asdict(point) for point in points]})
    try:
        directory = paths.state_directory()
        fd, name = tempfile.mkstemp(dir=directory, prefix=f".{_FILE}")
        try:
            with open(fd, "w") as file:
                file.write(text)
            Path(name).replace(directory / _FILE)
        except BaseException:
            os.unlink(name)
            raise
    except (OSError, PlasmError):
        pass
