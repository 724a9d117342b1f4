"""A dialler that knows one node of a network, for a caller that chooses the node of each job itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from plasm_core.assurance import Standing
from plasm_core.client.connection import Link
from plasm_core.client.dial import Dialler
from plasm_core.client.submission import Submission
from plasm_core.errors import PeerUnreachableError
from plasm_core.records.history import NodeHistory
from plasm_core.records.peer import PeerId


class OneNode(Dialler):
    """One node of those that another dialler reaches. A job that the node fails goes back to the caller at once."""

    def __init__(self, network: Dialler, peer: PeerId) -> None:
        self._network = network
        self.peer = peer

    @property
    def fails_over(self) -> bool:
        return True  # the caller has other nodes, so the short waits of docs/network.md apply

    @property
    def has_known_nodes(self) -> bool:
        return True

    def standing(self, signer: PeerId) -> Standing | None:
        return self._network.standing(signer)

    def histories(self) -> list[NodeHistory]:
        return self._network.histories()

    def network_of(self, peer: PeerId) -> str | None:
        return self._network.network_of(peer)

    def others(self) -> Dialler:
        return self._network

    @asynccontextmanager
    async def apart(self, *, at_random: bool = False) -> AsyncIterator[Dialler]:
        async with self._network.apart(at_random=at_random) as dialler:
            yield dialler

    def failed(self, peer: PeerId, *, lied: bool = False) -> None:
        self._network.failed(peer, lied=lied)

    @asynccontextmanager
    async def converse(
        self, peer: PeerId | None, *, job: Submission | None = None, avoid: Collection[PeerId | str] = ()
    ) -> AsyncIterator[tuple[Link, PeerId]]:
        if self.peer in avoid or peer not in (None, self.peer):
            raise PeerUnreachableError(f"the node {self.peer} was given up for this job")
        if self._network.shuns(self.peer):
            raise PeerUnreachableError(f"a fraud proof names the node {self.peer}")
        async with self._network.converse(self.peer, job=job) as found:
            yield found
