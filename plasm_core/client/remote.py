"""Reaching nodes over a network: found by what they can do, asked what they allow, and chosen."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timezone

import attrs
import trio

from plasm_core.abc import Directory, Network, Stream
from plasm_core.alongside import alongside
from plasm_core.capabilities import open_record
from plasm_core.client.answer import read_answer
from plasm_core.client.conversations import greeted
from plasm_core.client.dialling import DIAL_S, Dialler
from plasm_core.client.link import Link, open_link
from plasm_core.client.submission import Submission
from plasm_core.errors import (
    ConnectionLostError,
    PeerUnreachableError,
    PlasmError,
    ProtocolError,
)
from plasm_core.records.capabilities import MAX_CAPABILITIES_BYTES, CapabilityRecord
from plasm_core.records.peer import PeerId
from plasm_core.wire import ANY_NODE, CAPABILITIES_PROTOCOL, JOB_PROTOCOL
from plasm_core.wire.frames import Channel

log = logging.getLogger(__name__)

SEARCH_S = 10.0
SETTLE_S = 0.5
"""How long to look for better nodes once there is one."""
ENOUGH = 4
_MOST_FOUND = 64
_PROBES_AT_ONCE = 8
_TELL_S = 5.0
_MAX_ENVELOPE_BYTES = 2 * MAX_CAPABILITIES_BYTES


@attrs.frozen(kw_only=True)
class Candidate:
    """A node that answered: where, what it says of itself, and how long that took (seconds)."""

    peer: PeerId
    addresses: tuple[str, ...]
    record: CapabilityRecord
    latency_s: float

    @property
    def cost(self) -> float:
        """What to choose by: the less the better. A place in the queue counts as much as 0.2 s on the way."""
        load = self.record.load
        busy = max(0, load.running - self.record.cpu + 1) + load.waiting
        return self.latency_s + 0.2 * busy


class RemoteDialler(Dialler):
    """Nodes that a directory knows, over the network it is of. `pinned`: only this one, found at `addresses`."""

    def __init__(
        self,
        network: Network,
        directory: Directory,
        *,
        capability: str = ANY_NODE,
        pinned: PeerId | None = None,
        addresses: tuple[str, ...] = (),
    ) -> None:
        self._network = network
        self._directory = directory
        self._capability = capability
        self._pinned = pinned
        self._known: dict[PeerId, tuple[str, ...]] = {pinned: addresses} if pinned and addresses else {}
        self._failures: dict[PeerId, int] = {}

    @property
    def fails_over(self) -> bool:
        return self._pinned is None

    @asynccontextmanager
    async def converse(
        self, peer: PeerId | None, *, job: Submission | None = None, avoid: Collection[PeerId] = ()
    ) -> AsyncIterator[tuple[Link, PeerId]]:
        wanted = peer or self._pinned
        if wanted is not None:
            candidates = [(wanted, await self._whereabouts(wanted))]
        else:
            chosen = await self.candidates(job, avoid=avoid)
            candidates = [(candidate.peer, candidate.addresses) for candidate in chosen]
        problems = []
        for found, addresses in candidates:
            started = trio.current_time()
            try:
                stream = await self._dial(found, addresses, JOB_PROTOCOL)
            except PeerUnreachableError as exc:
                self._failed(found, str(exc), started)
                problems.append(str(exc))
                continue
            async with open_link(stream) as link:
                try:
                    said = await greeted(link)
                except (ConnectionLostError, ProtocolError) as exc:
                    self._failed(found, str(exc), started)
                    problems.append(str(exc))
                    continue
                if said != found:
                    self._failed(found, f"it says that it is {said}", started)
                    problems.append(f"{found} says that it is {said}")
                    continue
                yield link, found
                return
        raise _unreachable(wanted, problems)

    def _failed(self, peer: PeerId, reason: str, since: float) -> None:
        """Take note of a failure, and of how long after `since`, a moment of trio's clock, it came."""
        self._failures[peer] = self._failures.get(peer, 0) + 1
        log.info("peer lost peer=%s reason=%s duration_s=%.3f", peer, reason, trio.current_time() - since)

    async def _whereabouts(self, peer: PeerId) -> tuple[str, ...]:
        """Return addresses of a peer. Raises: `PeerUnreachableError`."""
        if peer not in self._known:
            addresses: tuple[str, ...] = ()
            with trio.move_on_after(SEARCH_S):
                addresses = await self._directory.locate(peer)
            if not addresses:
                raise PeerUnreachableError(
                    f"nobody knows where the node {peer} is",
                    hint="it may be down; its handle stays good for when it is back",
                )
            self._known[peer] = addresses
        return self._known[peer]

    async def _dial(self, peer: PeerId, addresses: tuple[str, ...], protocol: str) -> Stream:
        """Open a stream to a peer at the first address that works. Raises: `PeerUnreachableError`."""
        problems = []
        for address in addresses:
            try:
                with trio.fail_after(DIAL_S):
                    return await self._network.dial(address, protocol)
            except trio.TooSlowError:
                problems.append(f"no answer within {DIAL_S:.0f} s")
            except PeerUnreachableError as exc:
                problems.append(str(exc))
        self._known.pop(peer, None)
        raise PeerUnreachableError(f"cannot reach the node {peer}: {'; '.join(problems) or 'no address'}")

    async def candidates(
        self,
        job: Submission | None = None,
        *,
        avoid: Collection[PeerId] = (),
        enough: int = ENOUGH,
        settle_s: float = SETTLE_S,
    ) -> list[Candidate]:
        """Look for nodes that take a job, and return those that answered, the best first.

        The search ends when there are enough, or `settle_s` after the first, or after `SEARCH_S`.
        """
        found: list[Candidate] = []
        refused: dict[str, int] = {}
        some, done, places = trio.Event(), trio.Event(), trio.CapacityLimiter(_PROBES_AT_ONCE)

        async def probe(peer: PeerId, addresses: tuple[str, ...]) -> None:
            async with places:
                started = trio.current_time()
                try:
                    candidate = await self._probe(peer, addresses)
                except PlasmError as exc:
                    self._failed(peer, str(exc), started)
                    return
            lacking = _lacking(candidate.record, job)
            if lacking is not None:
                refused[lacking] = refused.get(lacking, 0) + 1
                log.info("peer passed over peer=%s reason=%s", peer, lacking)
                return
            log.info("peer found peer=%s latency_s=%.3f", peer, candidate.latency_s)
            found.append(candidate)
            some.set()
            if len(found) >= enough:
                done.set()

        async def search() -> None:
            async with (
                trio.open_nursery() as nursery,
                self._directory.find(self._capability, _MOST_FOUND) as peers,
            ):
                async for peer, addresses in peers:
                    if peer not in avoid:
                        nursery.start_soon(probe, peer, addresses)
            some.set()
            done.set()

        with trio.move_on_after(SEARCH_S):
            async with alongside(search):
                await some.wait()
                with trio.move_on_after(settle_s):
                    await done.wait()
        found.sort(key=lambda item: (self._failures.get(item.peer, 0), item.cost))
        if not found and refused:
            log.info("no peer takes the job reasons=%s", "; ".join(refused))
        return found

    async def _probe(self, peer: PeerId, addresses: tuple[str, ...]) -> Candidate:
        """Ask a node what it can. Raises: `PlasmError`."""
        started = trio.current_time()
        stream = await self._dial(peer, addresses, CAPABILITIES_PROTOCOL)
        try:
            with trio.fail_after(_TELL_S):
                envelope_json = await read_answer(stream, max_bytes=_MAX_ENVELOPE_BYTES)
        except trio.TooSlowError:
            raise PeerUnreachableError("it does not tell its capabilities") from None
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await stream.aclose()
        record = open_record(envelope_json, peer, now=datetime.now(timezone.utc))
        self._known[peer] = addresses
        return Candidate(
            peer=peer, addresses=addresses, record=record, latency_s=trio.current_time() - started
        )


def _lacking(record: CapabilityRecord, job: Submission | None) -> str | None:
    if job is None:
        return None
    return record.lacks(
        job.manifest,
        module_bytes=job.sources[Channel.MODULE].size_bytes,
        stdin_bytes=job.sources[Channel.STDIN].size_bytes,
    )


def _unreachable(wanted: PeerId | None, problems: list[str]) -> PeerUnreachableError:
    if wanted is not None:
        return PeerUnreachableError(f"cannot talk to the node {wanted}: {'; '.join(problems)}")
    if problems:
        return PeerUnreachableError(f"no node could be used: {'; '.join(problems)}")
    return PeerUnreachableError(
        f"no node was found that takes this job, within {SEARCH_S:.0f} s",
        hint="see who there is with: plasm peers; a node at a private address is named with --peer",
    )
