"""The iterative lookup: ask the closest known, learn of closer ones, until the very closest have answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import trio

from plasm_core.errors import PlasmError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.kademlia.contact import Contact
from plasm_transport_libp2p.kademlia.table import BUCKET

ALPHA = 3
SETTLED = 3
"""A search is over when so many of the closest have answered (libp2p specification: β)."""
MAX_QUERIES = 200
SLOW_S = 1.0
"""After so long without an answer, another peer is asked besides."""
_RUNNING = 2 * ALPHA  # with the slow ones: more would make a crowded network slower still

Query = Callable[[Contact], Awaitable[Sequence[Contact]]]
"""Asks one peer and returns the contacts it tells of. Raises: `PlasmError` if it does not answer."""


class Lookup:
    """One search for the contacts that are closest to a place."""

    def __init__(self, place: int, own: PeerId, query: Query, *, settled: int = SETTLED) -> None:
        self._place = place
        self._own = own
        self._query = query
        self._settled = settled
        self._known: dict[PeerId, Contact] = {}
        self._asked: set[PeerId] = set()
        self._answered: set[PeerId] = set()
        self._failed: set[PeerId] = set()
        self._running: set[PeerId] = set()
        self._slow: set[PeerId] = set()
        self._changed = trio.Event()

    @property
    def queries(self) -> int:
        """How many peers were asked."""
        return len(self._asked)

    def _learn(self, contacts: Iterable[Contact]) -> None:
        for contact in contacts:
            if contact.peer != self._own:
                self._known.setdefault(contact.peer, contact)

    def _closest(self, count: int, without: set[PeerId]) -> list[Contact]:
        kept = (contact for peer, contact in self._known.items() if peer not in without)
        return sorted(kept, key=lambda contact: contact.distance(self._place))[:count]

    async def run(self, seeds: Iterable[Contact]) -> list[Contact]:
        """Search, and return the closest that did not fail, the closest first. Not all of them were asked."""
        self._learn(seeds)
        async with trio.open_nursery() as nursery:
            while True:
                leading = self._closest(self._settled, self._failed | self._slow)
                unasked = [contact for contact in leading if contact.peer not in self._asked]
                room = min(ALPHA - len(self._running - self._slow), _RUNNING - len(self._running))
                for contact in unasked[: max(room, 0)]:
                    if len(self._asked) < MAX_QUERIES:
                        self._asked.add(contact.peer)
                        self._running.add(contact.peer)
                        nursery.start_soon(self._ask, contact)
                settled = leading and all(contact.peer in self._answered for contact in leading)
                if settled or not self._running:
                    break
                self._changed = trio.Event()
                await self._changed.wait()
            nursery.cancel_scope.cancel()
        return self._closest(BUCKET, self._failed)

    async def _ask(self, contact: Contact) -> None:
        peer = contact.peer
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._become_slow, peer)
            try:
                self._learn(await self._query(contact))
                self._answered.add(peer)
            except PlasmError:
                self._failed.add(peer)
            nursery.cancel_scope.cancel()
        self._running.discard(peer)
        self._slow.discard(peer)
        self._changed.set()

    async def _become_slow(self, peer: PeerId) -> None:
        await trio.sleep(SLOW_S)
        self._slow.add(peer)
        self._changed.set()
