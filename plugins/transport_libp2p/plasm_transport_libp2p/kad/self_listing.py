"""The addresses that a peer lists itself with, under the class of its peer id."""

from __future__ import annotations

import trio
from multiaddr import Multiaddr

from plasm_core.randomness import RANDOM
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.kad.contact import SHARDS, Contact, capability_key, merge_addresses
from plasm_transport_libp2p.kad.node import KademliaNode

_SHARDS_AT_ONCE = 4
_SETTLE_S = 0.5
"""How long to wait for more servers once two have answered."""
_LONGEST_S = 2.0
"""How long, if only one has answered."""
_MAX_TELLERS = 64
_MAX_ADDRESSES = 16


async def self_listed_addresses(node: KademliaNode, peer: PeerId, node_class: str) -> list[Multiaddr]:
    """Return the addresses, the most reported first: some servers may not know that the peer has moved.

    A server that reports many addresses does not push out another's.
    """
    claims: dict[str, tuple[Multiaddr, ...]] = {}
    heard, confirmed = trio.Event(), trio.Event()
    limiter = trio.CapacityLimiter(_SHARDS_AT_ONCE)

    def take(contact: Contact) -> None:
        usable = node.usable(contact.addresses)
        if contact.peer == peer and usable and len(claims) < _MAX_TELLERS:
            claims[contact.reported_by or f"answer {len(claims)}"] = usable
            heard.set()
            if len(claims) > 1:
                confirmed.set()

    async def ask(shard: int) -> None:
        async with limiter:
            await node.find_providers(capability_key(node_class, shard), take)

    async with trio.open_nursery() as nursery:

        async def settle() -> None:
            await heard.wait()
            with trio.move_on_after(_LONGEST_S):
                await confirmed.wait()
                await trio.sleep(_SETTLE_S)
            nursery.cancel_scope.cancel()

        nursery.start_soon(settle)
        async with trio.open_nursery() as shards:
            for shard in RANDOM.sample(range(SHARDS), SHARDS):
                shards.start_soon(ask, shard)
        nursery.cancel_scope.cancel()
    return list(merge_addresses(claims.values(), _MAX_ADDRESSES))
