"""The routing table: some neighbours at every distance, those of long standing first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import attrs

from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.kademlia.contact import Contact, place_of

BUCKET = 20
"""How many contacts are kept at each distance, and asked in the end by a lookup."""
MAX_PER_GROUP_AND_BUCKET = 2
MAX_PER_GROUP = 8
MAX_CLOSEST_PER_GROUP = 2
"""Of those that are told to others, or that a lookup begins at."""
_REFRESHED = 16  # distances; at smaller ones there is hardly anyone, even among a million


@attrs.define
class _Entry:
    contact: Contact
    group: str | None
    seen_at: float


class RoutingTable:
    """Servers that have answered. `group` names the prefix of addresses that a contact is counted in."""

    def __init__(self, own: PeerId, clock: Callable[[], float]) -> None:
        self._own = own
        self._place = place_of(own.multihash)
        self._clock = clock
        self._buckets: dict[int, dict[PeerId, _Entry]] = {}
        self._groups: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets.values())

    def __iter__(self) -> Iterator[Contact]:
        for bucket in self._buckets.values():
            for entry in bucket.values():
                yield entry.contact

    def __contains__(self, peer: object) -> bool:
        return isinstance(peer, PeerId) and peer in self._buckets.get(self._index(peer), {})

    def get(self, peer: PeerId) -> Contact | None:
        """Return what is known of a peer, None if it is not kept."""
        entry = self._buckets.get(self._index(peer), {}).get(peer)
        return entry.contact if entry is not None else None

    def _index(self, peer: PeerId) -> int:
        """Return the bucket of a peer: the length of its distance."""
        return (place_of(peer.multihash) ^ self._place).bit_length()

    def add(self, contact: Contact, group: str | None) -> bool:
        """Keep a server that has answered, if there is room at its distance and for its group."""
        if contact.peer == self._own or not contact.addresses:
            return False
        bucket = self._buckets.setdefault(self._index(contact.peer), {})
        known = bucket.pop(contact.peer, None)
        if known is not None:
            self._uncount(known)
        full = len(bucket) >= BUCKET or (
            group is not None
            and (
                self._groups[group] >= MAX_PER_GROUP
                or sum(entry.group == group for entry in bucket.values()) >= MAX_PER_GROUP_AND_BUCKET
            )
        )
        if full:
            return False
        bucket[contact.peer] = _Entry(contact, group, self._clock())
        if group is not None:
            self._groups[group] += 1
        return True

    def remove(self, peer: PeerId) -> bool:
        """Drop a peer that does not answer."""
        entry = self._buckets.get(self._index(peer), {}).pop(peer, None)
        if entry is not None:
            self._uncount(entry)
        return entry is not None

    def _uncount(self, entry: _Entry) -> None:
        if entry.group is not None:
            self._groups[entry.group] -= 1
            if not self._groups[entry.group]:
                del self._groups[entry.group]

    def closest(self, place: int, count: int = BUCKET) -> list[Contact]:
        """Return the contacts that are closest to a place, at most two of each group.

        If there are too few, the closest of the others follow.
        """
        entries = (entry for bucket in self._buckets.values() for entry in bucket.values())
        taken: list[Contact] = []
        others: list[Contact] = []
        groups: Counter[str] = Counter()
        for entry in sorted(entries, key=lambda entry: entry.contact.distance(place)):
            if len(taken) == count:
                break
            if entry.group is not None and groups[entry.group] >= MAX_CLOSEST_PER_GROUP:
                others.append(entry.contact)
                continue
            if entry.group is not None:
                groups[entry.group] += 1
            taken.append(entry.contact)
        return taken + others[: count - len(taken)]

    def unseen_since(self, moment: float) -> list[Contact]:
        """Return the contacts that have not answered since then."""
        return [
            entry.contact
            for bucket in self._buckets.values()
            for entry in bucket.values()
            if entry.seen_at < moment
        ]

    def places_to_refresh(self, random_bits: Callable[[int], int]) -> list[int]:
        """Return a random place at each of the larger distances at which there are contacts."""
        return [
            self._place ^ (1 << (index - 1) | random_bits(index - 1))
            for index in range(256, 256 - _REFRESHED, -1)
            if self._buckets.get(index)
        ]
