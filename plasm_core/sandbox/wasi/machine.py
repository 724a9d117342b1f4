"""The clock and the random numbers of a job: virtual and fixed by the manifest, or real if it is granted."""

from __future__ import annotations

import os
import sys
import time

from plasm_core.sandbox.wasi.abi import CLOCK_REALTIME

try:  # CPython's own SHA-256: hashlib would load OpenSSL into every worker
    sha256 = __import__("_sha2" if sys.version_info >= (3, 12) else "_sha256").sha256
except ImportError:
    sha256 = __import__("hashlib").sha256

EPOCH_NS = 946_684_800 * 10**9  # 2000-01-01T00:00:00Z
STEP_NS = 1_000
LAST_NS = 2**63 - 1
_LONGEST_SLEEP_S = 3600.0
_RANDOM_TAG = b"plasm.det/v1 random"


class VirtualClock:
    """Time that passes only when it is read or waited for, in nanoseconds since the job's start."""

    def __init__(self) -> None:
        self._now = 0

    def start_of(self, clock: int) -> int:
        """Return a clock's time at the job's start, in nanoseconds."""
        return EPOCH_NS if clock == CLOCK_REALTIME else 0

    def read(self, clock: int) -> int:
        """Return the clock's time in nanoseconds, then advance it."""
        value = self.start_of(clock) + self._now
        self._now = min(self._now + STEP_NS, LAST_NS)
        return value

    def now(self) -> int:
        """Return the time since the start, without advancing."""
        return self._now

    def wait_until(self, deadline: int) -> None:
        """Jump to a time, in nanoseconds since the start, if it is in the future."""
        self._now = max(self._now, min(deadline, LAST_NS))


class RealClock(VirtualClock):
    """The machine's own clocks, for jobs that were granted `clock.real`."""

    def __init__(self) -> None:
        super().__init__()
        self._real_ns = time.time_ns()
        self._start_ns = time.monotonic_ns()

    def start_of(self, clock: int) -> int:
        return self._real_ns if clock == CLOCK_REALTIME else 0

    def read(self, clock: int) -> int:
        return self.start_of(clock) + self.now()

    def now(self) -> int:
        return time.monotonic_ns() - self._start_ns

    def wait_until(self, deadline: int) -> None:
        while (left := deadline - self.now()) > 0:
            time.sleep(min(left / 1e9, _LONGEST_SLEEP_S))


class SeededRandom:
    """The stream block 0 ‖ block 1 ‖ …, block i = SHA-256(tag ‖ seed ‖ u64le(i))."""

    def __init__(self, seed: bytes) -> None:
        self._prefix = _RANDOM_TAG + seed
        self._next = 0
        self._rest = b""

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        first, prefix = self._next, self._prefix
        self._next += max(0, -(-(count - len(self._rest)) // 32))
        blocks = [sha256(prefix + i.to_bytes(8, "little")).digest() for i in range(first, self._next)]
        data = self._rest + b"".join(blocks)
        self._rest = data[count:]
        return data[:count]


class RealRandom:
    """The machine's own randomness, for jobs that were granted `random.real`."""

    def take(self, count: int) -> bytes:
        """Return `count` random bytes."""
        return os.urandom(count)
