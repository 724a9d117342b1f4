"""Token buckets: for what costs its sender nothing, such as heartbeats, pings and resets, and for requests."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable

MAX_NAMES = 4096
"""Of `TokenBuckets`: more than a node has connections, so that no peer gets a full bucket by naming others."""


class TokenBucket:
    """A bucket of tokens. It starts full, refills with time and by `earn`, up to `capacity`."""

    def __init__(self, *, capacity: float, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._per_s = per_s
        self._clock = clock
        self._left = capacity
        self._filled_at = clock()

    @property
    def left(self) -> float:
        """The number of tokens in the bucket."""
        self._refill()
        return self._left

    def spend(self, cost: float = 1.0) -> bool:
        """Take `cost` tokens out. Return False, and take none, if there are fewer."""
        if self._left < cost:
            self._refill()  # read the clock only when the tokens do not suffice: most senders never use them up
            if self._left < cost:
                return False
        self._left -= cost
        return True

    def earn(self, amount: float) -> None:
        """Put tokens back, for useful work."""
        self._left = min(self._capacity, self._left + amount)

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._capacity, self._left + (now - self._filled_at) * self._per_s)
        self._filled_at = now


class TokenBuckets:
    """A bucket for each name, such as a peer's. Beyond `MAX_NAMES`, the least recently used are forgotten."""

    def __init__(self, *, capacity: float, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._per_s = per_s
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self._refused: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._buckets)

    def spend(self, name: str) -> bool:
        """Take one token out of a name's bucket. Return False, and take none, if it is empty."""
        spent = self._bucket(name).spend()
        if not spent:
            self._refused[name] += 1
        return spent

    def refused(self, name: str) -> int:
        """Return how often a name was refused since its bucket was last full."""
        self._bucket(name)
        return self._refused[name]

    def _bucket(self, name: str) -> TokenBucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = TokenBucket(capacity=self._capacity, per_s=self._per_s, clock=self._clock)
            self._buckets[name] = bucket
        self._buckets.move_to_end(name)
        if bucket.left >= self._capacity:
            self._refused.pop(name, None)
        while len(self._buckets) > MAX_NAMES:
            forgotten, _ = self._buckets.popitem(last=False)
            self._refused.pop(forgotten, None)
        return bucket
