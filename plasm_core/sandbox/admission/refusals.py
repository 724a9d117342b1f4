"""Refusals remembered: a module that cannot be prepared or compiled costs its work once, not each time it comes."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from plasm_core.errors import CompileLimitError, RefusedError

_MAX_REFUSALS = 4096
FORGET_S = 3600.0
"""After so long it is tried again: a limit may have struck for want of the machine's memory."""


class Refusals:
    """Recent refusals of modules, by the names of the cache entries that they would have had. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._found: OrderedDict[str, tuple[float, RefusedError]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def check(self, name: str) -> None:
        """Raise the remembered `RefusedError`, if there is one."""
        with self._lock:
            until, refusal = self._found.get(name, (0.0, None))
            if refusal is None:
                return
            if self._clock() >= until:
                del self._found[name]
                return
        raise _anew(refusal)

    def remember(self, name: str, refusal: RefusedError, for_s: float = FORGET_S) -> None:
        """Remember a refusal for a limited time; the oldest are dropped first."""
        kept = _anew(refusal)  # drop the traceback: its frames hold the module
        with self._lock:
            self._found.pop(name, None)
            self._found[name] = self._clock() + for_s, kept
            while len(self._found) > _MAX_REFUSALS:
                self._found.popitem(last=False)


def _anew(refusal: RefusedError) -> RefusedError:
    if isinstance(refusal, CompileLimitError):
        return CompileLimitError(str(refusal), hint=refusal.hint)
    return type(refusal)(refusal.reason, str(refusal), hint=refusal.hint)
