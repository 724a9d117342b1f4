"""What others say they provide, kept for as long as they repeat it, within bounds."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import TypeVar

import attrs

from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.kademlia.contact import Contact

T = TypeVar("T")

LIFETIME_S = 3600.0
"""Providers repeat themselves every 10 to 20 minutes."""
MAX_PER_KEY = 40
MAX_PER_KEY_AND_GROUP = 3
MAX_PER_PEER = 128
MAX_PER_GROUP = 1024
MAX_RECORDS = 20_000


@attrs.define
class _Record:
    contact: Contact
    group: str | None
    expires_at: float


class Providers:
    """Provider records by key. `group` names the prefix of addresses that a provider is counted in."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # In the order in which they expire, since all live as long.
        self._records: OrderedDict[tuple[bytes, PeerId], _Record] = OrderedDict()
        self._by_key: dict[bytes, set[PeerId]] = {}
        self._by_peer: Counter[PeerId] = Counter()
        self._by_group: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._records)

    def add(self, key: bytes, contact: Contact, group: str | None) -> bool:
        """Note that a peer provides a key, if there is room for it."""
        self._expire()
        self._drop(key, contact.peer)
        holders = self._by_key.get(key, set())
        if group is not None:
            of_group = sum(self._records[key, peer].group == group for peer in holders)
            if of_group >= MAX_PER_KEY_AND_GROUP or self._by_group[group] >= MAX_PER_GROUP:
                return False
        full = len(holders) >= MAX_PER_KEY or len(self._records) >= MAX_RECORDS
        if full or self._by_peer[contact.peer] >= MAX_PER_PEER:
            return False
        self._records[key, contact.peer] = _Record(contact, group, self._clock() + LIFETIME_S)
        self._by_key.setdefault(key, set()).add(contact.peer)
        self._by_peer[contact.peer] += 1
        if group is not None:
            self._by_group[group] += 1
        return True

    def get(self, key: bytes) -> list[Contact]:
        """Return who provides a key."""
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
        if record.group is not None:
            _decrement(self._by_group, record.group)


def _decrement(counter: Counter[T], item: T) -> None:
    counter[item] -= 1
    if not counter[item]:
        del counter[item]
