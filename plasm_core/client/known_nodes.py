"""What a client remembers of nodes, in memory and for minutes: records, failures, and its own jobs there.

docs/network.md, "For how long it remembers".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import trio

from plasm_core.records.capabilities import CapabilityRecord
from plasm_core.records.peer import PeerId

RECORD_S = 120.0
"""How long a capability record is used without asking again."""
KEPT_S = 600.0
"""How long a node that answered is known at all."""
HALF_LIFE_S = 300.0
LOST, LIED = 1.0, 8.0
"""What a failure counts: a node that was lost, and one whose receipt or claim does not hold."""
_OF_GROUP = 0.25
_FORGIVEN = 0.25
_MAX_NODES = 1024
_BUSY_S = 0.2
_MOST_CPU = 16


@attrs.frozen(kw_only=True)
class Candidate:
    """A node that answered: where, what it says of itself, and how long that took (seconds)."""

    peer: PeerId
    addresses: tuple[str, ...]
    record: CapabilityRecord
    latency_s: float
    group: str | None = None
    """Whom it is counted with: the /24 or /48 of the connection that it answered on, named as `Stream.remote_group`."""

    @property
    def cost(self) -> float:
        """What to choose by: the less the better. A place in the queue counts as much as 0.2 s on the way."""
        load = self.record.load
        busy = max(0, load.running - self.record.cpu + 1) + load.waiting
        return self.latency_s + _BUSY_S * busy


@attrs.define
class _Failures:
    """A sum of failures that halves every `HALF_LIFE_S`."""

    weight: float = 0.0
    at: float = 0.0

    def now(self, moment: float) -> float:
        decayed = self.weight * 0.5 ** ((moment - self.at) / HALF_LIFE_S)
        return decayed if decayed >= _FORGIVEN else 0.0

    def add(self, weight: float, moment: float) -> None:
        self.weight, self.at = min(1e6, self.now(moment) + weight), moment


@attrs.define
class _Known:
    candidate: Candidate
    heard_at: float
    jobs: int = 0


class KnownNodes:
    """The nodes that answered, and the failures of nodes and of their /24 or /48. Bounded in number.

    `clock` tells seconds; it must not go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._nodes: dict[PeerId, _Known] = {}
        self._groups: dict[PeerId, str] = {}
        self._failures: dict[PeerId | str, _Failures] = {}
        self.ever_found = False
        """Whether a node that may take jobs has ever answered."""

    def heard(self, candidate: Candidate) -> None:
        """Note that a node has told what it can."""
        jobs = known.jobs if (known := self._nodes.pop(candidate.peer, None)) else 0
        self._nodes[candidate.peer] = _Known(candidate, self._clock(), jobs)
        self._groups.pop(candidate.peer, None)
        if candidate.group is not None:
            self._groups[candidate.peer] = candidate.group
            for old in list(self._groups)[: -4 * _MAX_NODES]:
                del self._groups[old]
        self.ever_found = True
        for peer in [peer for peer in list(self._nodes)[:-_MAX_NODES] if not self._nodes[peer].jobs]:
            del self._nodes[peer]

    def answered_at(self, peer: PeerId) -> tuple[str, ...]:
        """Return the addresses that a node was reached at, none if it has not answered: others' word proves nothing."""
        known = self._nodes.get(peer)
        if known is None or known.heard_at <= self._clock() - KEPT_S:
            return ()
        return known.candidate.addresses

    def failed(self, peer: PeerId, weight: float = LOST) -> None:
        """Note a failure of a node. A node that could not be talked to is to be asked anew before a job goes there."""
        moment = self._clock()
        self._blame(peer, weight, moment)
        if (group := self._groups.get(peer)) is not None:
            self._blame(group, weight * _OF_GROUP, moment)

    def _blame(self, whom: PeerId | str, weight: float, moment: float) -> None:
        failures = self._failures.pop(whom, None) or _Failures()
        failures.add(weight, moment)
        self._failures[whom] = failures
        for old in list(self._failures)[: -4 * _MAX_NODES]:
            del self._failures[old]

    def forget_record(self, peer: PeerId) -> None:
        """Have a node asked again before it is chosen: what it said is out of date."""
        known = self._nodes.get(peer)
        if known is not None:
            known.heard_at = min(known.heard_at, self._clock() - RECORD_S)

    def failures(self, peer: PeerId) -> float:
        """Return how much a node has failed of late, 0 if nothing counts any more."""
        moment, group = self._clock(), self._groups.get(peer)
        own = self._failures.get(peer)
        shared = self._failures.get(group) if group is not None else None
        return (own.now(moment) if own else 0.0) + (shared.now(moment) if shared else 0.0)

    def own_failures(self, peer: PeerId) -> float:
        """Return how much a node itself has failed of late."""
        own = self._failures.get(peer)
        return own.now(self._clock()) if own else 0.0

    def fresh(self) -> list[Candidate]:
        """Return the nodes whose records are used without asking again."""
        since = self._clock() - RECORD_S
        return [known.candidate for known in self._nodes.values() if known.heard_at > since]

    def stale(self) -> list[Candidate]:
        """Return the nodes that are known and must be asked again."""
        now = self._clock()
        return [
            known.candidate
            for known in self._nodes.values()
            if now - KEPT_S < known.heard_at <= now - RECORD_S
        ]

    def rank(self, candidate: Candidate) -> tuple[float, float]:
        """Return what to sort by: failures, then the cost, in which this client's own jobs there count."""
        known = self._nodes.get(candidate.peer)
        return self.failures(candidate.peer), candidate.cost + _BUSY_S * self.excess(candidate) + (
            1e-3 * known.jobs if known else 0.0
        )

    def excess(self, candidate: Candidate) -> int:
        """Return how many of this client's jobs more than it has processors are at a node already."""
        known = self._nodes.get(candidate.peer)
        # Of a claim of a thousand processors no more is believed than spreads a client's jobs.
        return max(0, known.jobs - min(candidate.record.cpu, _MOST_CPU) + 1) if known else 0

    @contextmanager
    def job_at(self, peer: PeerId) -> Iterator[None]:
        """Count a job of this client at a node until the context ends."""
        known = self._nodes.get(peer)
        if known is not None:
            known.jobs += 1
        try:
            yield
        finally:
            known = self._nodes.get(peer)
            if known is not None:
                known.jobs = max(0, known.jobs - 1)


class OneAtATime:
    """Lets callers that come while something is being done wait for it, and not do it again."""

    def __init__(self) -> None:
        self._running: trio.Event | None = None

    @contextmanager
    def lead(self) -> Iterator[bool]:
        """Yield whether the caller is the one who is to do it; if not, it calls `follow`."""
        if self._running is not None:
            yield False
            return
        event = self._running = trio.Event()
        try:
            yield True
        finally:
            self._running = None
            event.set()

    async def follow(self) -> None:
        """Wait until it is done by the one who does it, or that one has given up."""
        if self._running is not None:
            await self._running.wait()
