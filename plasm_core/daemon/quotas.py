"""What each client of the network may take of this node: in memory only, and forgotten as it is made good.

Not thread-safe: the daemon's loop has it.
"""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

import attrs

from plasm_core.config import ClientLimits
from plasm_core.errors import RefusedError
from plasm_core.records import PeerId

_MAX_CLIENTS = 16_384
_HOUR_S = 3600.0


@attrs.define
class _Bucket:
    """What is left of an hour's share at a moment. Below zero is a debt: costs are known only afterwards."""

    left: float
    at: float


class Buckets:
    """An amount for each client, which grows back evenly within an hour. The longest unused are forgotten."""

    def __init__(self, per_hour: float, clock: Callable[[], float]) -> None:
        self.per_hour = per_hour
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str, amount: float) -> None:
        """Take an amount, whether or not it is there; a negative one gives back."""
        if amount == 0:
            return
        left, now = self._left(name), self._clock()
        if left - amount >= self.per_hour:
            self._buckets.pop(name, None)
            return
        self._buckets[name] = _Bucket(left - amount, now)
        self._buckets.move_to_end(name)
        while len(self._buckets) > _MAX_CLIENTS:
            self._buckets.popitem(last=False)

    def wait_s(self, name: str) -> int:
        """Return how long a client has to wait until it may take anything: 0 if it may now."""
        left = self._left(name)
        if not self.per_hour or left > 0:
            return 0
        return math.ceil(-left / self.per_hour * _HOUR_S) + 1

    def _left(self, name: str) -> float:
        bucket = self._buckets.get(name)
        if bucket is None:
            return self.per_hour
        grown = (self._clock() - bucket.at) / _HOUR_S * self.per_hour
        return min(self.per_hour, bucket.left + grown)


class Quotas:
    """Counts each client by every name it has: its PeerId, and the group of its address. No names, no limits."""

    def __init__(self, limits: ClientLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._cpu_s = Buckets(limits.cpu_s_per_hour, clock)
        self._upload_bytes = Buckets(limits.upload_bytes_per_hour, clock)
        self._running: Counter[str] = Counter()
        self.limits = limits

    @property
    def limits(self) -> ClientLimits:
        """What each client may take. A limit of 0 is none."""
        return self._limits

    @limits.setter
    def limits(self, limits: ClientLimits) -> None:
        self._limits = limits
        self._cpu_s.per_hour = limits.cpu_s_per_hour
        self._upload_bytes.per_hour = limits.upload_bytes_per_hour

    def check(self, names: Sequence[str], *, uploads: bool = True) -> None:
        """Refuse a client that has used up its share. `uploads`: also its share of bytes to upload.

        Raises: `RefusedError` (`policy`), with when to come back.
        """
        shares = [("processor time", self._cpu_s)]
        shares += [("bytes to upload", self._upload_bytes)] if uploads else []
        for what, buckets in shares:
            wait_s = max((buckets.wait_s(name) for name in names), default=0)
            if wait_s:
                raise RefusedError(
                    "policy",
                    f"this client, or its neighbourhood, has used up the {what} that each may have",
                    retry_after_s=wait_s,
                )

    def charge(self, names: Sequence[str], *, cpu_s: float = 0.0, upload_bytes: int = 0) -> None:
        """Take note of what a client has used; of less than nothing, that it was not used after all."""
        for name in names:
            if self._cpu_s.per_hour:
                self._cpu_s.take(name, cpu_s)
            if self._upload_bytes.per_hour:
                self._upload_bytes.take(name, upload_bytes)

    def may_start(self, names: Sequence[str]) -> bool:
        """Return whether one more of a client's jobs may run now."""
        return not self._limits.running or all(self._running[name] < self._limits.running for name in names)

    def started(self, names: Sequence[str]) -> None:
        """Count a job that runs."""
        self._running.update(names)

    def ended(self, names: Sequence[str]) -> None:
        """Count it no more."""
        self._running.subtract(names)
        for name in names:
            if self._running[name] <= 0:
                del self._running[name]


def counted_names(peer: PeerId | None, group: str) -> tuple[str, ...]:
    """Return the names under which a client is counted: none for users of this machine."""
    return (f"peer {peer}", f"group {group}") if peer is not None else ()
