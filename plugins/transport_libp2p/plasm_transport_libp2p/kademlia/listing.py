"""Where one peer says that it is, under a class of its own."""

from __future__ import annotations

import random
from collections import Counter

import trio
from multiaddr import Multiaddr

from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.kademlia.contact import SHARDS, Contact, capability_key
from plasm_transport_libp2p.kademlia.node import Node

_SHARDS_AT_ONCE = 4
_SETTLE_S = 0.5
"""How long to listen to more servers once one has said something."""


async def listed(node: Node, peer: PeerId, capability: str) -> list[Multiaddr]:
    """Return the addresses, first what most servers say: some may not have heard that the peer has moved."""
    named: Counter[Multiaddr] = Counter()
    heard, limiter = trio.Event(), trio.CapacityLimiter(_SHARDS_AT_ONCE)

    def take(contact: Contact) -> None:
        if contact.peer == peer:
            named.update(node.usable(contact.addresses))
            heard.set()

    async def ask(shard: int) -> None:
        async with limiter:
            await node.find_providers(capability_key(capability, shard), take)

    async with trio.open_nursery() as nursery:

        async def settle() -> None:
            await heard.wait()
            await trio.sleep(_SETTLE_S)
            nursery.cancel_scope.cancel()

        nursery.start_soon(settle)
        async with trio.open_nursery() as shards:
            for shard in random.sample(range(SHARDS), SHARDS):
                shards.start_soon(ask, shard)
        nursery.cancel_scope.cancel()
    return [address for address, _ in named.most_common()]
