"""One search for those that list themselves under a class, of whom no network may have too large a part."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator

import trio

from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.addresses import is_relayed
from plasm_transport_libp2p.kademlia.contact import SHARDS, Contact, capability_key
from plasm_transport_libp2p.kademlia.node import Node

MAX_PER_GROUP = 2
"""Of one /24 or /48, be it their own or their relay's."""
MAX_BEHIND_GROUP = 16
"""Of those whose relay is in one /24 or /48, all but the first two when there is nobody else.

A relay's address says nothing of where they are, so that they may well be independent. But whoever has a relay can
make up as many as he likes, and these must not displace others.
"""
_SHARDS_AT_ONCE = 4


class Search(AsyncIterator[tuple[PeerId, tuple[str, ...]]]):
    """Goes through the shards of a class in random order. Iterating yields what is found, as it is."""

    def __init__(self, own: PeerId, node: Node, limit: int) -> None:
        self._own = own
        self._node = node
        self._limit = limit
        self._told: set[PeerId] = set()
        self._groups: Counter[str] = Counter()
        self._aside: dict[str, dict[PeerId, Contact]] = {}
        self._send, self._receive = trio.open_memory_channel[Contact](max(limit, 1))
        self._scope = trio.CancelScope()

    async def run(self, capability: str) -> None:
        """Ask shard by shard until enough were found."""
        limiter = trio.CapacityLimiter(_SHARDS_AT_ONCE)

        async def ask(shard: int) -> None:
            async with limiter:
                await self._node.find_providers(capability_key(capability, shard), self._found)

        with self._send, self._scope:
            async with trio.open_nursery() as nursery:
                for shard in random.sample(range(SHARDS), SHARDS):
                    nursery.start_soon(ask, shard)
            self._tell_others()

    def _found(self, contact: Contact) -> None:
        contact = Contact(contact.peer, self._node.usable(contact.addresses))
        if contact.peer in self._told or contact.peer == self._own or not contact.addresses:
            return
        group = self._node.group_of(contact.addresses)
        if group is None:
            self._tell(contact)
        elif self._groups[group] < MAX_PER_GROUP:
            self._groups[group] += 1
            self._tell(contact)
        elif all(map(is_relayed, contact.addresses)):
            aside = self._aside.setdefault(group, {})
            if len(aside) < MAX_BEHIND_GROUP - MAX_PER_GROUP:
                aside[contact.peer] = contact

    def _tell(self, contact: Contact) -> None:
        if len(self._told) < self._limit:
            self._told.add(contact.peer)
            self._send.send_nowait(contact)
        if len(self._told) >= self._limit:
            self._scope.cancel()

    def _tell_others(self) -> None:
        """Tell those that were set aside, one of each group in turn."""
        waiting = [list(aside.values()) for aside in self._aside.values()]
        while waiting:
            for contacts in waiting:
                self._tell(contacts.pop())
            waiting = [contacts for contacts in waiting if contacts]

    def __aiter__(self) -> Search:
        return self

    async def __anext__(self) -> tuple[PeerId, tuple[str, ...]]:
        try:
            contact = await self._receive.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        return contact.peer, contact.named
