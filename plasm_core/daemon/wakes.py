"""Waking the event loop from threads: calls that come before the loop is awake take one wake-up together."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable

import trio


class Wakes:
    """Functions to be called in a loop at once."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self._calls: deque[Callable[[], object]] = deque()
        self._is_due = False

    def add(self, call: Callable[[], object]) -> None:
        """Have a function called, which must not raise. Thread-safe. If the loop has ended, nothing is called."""
        self._calls.append(call)
        if not self._is_due:
            self._is_due = True
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._make)

    def _make(self) -> None:
        self._is_due = False  # first: what is added from here on is made below, or has a wake-up of its own
        while self._calls:
            self._calls.popleft()()


_current: trio.lowlevel.RunVar[Wakes] = trio.lowlevel.RunVar("wakes")


def wakes() -> Wakes:
    """Return the `Wakes` of the current event loop, which are made at the first call."""
    try:
        return _current.get()
    except LookupError:
        made = Wakes(trio.lowlevel.current_trio_token())
        _current.set(made)
        return made
