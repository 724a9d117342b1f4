"""Why a child process was killed by a signal that this process did not send."""

from __future__ import annotations

import functools
import threading
from pathlib import Path

from plasm_core.machine import memory_kills


class Kills:
    """Tells by the system's counters whether the kernel killed a process for lack of memory.

    Thread-safe.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        """Note how many there have been. `root` is where `/proc` and `/sys` are."""
        self._root = root
        self._lock = threading.Lock()
        self._known = memory_kills(root)

    def explain(self) -> str:
        """Return the end of the sentence "the worker was …" for a worker that SIGKILL ended."""
        with self._lock:
            known, self._known = self._known, memory_kills(self._root)
        reason = "killed by the kernel, probably for memory (SIGKILL)"
        return f"{reason}: its control group's memory was used up" if self._known > known else reason


@functools.cache
def kills() -> Kills:
    """Return this process's counter, created at the first call."""
    return Kills()
