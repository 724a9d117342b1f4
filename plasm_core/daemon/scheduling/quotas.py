"""Quotas: processor time, upload bytes and running jobs that each client of the network may use.

The use of an hour's share is stored (`Quotas.changes` returns it) and restored at the next start.

Not thread-safe: used by the daemon's event loop only.
"""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from plasm_core.config import ClientLimits
from plasm_core.daemon.store import Use
from plasm_core.errors import RefusedError
from plasm_core.records import PeerId

_MAX_CLIENTS = 16_384
_HOUR_S = 3600.0


@attrs.define
class _Bucket:
    """The remainder of an hour's share at a moment. A negative value is a debt: costs are known only afterwards."""

    left: float
    at: float


class Buckets:
    """An amount for each client, which refills evenly within an hour. The least recently used are forgotten."""

    def __init__(self, resource: str, per_hour: float, clock: Callable[[], float]) -> None:
        self.resource = resource
        self.per_hour = per_hour
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._changed: set[str] = set()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str, amount: float) -> None:
        """Take an amount, even if it is not available; a negative amount is a refund."""
        if amount == 0:
            return
        left, now = self._left(name), self._clock()
        self._changed.add(name)
        if left - amount >= self.per_hour:
            self._buckets.pop(name, None)
            return
        self._put(name, _Bucket(left - amount, now))

    def wait_s(self, name: str) -> int:
        """Return the seconds until the client may take something: 0 if it may now."""
        left = self._left(name)
        if not self.per_hour or left > 0:
            return 0
        return math.ceil(-left / self.per_hour * _HOUR_S) + 1

    def changes(self) -> list[Use]:
        """Return the buckets that changed since the last call."""
        changed, self._changed = self._changed, set()
        now = self._clock()
        return [self._use(name, self._buckets.get(name), now) for name in changed]

    def restore(self, use: Use) -> None:
        """Restore a bucket that an earlier process saved, unless the client has one already."""
        if use.remaining is not None and use.name not in self._buckets:
            # The clock may be behind after a loss: it must not increase the debt.
            self._put(use.name, _Bucket(use.remaining, min(use.at_s, self._clock())))

    def remind(self, use: Use) -> None:
        """Return this bucket from `changes` again, because it could not be saved."""
        self._changed.add(use.name)

    def _use(self, name: str, bucket: _Bucket | None, now: float) -> Use:
        if bucket is None:
            return Use(name=name, resource=self.resource, remaining=None, at_s=now)
        return Use(name=name, resource=self.resource, remaining=bucket.left, at_s=bucket.at)

    def _put(self, name: str, bucket: _Bucket) -> None:
        self._buckets[name] = bucket
        self._buckets.move_to_end(name)
        while len(self._buckets) > _MAX_CLIENTS:
            forgotten, _ = self._buckets.popitem(last=False)
            self._changed.add(forgotten)

    def _left(self, name: str) -> float:
        bucket = self._buckets.get(name)
        if bucket is None:
            return self.per_hour
        grown = (self._clock() - bucket.at) / _HOUR_S * self.per_hour
        return min(self.per_hour, bucket.left + grown)


class Quotas:
    """The quotas of clients, counted by every name of a client: its PeerId, and the /24 or /48 of its address.

    A client without names, a user of this machine, has no quotas.
    """

    def __init__(self, limits: ClientLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._cpu_s = Buckets("cpu_s", limits.cpu_s_per_hour, clock)
        self._upload_bytes = Buckets("upload_bytes", limits.upload_bytes_per_hour, clock)
        self._buckets = {buckets.resource: buckets for buckets in (self._cpu_s, self._upload_bytes)}
        self._running: Counter[str] = Counter()
        self.reconfigure(limits)

    @property
    def limits(self) -> ClientLimits:
        """The quotas of each client. 0 means no limit."""
        return self._limits

    def reconfigure(self, limits: ClientLimits) -> None:
        """Change the quotas of each client."""
        self._limits = limits
        self._cpu_s.per_hour = limits.cpu_s_per_hour
        self._upload_bytes.per_hour = limits.upload_bytes_per_hour

    def check(self, names: Sequence[str], *, uploads: bool = True) -> None:
        """Refuse a client that has used up its quota. `uploads`: check the quota of uploaded bytes, too.

        Raises: `RefusedError` (`policy`), with the seconds until the client may come back.
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
        """Charge a client for use; a negative amount refunds it."""
        for name in names:
            if self._cpu_s.per_hour:
                self._cpu_s.take(name, cpu_s)
            if self._upload_bytes.per_hour:
                self._upload_bytes.take(name, upload_bytes)

    @property
    def per_hour(self) -> Mapping[str, float]:
        """The amount of each resource that refills within an hour."""
        return {name: buckets.per_hour for name, buckets in self._buckets.items()}

    def changes(self) -> list[Use]:
        """Return the uses that changed since the last call."""
        return [use for buckets in self._buckets.values() for use in buckets.changes()]

    def remind(self, uses: Iterable[Use]) -> None:
        """Return these uses from `changes` again, with their values at that time, because they could not be saved."""
        for use in uses:
            self._buckets[use.resource].remind(use)

    def restore(self, uses: Iterable[Use]) -> None:
        """Restore the uses that an earlier process returned as `changes`, the longest unchanged first."""
        for use in uses:
            self._buckets[use.resource].restore(use)

    def may_start(self, names: Sequence[str]) -> bool:
        """Return whether another of the client's jobs may run now."""
        return not self._limits.running or all(self._running[name] < self._limits.running for name in names)

    def started(self, names: Sequence[str]) -> None:
        """Count a running job of the client."""
        self._running.update(names)

    def ended(self, names: Sequence[str]) -> None:
        """Count one running job of the client less."""
        self._running.subtract(names)
        for name in names:
            if self._running[name] <= 0:
                del self._running[name]


def counted_names(peer: PeerId | None, group: str) -> tuple[str, ...]:
    """Return the names under which a client is counted: none for users of this machine."""
    return (f"peer {peer}", f"group {group}") if peer is not None else ()
