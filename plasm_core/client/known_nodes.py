"""Known nodes, in memory for minutes: their capability records, their failures, and this client's jobs there.

docs/network.md, "For how long it remembers".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import trio

from plasm_core.records.capabilities import CapabilityRecord
from plasm_core.records.history import NodeHistory
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
    """A node that answered: its addresses, its capability record, and its latency in seconds."""

    peer: PeerId
    addresses: tuple[str, ...]
    record: CapabilityRecord
    latency_s: float
    group: str | None = None
    """Whom it is counted with: the /24 or /48 of the connection that it answered on, named as `Stream.remote_group`."""
    history: NodeHistory | None = None
    """What this client has learnt of it, if that was asked for."""

    @property
    def cost(self) -> float:
        """The cost of choosing this node: smaller is better. One place in its queue counts as 0.2 s of latency."""
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
    done: int = 0
    """Jobs that it did since it last failed one."""


class KnownNodes:
    """The nodes that answered, and the failures of nodes and of their /24 or /48. Bounded in number.

    `clock` returns seconds and never goes back.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        doubt_s: Callable[[PeerId], float] = lambda _peer: 0.0,
    ) -> None:
        """`doubt_s`: how many seconds of latency weigh as much as the doubt in a node."""
        self._clock = clock
        self._doubt_s = doubt_s
        self._nodes: dict[PeerId, _Known] = {}
        self._groups: dict[PeerId, str] = {}
        self._failures: dict[PeerId | str, _Failures] = {}
        self.ever_found = False
        """Whether a node that may take jobs has ever answered."""
        self.one_failed = trio.Event()
        """Set when a node fails. The task that waits for the next failure replaces it."""

    def heard(self, candidate: Candidate, *, usable: bool = True) -> None:
        """Store the capability record that a node sent. `usable`: it may take jobs of this client."""
        known = self._nodes.pop(candidate.peer, None)
        self._nodes[candidate.peer] = _Known(
            candidate, self._clock(), known.jobs if known else 0, known.done if known else 0
        )
        self._groups.pop(candidate.peer, None)
        if candidate.group is not None:
            self._groups[candidate.peer] = candidate.group
            for old in list(self._groups)[: -4 * _MAX_NODES]:
                del self._groups[old]
        self.ever_found |= usable
        for peer in [peer for peer in list(self._nodes)[:-_MAX_NODES] if not self._nodes[peer].jobs]:
            del self._nodes[peer]

    def answered_at(self, peer: PeerId) -> tuple[str, ...]:
        """Return the addresses at which a node answered; none if it has not.

        Addresses reported by others are not included.
        """
        known = self._nodes.get(peer)
        if known is None or known.heard_at <= self._clock() - KEPT_S:
            return ()
        return known.candidate.addresses

    def failed(self, peer: PeerId, weight: float = LOST) -> None:
        """Record a failure of a node. A node that could not be reached is queried again before a job goes there."""
        moment = self._clock()
        if (known := self._nodes.get(peer)) is not None:
            known.done = 0
        self._blame(peer, weight, moment)
        if (group := self._groups.get(peer)) is not None:
            self._blame(group, weight * _OF_GROUP, moment)
        self.one_failed.set()

    def succeeded(self, peer: PeerId) -> None:
        """Note that a node did a job: its receipt was verified."""
        if (known := self._nodes.get(peer)) is not None:
            known.done += 1

    def has_done_jobs(self, peer: PeerId) -> bool:
        """Return whether a node has done a job of this client since it last failed one."""
        known = self._nodes.get(peer)
        return known is not None and known.done > 0

    def _blame(self, whom: PeerId | str, weight: float, moment: float) -> None:
        failures = self._failures.pop(whom, None) or _Failures()
        failures.add(weight, moment)
        self._failures[whom] = failures
        for old in list(self._failures)[: -4 * _MAX_NODES]:
            del self._failures[old]

    def forget_record(self, peer: PeerId) -> None:
        """Drop a node's capability record, so that the node is queried again before it is chosen."""
        known = self._nodes.get(peer)
        if known is not None:
            known.heard_at = min(known.heard_at, self._clock() - RECORD_S)

    def failures(self, peer: PeerId) -> float:
        """Return the weight of the recent failures of a node and of its /24 or /48, 0 if there are none."""
        moment, group = self._clock(), self._groups.get(peer)
        own = self._failures.get(peer)
        shared = self._failures.get(group) if group is not None else None
        return (own.now(moment) if own else 0.0) + (shared.now(moment) if shared else 0.0)

    def own_failures(self, peer: PeerId) -> float:
        """Return the weight of a node's own recent failures, which halves every 5 minutes."""
        own = self._failures.get(peer)
        return own.now(self._clock()) if own else 0.0

    def fresh(self) -> list[Candidate]:
        """Return the nodes whose records are recent enough to use."""
        since = self._clock() - RECORD_S
        return [known.candidate for known in self._nodes.values() if known.heard_at > since]

    def stale(self) -> list[Candidate]:
        """Return the known nodes whose records are too old to use."""
        now = self._clock()
        return [
            known.candidate
            for known in self._nodes.values()
            if now - KEPT_S < known.heard_at <= now - RECORD_S
        ]

    def rank(self, candidate: Candidate) -> tuple[float, float]:
        """Return the sort key: failures, then the cost, including the doubt and this client's own jobs at the node."""
        known = self._nodes.get(candidate.peer)
        cost = candidate.cost + self._doubt_s(candidate.peer) + _BUSY_S * self.excess(candidate)
        return self.failures(candidate.peer), cost + (1e-3 * known.jobs if known else 0.0)

    def excess(self, candidate: Candidate) -> int:
        """Return by how many this client's jobs at a node, with one more, exceed the node's number of processors.

        A node is taken to have one processor more than the jobs that it has done, at most: otherwise the nearest of
        many strangers would get all jobs of a client at once, and keep them all waiting if it lied.
        """
        known = self._nodes.get(candidate.peer)
        return max(0, known.jobs - min(candidate.record.cpu, _MOST_CPU, known.done + 1) + 1) if known else 0

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
    """Lets concurrent callers share one execution of some work: the first does it, the others wait for its result."""

    def __init__(self) -> None:
        self._running: trio.Event | None = None

    @contextmanager
    def lead(self) -> Iterator[bool]:
        """Yield True to the caller that has to do the work, False to one that has to call `follow`."""
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
        """Wait until the leading caller has done the work or has given up."""
        if self._running is not None:
            await self._running.wait()
