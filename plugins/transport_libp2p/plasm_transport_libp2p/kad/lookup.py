"""The iterative lookup (libp2p specification, "kad-dht"): ask the closest contacts, until the closest have answered.

Its course depends on strangers' answers, and no single stranger must determine it. As in S/Kademlia (Baumgart and
Mies, 2007, section 4.2) a lookup goes along several paths: each server of the routing table that it begins at is the
root of one, and all contacts learned along a path count for its roots. The contacts that a search must hear before it
ends belong to different roots and, as far as there are any, to different /24s or /48s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence

import attrs
import trio

from plasm_core.errors import PlasmError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.kad.contact import Contact, merge_addresses
from plasm_transport_libp2p.kad.table import BUCKET

ALPHA = 3
SETTLED = 3
"""A lookup ends when this many of the closest contacts have answered (β in the specification)."""
MAX_QUERIES = 200
SLOW_S = 1.0
"""After so long without an answer, a further peer is asked."""
_RUNNING = 2 * ALPHA  # slow peers included: more would load a slow network further
_HEAD = 10
"""Of the first ten of a result, one is of each /24 or /48; the limits below are per root path and per /16 or /32."""
_HEAD_PER_ROOT = 4
_HEAD_PER_WIDE_GROUP = 2
MAX_ADDRESSES = 8
_MAX_CLAIMS = 8
_ATTEMPTS = 3
_FAULTS = 3
"""Contacts that failed after which a peer's reports are used last, if they are more than those that answered.

After three times as many its reports are ignored.
"""

Query = Callable[[Contact], Awaitable[Sequence[Contact]]]
"""Asks one peer and returns the contacts in its answer. Raises: `PlasmError` if it does not answer."""
Groups = Callable[[Contact], frozenset[str]]
"""Returns the groups of addresses that a contact is counted in, none for addresses that are not public."""


def ungrouped(_contact: Contact) -> frozenset[str]:
    """Return no group: contacts are not limited by their networks."""
    return frozenset()


@attrs.define
class _KnownContact:
    """A contact: what each teller claims, and the roots of the paths that led to it."""

    contact: Contact
    roots: set[str]
    claims: dict[str, Contact] = attrs.field(factory=dict)
    groups: list[frozenset[str]] = attrs.field(factory=list)
    tried: set[object] = attrs.field(factory=set)
    attempts: int = 0


class Lookup:
    """One lookup of the contacts closest to a position in the key space."""

    def __init__(
        self, place: int, own: PeerId, query: Query, *, settled: int = SETTLED, groups: Groups = ungrouped
    ) -> None:
        self._place = place
        self._own = own
        self._query = query
        self._settled = settled
        self._groups = groups
        self._known: dict[PeerId, _KnownContact] = {}
        self._asked: set[PeerId] = set()
        self._answered: set[PeerId] = set()
        self._failed: set[PeerId] = set()
        self._running: set[PeerId] = set()
        self._slow: set[PeerId] = set()
        self._faults: Counter[str] = Counter()
        self._proved: Counter[str] = Counter()
        self._queries = 0
        self._changed = trio.Event()

    @property
    def queries(self) -> int:
        """How many queries were sent."""
        return self._queries

    def name_of(self, contact: Contact) -> str:
        """Return the name under which a peer's reports are counted: its /24 or /48, or its peer id without one."""
        return max(self._groups(contact), key=_is_narrow, default=str(contact.peer))

    def _learn(self, contacts: Iterable[Contact], reported_by: _KnownContact | None) -> None:
        reporter = self.name_of(reported_by.contact) if reported_by is not None else ""
        for contact in contacts:
            if contact.peer == self._own:
                continue
            known = self._known.get(contact.peer)
            if known is None:
                known = self._known[contact.peer] = _KnownContact(contact, set())
            known.roots |= reported_by.roots if reported_by is not None else {self.name_of(contact)}
            if reporter in known.claims or len(known.claims) >= _MAX_CLAIMS:
                continue
            known.claims[reporter] = contact
            known.contact = Contact(
                contact.peer,
                merge_addresses((item.addresses for item in known.claims.values()), MAX_ADDRESSES),
            )
            if contact.peer not in self._answered:
                known.groups.append(self._groups(contact))
            if contact.peer in self._failed and self._may_be_asked_again(known):
                self._failed.discard(contact.peer)
                self._asked.discard(contact.peer)

    def _may_be_asked_again(self, known: _KnownContact) -> bool:
        """Return whether a peer that did not answer has untried addresses: the tried ones may have been false."""
        return known.attempts < _ATTEMPTS and not known.tried.issuperset(known.contact.addresses)

    def _is_discredited(self, known: _KnownContact, factor: int) -> bool:
        """Return whether every peer that reports a contact has reported too many that did not answer."""
        return all(
            reported_by != ""
            and self._faults[reported_by] >= _FAULTS * factor
            and self._faults[reported_by] > factor * self._proved[reported_by]
            for reported_by in known.claims
        )

    def _ordered(self, without: set[PeerId]) -> list[_KnownContact]:
        """Return the contacts, the closest first. Those reported by discredited peers alone come last, or not at all."""
        ordered = []
        for peer, known in self._known.items():
            if peer in without:
                continue
            is_proved = peer in self._answered
            if is_proved or not self._is_discredited(known, 3):
                doubt = not is_proved and self._is_discredited(known, 1)
                ordered.append((doubt, known.contact.distance(self._place), known))
        return [known for _, _, known in sorted(ordered, key=lambda item: item[:2])]

    def _spread(
        self, ordered: Sequence[_KnownContact], count: int, *, per_root: int, per_wide_group: int
    ) -> list[_KnownContact]:
        """Return the first contacts of which no root and no group has more than its part: of a /24 or /48 it is one.

        If there are too few, the first of the others follow.
        """
        taken: list[_KnownContact] = []
        others: list[_KnownContact] = []
        groups: Counter[str] = Counter()
        charged: dict[str, list[_KnownContact]] = {}
        for known in ordered:
            if len(taken) == count:
                break
            claim = next(
                (
                    names
                    for names in known.groups
                    if all(groups[name] < (1 if _is_narrow(name) else per_wide_group) for name in names)
                ),
                None,
            )
            if claim is None or not _charge(known, charged, per_root, set()):
                others.append(known)
                continue
            groups.update(claim)
            taken.append(known)
        return taken + others[: count - len(taken)]

    async def run(self, seeds: Iterable[Contact]) -> list[Contact]:
        """Run the lookup, and return the closest 20 contacts that did not fail; not all of them were queried.

        The first ten come from different paths and networks, if there are enough.
        """
        self._learn(seeds, None)
        async with trio.open_nursery() as nursery:
            while True:
                ordered = self._ordered(self._failed | self._slow)
                leading = [
                    known.contact
                    for known in self._spread(ordered, self._settled, per_root=1, per_wide_group=1)
                ]
                unasked = [contact for contact in leading if contact.peer not in self._asked]
                room = min(ALPHA - len(self._running - self._slow), _RUNNING - len(self._running))
                for contact in unasked[: max(room, 0)]:
                    if self._queries < MAX_QUERIES:
                        self._queries += 1
                        self._asked.add(contact.peer)
                        self._running.add(contact.peer)
                        nursery.start_soon(self._ask, self._known[contact.peer])
                settled = leading and all(contact.peer in self._answered for contact in leading)
                if settled or not self._running:
                    break
                self._changed = trio.Event()
                await self._changed.wait()
            nursery.cancel_scope.cancel()
        ordered = self._ordered(self._failed)
        head = self._spread(ordered, _HEAD, per_root=_HEAD_PER_ROOT, per_wide_group=_HEAD_PER_WIDE_GROUP)
        first = {known.contact.peer for known in head}
        rest = [known for known in ordered if known.contact.peer not in first]
        return [known.contact for known in [*head, *rest][:BUCKET]]

    async def _ask(self, known: _KnownContact) -> None:
        contact = known.contact
        peer = contact.peer
        known.attempts += 1
        known.tried.update(contact.addresses)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._become_slow, peer)
            try:
                told = await self._query(contact)
                self._answered.add(peer)
                self._proved.update(list(known.claims))
                known.groups = [self._groups(contact)]  # the address at which it answers
                self._learn(told, known)
            except PlasmError:
                if self._may_be_asked_again(known):
                    self._asked.discard(peer)
                else:
                    self._failed.add(peer)
                    self._faults.update(list(known.claims))
            nursery.cancel_scope.cancel()
        self._running.discard(peer)
        self._slow.discard(peer)
        self._changed.set()

    async def _become_slow(self, peer: PeerId) -> None:
        await trio.sleep(SLOW_S)
        self._slow.add(peer)
        self._changed.set()


def _is_narrow(group: str) -> bool:
    """Return whether a group is a /24 or /48, and not one that holds several."""
    return not group.endswith(("/16", "/32"))


def _charge(known: _KnownContact, charged: dict[str, list[_KnownContact]], most: int, seen: set[str]) -> bool:
    """Count a contact for one of its roots, moving others to theirs if need be (an augmenting path)."""
    for root in known.roots:
        if root in seen:
            continue
        seen.add(root)
        there = charged.setdefault(root, [])
        if len(there) < most:
            there.append(known)
            return True
        for place, other in enumerate(there):
            if _charge(other, charged, most, seen):
                there[place] = known
                return True
    return False
