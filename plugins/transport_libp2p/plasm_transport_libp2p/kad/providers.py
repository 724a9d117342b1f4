"""Provider records of other peers, kept for an hour.

The records per key, and all records, are bounded. When a bound is reached, the network with the most records loses its
oldest to a network with fewer: early providers cannot keep later ones out.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

import attrs

from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.kad.contact import Contact

T = TypeVar("T")

LIFETIME_S = 3600.0
"""Providers send their records again every 10 to 20 minutes. The specification has 48 hours."""
MAX_PER_KEY = 40
MAX_PER_KEY_AND_GROUP = 3
MAX_PER_PEER = 128
MAX_PER_GROUP = 1024
MAX_RECORDS = 20_000


@attrs.define
class _Record:
    contact: Contact
    group: str | None
    networks: tuple[Hashable, ...]
    expires_at: float

    def network(self, level: int) -> Hashable:
        """Return the network at a level, the narrowest if there are fewer levels."""
        return self.networks[min(level, len(self.networks) - 1)]


class ProviderStore:
    """The provider records of a server, by key.

    `group` returns the prefix of addresses by which a contact's records are limited. `networks` returns the
    networks that a record counts for when places are short, the widest first; without them, the group or the peer
    counts.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # In the order in which they expire, since all live as long.
        self._records: OrderedDict[tuple[bytes, PeerId], _Record] = OrderedDict()
        self._by_key: dict[bytes, set[PeerId]] = {}
        self._by_peer: Counter[PeerId] = Counter()
        self._by_group: Counter[str] = Counter()
        self._by_network: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._records)

    def add(self, key: bytes, contact: Contact, group: str | None, networks: Iterable[Hashable] = ()) -> bool:
        """Store a record, and return True, if there is room or a network with more records can give one up."""
        self._expire()
        self._drop(key, contact.peer)
        holders = self._by_key.get(key, set())
        if group is not None:
            of_group = sum(self._records[key, peer].group == group for peer in holders)
            if of_group >= MAX_PER_KEY_AND_GROUP or self._by_group[group] >= MAX_PER_GROUP:
                return False
        if self._by_peer[contact.peer] >= MAX_PER_PEER:
            return False
        record = _Record(
            contact, group, tuple(networks) or (group or contact.peer,), self._clock() + LIFETIME_S
        )
        if len(holders) >= MAX_PER_KEY and not self._make_room_under(key, record):
            return False
        if len(self._records) >= MAX_RECORDS and not self._make_room(record):
            return False
        self._records[key, contact.peer] = record
        self._by_key.setdefault(key, set()).add(contact.peer)
        self._by_peer[contact.peer] += 1
        self._by_network[record.network(0)] += 1
        if group is not None:
            self._by_group[group] += 1
        return True

    def _make_room_under(self, key: bytes, record: _Record) -> bool:
        """Drop the oldest record under a key of the network that has most there, if the new one's has fewer.

        The difference is two at least: else both would take turns. The widest networks are compared first.
        """
        holders = [self._records[key, peer] for peer in self._by_key[key]]
        for level in range(len(record.networks)):
            counts = Counter(held.network(level) for held in holders)
            largest, most = counts.most_common(1)[0]
            if most > counts[record.network(level)] + 1:
                of_largest = [held for held in holders if held.network(level) == largest]
                self._drop(key, min(of_largest, key=lambda held: held.expires_at).contact.peer)
                return True
        return False

    def _make_room(self, record: _Record) -> bool:
        """Drop the oldest record of the widest network that has most of all keys, as `_make_room_under`."""
        largest, most = self._by_network.most_common(1)[0]
        if most <= self._by_network[record.network(0)] + 1:
            return False
        self._drop(*next(place for place, held in self._records.items() if held.network(0) == largest))
        return True

    def get(self, key: bytes) -> list[Contact]:
        """Return the providers of a key."""
        self._expire()
        return [self._records[key, peer].contact for peer in self._by_key.get(key, ())]

    def _expire(self) -> None:
        now = self._clock()
        while self._records:
            (key, peer), record = next(iter(self._records.items()))
            if record.expires_at > now:
                break
            self._drop(key, peer)

    def _drop(self, key: bytes, peer: PeerId) -> None:
        record = self._records.pop((key, peer), None)
        if record is None:
            return
        self._by_key[key].discard(peer)
        if not self._by_key[key]:
            del self._by_key[key]
        _decrement(self._by_peer, peer)
        _decrement(self._by_network, record.network(0))
        if record.group is not None:
            _decrement(self._by_group, record.group)


def _decrement(counter: Counter[T], item: T) -> None:
    counter[item] -= 1
    if not counter[item]:
        del counter[item]
