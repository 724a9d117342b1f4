"""Where keys and peers lie: distances are those of SHA-256 digests (libp2p specification, "kad-dht")."""

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
def place_of(key: bytes) -> int:
    """Return the place of a key, or of a peer's multihash, in the space of keys."""
    return int.from_bytes(hashlib.sha256(key).digest(), "big")


def capability_key(capability: str, shard: int) -> bytes:
    """Return the key of one shard of a capability class: a SHA-256 multihash."""
    text = f"phase/cap/v1/{capability}/{shard}"
    return b"\x12\x20" + hashlib.sha256(text.encode()).digest()


@attrs.frozen
class Contact:
    """A peer and where it is said to be. `teller` names the group of the peer that said so, None if nobody did."""

    peer: PeerId
    addresses: tuple[Multiaddr, ...] = ()
    teller: str | None = attrs.field(default=None, eq=False, kw_only=True)

    @property
    def place(self) -> int:
        """Where the peer lies in the space of keys."""
        return place_of(self.peer.multihash)

    @property
    def named(self) -> tuple[str, ...]:
        """Its addresses as text, each with its name."""
        return tuple(f"{address}/p2p/{self.peer}" for address in self.addresses)

    def distance(self, place: int) -> int:
        """Return how far it is from a place."""
        return self.place ^ place


def merged(claims: Iterable[Sequence[Multiaddr]], most: int) -> tuple[Multiaddr, ...]:
    """Return the addresses that several have told of one peer, those that most tell first.

    They fill half of the places. In the other half each teller has its turn, so that none of them is left out because
    others told many, or told the same.
    """
    told = [tuple(dict.fromkeys(claim)) for claim in claims]
    support = Counter(chain.from_iterable(told))
    in_turn = [item for item in dict.fromkeys(chain.from_iterable(zip_longest(*told))) if item is not None]
    agreed = sorted(in_turn, key=lambda address: -support[address])[: (most + 1) // 2]
    return tuple(dict.fromkeys([*agreed, *in_turn]))[:most]
