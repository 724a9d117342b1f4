"""The routing table: up to 20 servers (k) in each bucket, long-standing ones kept (libp2p specification, "kad-dht")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import attrs

from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.kad.contact import Contact, kad_id

BUCKET = 20
"""k: contacts kept in each bucket, and returned by a lookup."""
MAX_PER_GROUP_AND_BUCKET = 2
MAX_PER_GROUP = 8
MAX_CLOSEST_PER_GROUP = 2
"""Contacts in an answer, or at the start of a lookup."""
_REFRESHED = 16  # buckets; those of smaller distances are empty even among a million nodes


@attrs.define
class _Entry:
    contact: Contact
    group: str | None
    seen_at: float


class RoutingTable:
    """Servers that have answered. `group`: the /24 or /48 that a contact is counted in."""

    def __init__(self, own: PeerId, clock: Callable[[], float]) -> None:
        self._own = own
        self._place = kad_id(own.multihash)
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
        """Return a peer's contact, None if it is not in the table."""
        entry = self._buckets.get(self._index(peer), {}).get(peer)
        return entry.contact if entry is not None else None

    def _index(self, peer: PeerId) -> int:
        """Return the bucket of a peer: the bit length of its XOR distance."""
        return (kad_id(peer.multihash) ^ self._place).bit_length()

    def add(self, contact: Contact, group: str | None) -> bool:
        """Add a server that has answered, and return True, if there is room in its bucket and for its group."""
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
        """Remove a peer; return whether it was in the table."""
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
        """Return the contacts closest to a position, at most two of each group.

        If there are fewer than `count`, the closest of the others follow.
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
        """Return the contacts that have not answered since a moment of the clock."""
        return [
            entry.contact
            for bucket in self._buckets.values()
            for entry in bucket.values()
            if entry.seen_at < moment
        ]

    def places_to_refresh(self, random_bits: Callable[[int], int]) -> list[int]:
        """Return a random position in each of the 16 farthest buckets that has contacts."""
        return [
            self._place ^ (1 << (index - 1) | random_bits(index - 1))
            for index in range(256, 256 - _REFRESHED, -1)
            if self._buckets.get(index)
        ]
