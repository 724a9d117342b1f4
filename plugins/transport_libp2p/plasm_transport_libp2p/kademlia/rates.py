"""How often somebody may ask: a bucket of tokens for each name, the longest unused of which are forgotten."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import attrs

MAX_NAMES = 4096
"""More than a node has connections, so that nobody gets a full bucket by bringing up others."""


@attrs.define
class _Bucket:
    left: float
    at: float
    refused: int = 0


class Rates:
    """So many at once, `burst`, and `per_s` a second from then on, for each name."""

    def __init__(self, clock: Callable[[], float], *, burst: int, per_s: float) -> None:
        self._clock = clock
        self._burst = burst
        self._per_s = per_s
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str) -> bool:
        """Take a token of a name's, if there is one."""
        bucket = self._filled(name)
        if bucket.left < 1:
            bucket.refused += 1
            return False
        bucket.left -= 1
        return True

    def refused(self, name: str) -> int:
        """Return how often a name was refused since its bucket was last full."""
        return self._filled(name).refused

    def _filled(self, name: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.setdefault(name, _Bucket(self._burst, now))
        self._buckets.move_to_end(name)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._per_s)
        bucket.at = now
        if bucket.left >= self._burst:
            bucket.refused = 0
        while len(self._buckets) > MAX_NAMES:
            self._buckets.popitem(last=False)
        return bucket
