"""A search for the providers of a capability class, in which no reporting server and no network dominates.

A server may report nodes that do not exist, or false addresses. So the addresses of a node are merged from the reports
of several servers, and the results of a search are shared out among the reporting servers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from functools import partial

import attrs
import trio
from multiaddr import Multiaddr

from plasm_core.randomness import RANDOM
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.addresses import is_relayed
from plasm_transport_libp2p.kad.contact import SHARDS, Contact, capability_key, merge_addresses
from plasm_transport_libp2p.kad.node import KademliaNode

MAX_PER_GROUP = 2
"""Results of one /24 or /48, their own or their relay's; twice as many if more servers report the others."""
MAX_BEHIND_GROUP = 16
"""Results whose relay is in one /24 or /48; all but the first two only when there are no others.

A relay's address says nothing of where they are, so that they may well be independent. But the
operator of a relay can make up any number of them, and these must not displace others.
"""
MAX_EARLY_PER_TELLER = 4
"""Results from one server's reports before all shards were asked. The rest is then shared out in turn."""
MAX_PER_TELLER = 256
SETTLE_S = 1.0
"""How long to wait for a second server to report a node: the first may report a false address."""
MAX_ADDRESSES = 16
_SHARDS_AT_ONCE = 4
_TIMES_TOLD = 4
"""How often one node is yielded: again when other addresses of it are reported."""


@attrs.define
class _FoundNode:
    """A reported node. `claims`: its addresses by reporting server."""

    peer: PeerId
    claims: dict[str, tuple[Multiaddr, ...]] = attrs.field(factory=dict)
    shards: set[int] = attrs.field(factory=set)
    is_ripe: bool = False
    told: set[Multiaddr] = attrs.field(factory=set)
    times_told: int = 0

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """The merged addresses of all reports."""
        return merge_addresses(self.claims.values(), MAX_ADDRESSES)

    @property
    def support(self) -> tuple[int, int]:
        """How many servers report it, and in how many shards."""
        return len(self.claims), len(self.shards)


class ProviderSearch(AsyncIterator[tuple[PeerId, tuple[str, ...]]]):
    """Queries the shards of a node class in random order. Iterating yields nodes as they are found.

    A node is yielded again, with all its addresses, when more of them become known.
    """

    def __init__(self, own: PeerId, node: KademliaNode, limit: int) -> None:
        self._own = own
        self._node = node
        self._limit = limit
        self._heard: dict[PeerId, _FoundNode] = {}
        self._told: list[_FoundNode] = []
        self._groups: Counter[str] = Counter()
        self._tellers: Counter[str] = Counter()
        self._named: Counter[str] = Counter()
        self._news = trio.Event()
        self._send, self._receive = trio.open_memory_channel[Contact](_TIMES_TOLD * max(limit, 1))
        self._scope = trio.CancelScope()

    async def run(self, node_class: str) -> None:
        """Query the shards, four at a time, until `limit` nodes were found."""
        limiter = trio.CapacityLimiter(_SHARDS_AT_ONCE)

        async def ask(shard: int) -> None:
            async with limiter:
                key = capability_key(node_class, shard)
                await self._node.find_providers(key, partial(self._found, shard))

        with self._send, self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._settle)
                async with trio.open_nursery() as shards:
                    for shard in RANDOM.sample(range(SHARDS), SHARDS):
                        shards.start_soon(ask, shard)
                nursery.cancel_scope.cancel()
            self._share_out()

    async def _settle(self) -> None:
        """Yield nodes that only one server has reported after a second."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            waiting = [heard for heard in self._heard.values() if not heard.is_ripe]
            await trio.sleep(SETTLE_S)
            for heard in waiting:
                heard.is_ripe = True
                self._tell_early(heard)

    def _found(self, shard: int, contact: Contact) -> None:
        addresses = tuple(self._node.usable(contact.addresses))
        reported_by = contact.reported_by or f"shard {shard}"
        if contact.peer == self._own or not addresses:
            return
        heard = self._heard.get(contact.peer)
        if heard is None or reported_by not in heard.claims:
            if self._named[reported_by] >= MAX_PER_TELLER:
                return
            self._named[reported_by] += 1
        if heard is None:
            heard = self._heard[contact.peer] = _FoundNode(contact.peer)
            self._news.set()
        heard.claims.setdefault(reported_by, addresses)
        heard.shards.add(shard)
        if heard.times_told:
            if heard.times_told < _TIMES_TOLD and not heard.told.issuperset(heard.addresses):
                self._send_on(heard)
        elif len(heard.claims) > 1 or heard.is_ripe:
            self._tell_early(heard)

    def _tell_early(self, heard: _FoundNode) -> None:
        """Yield a node now if its servers and its network have quota left, and room is left for others."""
        reported_by = min(heard.claims, key=lambda name: self._tellers[name])
        enough = self._limit - self._limit // 4
        if (
            not heard.times_told
            and len(self._told) < enough
            and self._tellers[reported_by] < MAX_EARLY_PER_TELLER
            and self._full_group(heard) is None
        ):
            self._tellers[reported_by] += 1
            self._tell(heard)

    def _groups_of(self, heard: _FoundNode) -> set[str]:
        """Return the /24s or /48s of all its addresses: the first may be made up, to be counted elsewhere."""
        groups = (self._node.group_of([address]) for address in heard.addresses)
        return {group for group in groups if group is not None}

    def _full_group(self, heard: _FoundNode) -> str | None:
        """Return a network of the node whose quota is used up, None if there is none."""
        return next((group for group in self._groups_of(heard) if self._groups[group] >= MAX_PER_GROUP), None)

    def _tell(self, heard: _FoundNode) -> None:
        if len(self._told) < self._limit and not heard.times_told:
            self._groups.update(self._groups_of(heard))
            self._told.append(heard)
            self._send_on(heard)
        if len(self._told) >= self._limit:
            self._scope.cancel()

    def _send_on(self, heard: _FoundNode) -> None:
        heard.times_told += 1
        heard.told.update(heard.addresses)
        self._send.send_nowait(Contact(heard.peer, heard.addresses))

    def _share_out(self) -> None:
        """Yield the nodes held back: for each server in turn, the node that most other servers also report."""
        waiting: dict[str, list[_FoundNode]] = {}
        for heard in self._heard.values():
            for reported_by in heard.claims if not heard.times_told else ():
                waiting.setdefault(reported_by, []).append(heard)
        aside: dict[str, list[_FoundNode]] = {}
        for heard in _in_turn(waiting, self._tellers):
            group = self._full_group(heard)
            if group is None:
                self._tell(heard)
            elif not heard.times_told and heard not in aside.setdefault(group, []):
                aside[group].append(heard)
        self._tell_aside(aside)

    def _tell_aside(self, aside: dict[str, list[_FoundNode]]) -> None:
        """Yield some nodes of networks whose quota is used up: those with more reports, and those behind a relay."""
        turns: list[list[_FoundNode]] = []
        for group, several in aside.items():
            taken = [heard for heard in self._told if group in self._groups_of(heard)]
            least = min((heard.support for heard in taken), default=(0, 0))
            better = [heard for heard in several if heard.support > least][:MAX_PER_GROUP]
            relayed = [
                heard for heard in several if all(map(is_relayed, heard.addresses)) and heard not in better
            ]
            turns.append([*better, *relayed][: MAX_BEHIND_GROUP - MAX_PER_GROUP])
        while any(turns):
            for several in turns:
                if several:
                    self._tell(several.pop(0))

    def __aiter__(self) -> ProviderSearch:
        return self

    async def __anext__(self) -> tuple[PeerId, tuple[str, ...]]:
        try:
            contact = await self._receive.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        return contact.peer, contact.named


def _in_turn(waiting: dict[str, list[_FoundNode]], had: Counter[str]) -> Iterable[_FoundNode]:
    """Yield one node of each server in turn, the server with the fewest results first. A node may come repeatedly."""
    for several in waiting.values():
        several.sort(key=lambda heard: heard.support)
    order = sorted(waiting, key=lambda name: had[name])
    while order:
        for name in order:
            yield waiting[name].pop()
        order = [name for name in order if waiting[name]]
