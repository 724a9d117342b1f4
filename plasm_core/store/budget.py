"""How many bytes jobs may keep on the disk, and what each of them has of it."""

from __future__ import annotations

import threading

from plasm_core.errors import StorageFullError


class Budget:
    """A number of bytes that is shared. Thread-safe."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._used_bytes = 0
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """What is taken, reservations included."""
        return self._used_bytes

    def take(self, amount_bytes: int, *, force: bool = False) -> None:
        """Take some bytes; by `force` also beyond the limit, for what is there already.

        Raises: `StorageFullError`, and nothing is taken.
        """
        with self._lock:
            if not force and self._used_bytes + amount_bytes > self.limit_bytes:
                raise StorageFullError(
                    f"no room for {amount_bytes} bytes more: jobs keep {self._used_bytes} of "
                    f"{self.limit_bytes} bytes",
                    hint="release finished jobs, or raise storage.job_bytes",
                )
            self._used_bytes += amount_bytes

    def give_back(self, amount_bytes: int) -> None:
        """Return some bytes."""
        with self._lock:
            self._used_bytes -= amount_bytes


class Allowance:
    """One job's part of a budget: bytes reserved beforehand, more as it grows. Thread-safe."""

    def __init__(self, budget: Budget, reserved_bytes: int, *, force: bool = False) -> None:
        """Reserve. Raises: `StorageFullError`."""
        budget.take(reserved_bytes, force=force)
        self._budget = budget
        self._reserved_bytes = reserved_bytes
        self._held_bytes = reserved_bytes
        self._used_bytes = 0
        self._lock = threading.Lock()

    def use(self, amount_bytes: int, *, force: bool = False) -> None:
        """Count bytes that are about to be written. Raises: `StorageFullError`, and nothing is counted."""
        with self._lock:
            beyond = max(0, self._used_bytes + amount_bytes - self._held_bytes)
            if beyond:
                self._budget.take(beyond, force=force)
                self._held_bytes += beyond
            self._used_bytes += amount_bytes

    def unuse(self, amount_bytes: int) -> None:
        """Count bytes as deleted; the reservation stays."""
        with self._lock:
            self._used_bytes -= amount_bytes
            self._hold(max(self._used_bytes, self._reserved_bytes))

    def settle(self, kept_bytes: int) -> None:
        """Keep just so many bytes of the budget, and no reservation."""
        with self._lock:
            self._used_bytes = self._reserved_bytes = kept_bytes
            self._hold(kept_bytes)

    def _hold(self, amount_bytes: int) -> None:
        if amount_bytes > self._held_bytes:
            self._budget.take(amount_bytes - self._held_bytes, force=True)
        else:
            self._budget.give_back(self._held_bytes - amount_bytes)
        self._held_bytes = amount_bytes
