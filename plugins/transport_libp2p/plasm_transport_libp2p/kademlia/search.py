"""One search for those that list themselves under a class. No teller and no network has too large a part in it.

Whatever a server says may be a lie: that a node is there, and where. So the addresses of a node are the union of
what several servers tell, and the places of a search are shared out among those that tell.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from functools import partial

import attrs
import trio
from multiaddr import Multiaddr

from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.addresses import is_relayed
from plasm_transport_libp2p.kademlia.contact import SHARDS, Contact, capability_key, merged
from plasm_transport_libp2p.kademlia.node import Node

MAX_PER_GROUP = 2
"""Of one /24 or /48, be it their own or their relay's; twice as many if more servers name the others."""
MAX_BEHIND_GROUP = 16
"""Of those whose relay is in one /24 or /48, all but the first two when there is nobody else.

A relay's address says nothing of where they are, so that they may well be independent. But whoever has a relay can
make up as many as he likes, and these must not displace others.
"""
MAX_EARLY_PER_TELLER = 4
"""What one server makes known before all have been heard. The rest of the places are then shared out in turn."""
MAX_PER_TELLER = 256
SETTLE_S = 1.0
"""How long to wait for a second server that names a node, for its address may be told falsely by the first."""
MAX_ADDRESSES = 16
_SHARDS_AT_ONCE = 4
_TIMES_TOLD = 4
"""How often a node is told: again when somebody names it at other addresses."""


@attrs.define
class _Heard:
    """A node that somebody named: what each teller claims of its addresses."""

    peer: PeerId
    claims: dict[str, tuple[Multiaddr, ...]] = attrs.field(factory=dict)
    shards: set[int] = attrs.field(factory=set)
    is_ripe: bool = False
    told: set[Multiaddr] = attrs.field(factory=set)
    times_told: int = 0

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """The first that each teller claims, then the second of each."""
        return merged(self.claims.values(), MAX_ADDRESSES)

    @property
    def support(self) -> tuple[int, int]:
        """How many name it, and under how many keys."""
        return len(self.claims), len(self.shards)


class Search(AsyncIterator[tuple[PeerId, tuple[str, ...]]]):
    """Goes through the shards of a class in random order. Iterating yields what is found, as it is.

    A node comes again, with all its addresses, when more of them become known.
    """

    def __init__(self, own: PeerId, node: Node, limit: int) -> None:
        self._own = own
        self._node = node
        self._limit = limit
        self._heard: dict[PeerId, _Heard] = {}
        self._told: list[_Heard] = []
        self._groups: Counter[str] = Counter()
        self._tellers: Counter[str] = Counter()
        self._named: Counter[str] = Counter()
        self._news = trio.Event()
        self._send, self._receive = trio.open_memory_channel[Contact](_TIMES_TOLD * max(limit, 1))
        self._scope = trio.CancelScope()

    async def run(self, capability: str) -> None:
        """Ask shard by shard until enough were found."""
        limiter = trio.CapacityLimiter(_SHARDS_AT_ONCE)

        async def ask(shard: int) -> None:
            async with limiter:
                key = capability_key(capability, shard)
                await self._node.find_providers(key, partial(self._found, shard))

        with self._send, self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._settle)
                async with trio.open_nursery() as shards:
                    for shard in random.sample(range(SHARDS), SHARDS):
                        shards.start_soon(ask, shard)
                nursery.cancel_scope.cancel()
            self._share_out()

    async def _settle(self) -> None:
        """Let those be told that were heard of a while ago, though one server only named them."""
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
        teller = contact.teller or f"shard {shard}"
        if contact.peer == self._own or not addresses:
            return
        heard = self._heard.get(contact.peer)
        if heard is None or teller not in heard.claims:
            if self._named[teller] >= MAX_PER_TELLER:
                return
            self._named[teller] += 1
        if heard is None:
            heard = self._heard[contact.peer] = _Heard(contact.peer)
            self._news.set()
        heard.claims.setdefault(teller, addresses)
        heard.shards.add(shard)
        if heard.times_told:
            if heard.times_told < _TIMES_TOLD and not heard.told.issuperset(heard.addresses):
                self._send_on(heard)
        elif len(heard.claims) > 1 or heard.is_ripe:
            self._tell_early(heard)

    def _tell_early(self, heard: _Heard) -> None:
        """Tell a node at once, if its tellers and its group have not had their part and places are left for others."""
        teller = min(heard.claims, key=lambda name: self._tellers[name])
        enough = self._limit - self._limit // 4
        if (
            not heard.times_told
            and len(self._told) < enough
            and self._tellers[teller] < MAX_EARLY_PER_TELLER
            and self._full_group(heard) is None
        ):
            self._tellers[teller] += 1
            self._tell(heard)

    def _groups_of(self, heard: _Heard) -> set[str]:
        """Return the groups of all its addresses: the first may be made up, to be counted elsewhere."""
        groups = (self._node.group_of([address]) for address in heard.addresses)
        return {group for group in groups if group is not None}

    def _full_group(self, heard: _Heard) -> str | None:
        """Return a group of a node that has had its part, None if there is none."""
        return next((group for group in self._groups_of(heard) if self._groups[group] >= MAX_PER_GROUP), None)

    def _tell(self, heard: _Heard) -> None:
        if len(self._told) < self._limit and not heard.times_told:
            self._groups.update(self._groups_of(heard))
            self._told.append(heard)
            self._send_on(heard)
        if len(self._told) >= self._limit:
            self._scope.cancel()

    def _send_on(self, heard: _Heard) -> None:
        heard.times_told += 1
        heard.told.update(heard.addresses)
        self._send.send_nowait(Contact(heard.peer, heard.addresses))

    def _share_out(self) -> None:
        """Tell those that were held back: of each teller in turn the one that most others name too."""
        waiting: dict[str, list[_Heard]] = {}
        for heard in self._heard.values():
            for teller in heard.claims if not heard.times_told else ():
                waiting.setdefault(teller, []).append(heard)
        aside: dict[str, list[_Heard]] = {}
        for heard in _in_turn(waiting, self._tellers):
            group = self._full_group(heard)
            if group is None:
                self._tell(heard)
            elif not heard.times_told and heard not in aside.setdefault(group, []):
                aside[group].append(heard)
        self._tell_aside(aside)

    def _tell_aside(self, aside: dict[str, list[_Heard]]) -> None:
        """Tell some of the groups that had their part: who is named by more, and who is behind a relay."""
        turns: list[list[_Heard]] = []
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

    def __aiter__(self) -> Search:
        return self

    async def __anext__(self) -> tuple[PeerId, tuple[str, ...]]:
        try:
            contact = await self._receive.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        return contact.peer, contact.named


def _in_turn(waiting: dict[str, list[_Heard]], had: Counter[str]) -> Iterable[_Heard]:
    """Yield one of each teller in turn, who had least first. The same node may come several times."""
    for several in waiting.values():
        several.sort(key=lambda heard: heard.support)
    order = sorted(waiting, key=lambda name: had[name])
    while order:
        for name in order:
            yield waiting[name].pop()
        order = [name for name in order if waiting[name]]
