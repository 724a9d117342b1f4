"""Recently admitted programs, with open artefacts, which the next job of the same module uses."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

from plasm_core.sandbox.program import ModuleInfo

_LARGEST_BYTES = 4 << 20
"""An artefact that is larger is fetched from the cache each time: those here take memory."""
_LIMIT_BYTES = 16 << 20


class AtHand:
    """The latest programs in memory, by the names of their cache entries, bounded in bytes. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used_bytes = 0
        self._programs: OrderedDict[tuple[str, ...], tuple[ModuleInfo, int, int]] = OrderedDict()

    def take(self, key: tuple[str, ...]) -> tuple[ModuleInfo, int] | None:
        """Return a program's description and a descriptor of its artefact, which the caller closes; None if it is not
        cached.
        """
        with self._lock:
            found = self._programs.get(key)
            if found is None:
                return None
            self._programs.move_to_end(key)
            return found[0], os.dup(found[1])

    def look_up(self, key: tuple[str, ...]) -> ModuleInfo | None:
        """Return a program's description; None if it is not cached. Counts as a use of the program."""
        with self._lock:
            found = self._programs.get(key)
            if found is None:
                return None
            self._programs.move_to_end(key)
            return found[0]

    def put(self, key: tuple[str, ...], info: ModuleInfo, artefact_fd: int) -> None:
        """Store a program, unless its artefact is large. The descriptor stays the caller's."""
        size = os.fstat(artefact_fd).st_size
        if size > _LARGEST_BYTES:
            return
        with self._lock:
            if key in self._programs:
                return
            self._programs[key] = info, os.dup(artefact_fd), size
            self._used_bytes += size
            while self._used_bytes > _LIMIT_BYTES:
                _, (_, fd, size) = self._programs.popitem(last=False)
                self._used_bytes -= size
                os.close(fd)

    def close(self) -> None:
        """Close all artefacts."""
        with self._lock:
            for _, fd, _ in self._programs.values():
                os.close(fd)
            self._programs.clear()
            self._used_bytes = 0
