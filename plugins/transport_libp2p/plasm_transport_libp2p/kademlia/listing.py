"""Where one peer says that it is, under a class of its own."""

from __future__ import annotations

import random

import trio
from multiaddr import Multiaddr

from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.kademlia.contact import SHARDS, Contact, capability_key, merged
from plasm_transport_libp2p.kademlia.node import Node

_SHARDS_AT_ONCE = 4
_SETTLE_S = 0.5
"""How long to listen to more servers once two have said something."""
_LONGEST_S = 2.0
"""How long, if only one has."""
_MAX_TELLERS = 64
_MAX_ADDRESSES = 16


async def listed(node: Node, peer: PeerId, capability: str) -> list[Multiaddr]:
    """Return the addresses, first what most servers say: some may not have heard that the peer has moved.

    No server's are left out because another named many.
    """
    claims: dict[str, tuple[Multiaddr, ...]] = {}
    heard, confirmed = trio.Event(), trio.Event()
    limiter = trio.CapacityLimiter(_SHARDS_AT_ONCE)

    def take(contact: Contact) -> None:
        usable = node.usable(contact.addresses)
        if contact.peer == peer and usable and len(claims) < _MAX_TELLERS:
            claims[contact.teller or f"answer {len(claims)}"] = usable
            heard.set()
            if len(claims) > 1:
                confirmed.set()

    async def ask(shard: int) -> None:
        async with limiter:
            await node.find_providers(capability_key(capability, shard), take)

    async with trio.open_nursery() as nursery:

        async def settle() -> None:
            await heard.wait()
            with trio.move_on_after(_LONGEST_S):
                await confirmed.wait()
                await trio.sleep(_SETTLE_S)
            nursery.cancel_scope.cancel()

        nursery.start_soon(settle)
        async with trio.open_nursery() as shards:
            for shard in random.sample(range(SHARDS), SHARDS):
                shards.start_soon(ask, shard)
        nursery.cancel_scope.cancel()
    return list(merged(claims.values(), _MAX_ADDRESSES))
