"""Contacts, and the key space: distance is the XOR of SHA-256 digests (libp2p specification, "kad-dht")."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, zip_longest

import attrs
from multiaddr import Multiaddr

from plasm_core.records.peer import PeerId

SHARDS = 16


@lru_cache(maxsize=16_384)
def kad_id(key: bytes) -> int:
    """Return the SHA-256 digest of a key, or of a peer's multihash, as a number: its position in the key space."""
    return int.from_bytes(hashlib.sha256(key).digest(), "big")


def capability_key(node_class: str, shard: int) -> bytes:
    """Return the key of one shard of a node class: a SHA-256 multihash."""
    text = f"phase/cap/v1/{node_class}/{shard}"
    return b"\x12\x20" + hashlib.sha256(text.encode()).digest()


@attrs.frozen
class Contact:
    """A peer and its reported addresses. `reported_by`: the address group of the reporting peer, None if it is our own."""

    peer: PeerId
    addresses: tuple[Multiaddr, ...] = ()
    reported_by: str | None = attrs.field(default=None, eq=False, kw_only=True)

    @property
    def place(self) -> int:
        """The position of the peer in the key space."""
        return kad_id(self.peer.multihash)

    @property
    def named(self) -> tuple[str, ...]:
        """Its addresses as text, each with `/p2p/` and the peer id."""
        return tuple(f"{address}/p2p/{self.peer}" for address in self.addresses)

    def distance(self, place: int) -> int:
        """Return the XOR distance to a position in the key space."""
        return self.place ^ place


def merge_addresses(claims: Iterable[Sequence[Multiaddr]], most: int) -> tuple[Multiaddr, ...]:
    """Return at most `most` of the addresses that several peers report of one peer.

    The first half are those with the most reports. The second half takes one of each reporting peer in turn, so that
    a peer that reports many addresses, or several that report the same, cannot push out another's.
    """
    told = [tuple(dict.fromkeys(claim)) for claim in claims]
    support = Counter(chain.from_iterable(told))
    in_turn = [item for item in dict.fromkeys(chain.from_iterable(zip_longest(*told))) if item is not None]
    agreed = sorted(in_turn, key=lambda address: -support[address])[: (most + 1) // 2]
    return tuple(dict.fromkeys([*agreed, *in_turn]))[:most]
