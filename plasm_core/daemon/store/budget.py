"""How many bytes jobs may keep on the disk, and what each of them and each holder has of it."""

from __future__ import annotations

import threading
from collections.abc import Collection

from plasm_core.errors import StorageFullError
from plasm_core.fair_shares import NOBODY, Holder, Room, Shares

KEPT_FOR_OWN = 8
"""Strangers never have the eighth part of it: that is for the node's own users."""


class Budget:
    """A number of bytes that holders share. Thread-safe."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._shares = Shares(limit_bytes, kept=limit_bytes // KEPT_FOR_OWN)

    @property
    def used_bytes(self) -> int:
        """The used bytes, including reservations."""
        return self._shares.used

    def take(self, amount_bytes: int, holder: Holder = NOBODY, *, force: bool = False) -> None:
        """Take some bytes. With `force` also beyond the limit, for files that exist already.

        Raises: `StorageFullError`, and nothing is taken.
        """
        room = self._shares.take(holder, amount_bytes, force=force)
        if room is Room.SHARE_USED:
            raise StorageFullError(
                f"no room for {amount_bytes} bytes more of this client: its jobs keep "
                f"{self._shares.held(holder)} bytes, which is its share of {self.limit_bytes}",
                hint="release finished jobs, or raise storage.job_bytes",
            )
        if room is not Room.FREE:
            raise StorageFullError(
                f"no room for {amount_bytes} bytes more: jobs keep {self.used_bytes} of "
                f"{self.limit_bytes} bytes",
                hint="release finished jobs, or raise storage.job_bytes",
            )

    def give_back(self, amount_bytes: int, holder: Holder = NOBODY) -> None:
        """Return some bytes."""
        self._shares.give_back(holder, amount_bytes)

    def giver(self, holder: Holder, amount_bytes: int, among: Collection[str]) -> str | None:
        """Return the name of the holder that must give up bytes for another one: see `Shares.giver`."""
        return self._shares.giver(holder, amount_bytes, among=among)


class Allowance:
    """One job's part of a budget: bytes reserved beforehand, more as it grows. Thread-safe."""

    def __init__(
        self, budget: Budget, reserved_bytes: int, holder: Holder = NOBODY, *, force: bool = False
    ) -> None:
        """Reserve. Raises: `StorageFullError`."""
        budget.take(reserved_bytes, holder, force=force)
        self._budget = budget
        self._holder = holder
        self._reserved_bytes = reserved_bytes
        self._held_bytes = reserved_bytes
        self._used_bytes = 0
        self._lock = threading.Lock()

    def use(self, amount_bytes: int, *, force: bool = False) -> None:
        """Count bytes that are about to be written. Raises: `StorageFullError`, and nothing is counted."""
        with self._lock:
            beyond = max(0, self._used_bytes + amount_bytes - self._held_bytes)
            if beyond:
                self._budget.take(beyond, self._holder, force=force)
                self._held_bytes += beyond
            self._used_bytes += amount_bytes

    def unuse(self, amount_bytes: int) -> None:
        """Count bytes as deleted; the reservation stays."""
        with self._lock:
            self._used_bytes -= amount_bytes
            self._hold(max(self._used_bytes, self._reserved_bytes))

    def settle(self, kept_bytes: int) -> None:
        """Set the used bytes of this allowance, and free its reservation."""
        with self._lock:
            self._used_bytes = self._reserved_bytes = kept_bytes
            self._hold(kept_bytes)

    def _hold(self, amount_bytes: int) -> None:
        if amount_bytes > self._held_bytes:
            self._budget.take(amount_bytes - self._held_bytes, self._holder, force=True)
        else:
            self._budget.give_back(self._held_bytes - amount_bytes, self._holder)
        self._held_bytes = amount_bytes
