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
from plasm_core.assurance import Standing
from plasm_core.capabilities import open_record
from plasm_core.client.answer import read_answer
from plasm_core.client.bounds import within
from plasm_core.client.conversations import greeted
from plasm_core.client.dialling import DIAL_S, Dialler
from plasm_core.client.known_nodes import LIED, LOST, Candidate, KnownNodes, OneAtATime
from plasm_core.client.link import Link, open_link
from plasm_core.client.submission import Submission
from plasm_core.errors import (
    ConnectionLostError,
    NodeStalledError,
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
_MOST_ADDRESSES = 16
"""So many addresses at which a node has answered, and so many that others tell, are tried."""
_PROBES_AT_ONCE = 8
_HEAD_START_S = 0.25
"""How long an address is tried before the next one of the same node is tried beside it."""
_TELL_S = 5.0
_MOST_TOLD = 5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0
"""How long after one search another begins: every search costs the directory's nodes, which limit each peer."""
_CROWD = 8
"""So many jobs more than a node has processors, and other nodes are looked for."""
_MAX_ENVELOPE_BYTES = 2 * MAX_CAPABILITIES_BYTES


class NotThereError(PeerUnreachableError):
    """A node is at none of the addresses that are known. These may be false, told by others."""


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
        self._nodes = KnownNodes()
        self._searching = OneAtATime()
        self._asking = OneAtATime()
        self._next_search_at = float("-inf")
        self._pause_s = _FIRST_PAUSE_S
        self._last = Search()

    @property
    def fails_over(self) -> bool:
        return self._pinned is None

    @property
    def has_known_nodes(self) -> bool:
        return self._nodes.ever_found

    def standing(self, signer: PeerId) -> Standing | None:
        return Standing.NAMED if signer == self._pinned else None

    def failed(self, peer: PeerId, *, lied: bool = False) -> None:
        self._nodes.failed(peer, LIED if lied else LOST)

    @asynccontextmanager
    async def converse(
        self, peer: PeerId | None, *, job: Submission | None = None, avoid: Collection[PeerId] = ()
    ) -> AsyncIterator[tuple[Link, PeerId]]:
        wanted = peer or self._pinned
        if wanted is not None:
            candidates = [(wanted, await self._whereabouts(wanted))]
        else:
            chosen = await self.choose(job, avoid=avoid)
            candidates = [(candidate.peer, candidate.addresses) for candidate in chosen]
        problems = []
        for found, addresses in candidates:
            started = trio.current_time()
            try:
                stream = await self._dial(found, addresses, JOB_PROTOCOL)
            except PeerUnreachableError as exc:
                self._lost(found, str(exc), started, blamed=bool(self._nodes.answered_at(found)))
                problems.append(str(exc))
                continue
            async with open_link(stream) as link:
                try:
                    with within(DIAL_S, found, "introduced itself"):
                        said = await greeted(link)
                except (ConnectionLostError, ProtocolError, NodeStalledError) as exc:
                    self._lost(found, str(exc), started)
                    problems.append(str(exc))
                    continue
                if said != found:
                    self._lost(found, f"it says that it is {said}", started)
                    problems.append(f"{found} says that it is {said}")
                    continue
                with self._nodes.job_at(found):
                    yield link, found
                return
        raise self._unreachable(wanted, problems)

    def _lost(self, peer: PeerId, reason: str, since: float, *, blamed: bool = True) -> None:
        """Take note of a failure, and of how long after `since`, a moment of trio's clock, it came."""
        if blamed:
            self._nodes.failed(peer)
        self._nodes.forget_record(peer)
        log.info("peer lost peer=%s reason=%s duration_s=%.3f", peer, reason, trio.current_time() - since)

    def _unreachable(self, wanted: PeerId | None, problems: list[str]) -> PeerUnreachableError:
        if wanted is not None:
            return PeerUnreachableError(f"cannot talk to the node {wanted}: {'; '.join(problems)}")
        if problems:
            return PeerUnreachableError(f"no node could be used: {'; '.join(problems[:_MOST_TOLD])}")
        return PeerUnreachableError(
            f"no node was found that takes this job: {self._last}",
            hint="see who there is with: plasm peers; a node at a private address is named with --peer",
        )

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
        """Open a stream to a peer at the first address that works. Raises: `NotThereError`.

        Some addresses may be false, told by others, and swallow what is sent: the next does not wait for that.
        """
        problems: list[str] = []
        opened: list[Stream] = []
        async with trio.open_nursery() as nursery:

            async def attempt(address: str, failed: trio.Event) -> None:
                try:
                    with trio.fail_after(DIAL_S):
                        stream = await self._network.dial(address, protocol)
                except trio.TooSlowError:
                    problems.append(f"no answer within {DIAL_S:.0f} s")
                except PeerUnreachableError as exc:
                    problems.append(str(exc))
                else:
                    if opened:
                        with trio.CancelScope(shield=True), trio.move_on_after(1):
                            await stream.aclose()
                    else:
                        opened.append(stream)
                        nursery.cancel_scope.cancel()
                failed.set()

            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(_HEAD_START_S):
                    await failed.wait()
        if opened:
            return opened[0]
        self._known.pop(peer, None)
        raise NotThereError(f"cannot reach the node {peer}: {'; '.join(problems) or 'no address'}")

    async def choose(self, job: Submission | None, *, avoid: Collection[PeerId] = ()) -> list[Candidate]:
        """Return nodes that take a job, the best first: those known already, or else found by a search.

        Concurrent callers share one search, and one question to those that are known. After a search that
        found nobody the next is not at once.
        """
        usable = self._usable(job, avoid)
        if not usable and self._nodes.stale():
            await self._ask_again()
            usable = self._usable(job, avoid)
        if not usable or all(self._is_spent(candidate) for candidate in usable):
            await self._search(job, avoid)
            usable = self._usable(job, avoid)
        return usable

    def _usable(self, job: Submission | None, avoid: Collection[PeerId]) -> list[Candidate]:
        found = [
            candidate
            for candidate in self._nodes.fresh()
            if candidate.peer not in avoid and _lacking(candidate.record, job) is None
        ]
        return sorted(found, key=self._nodes.rank)

    def _is_spent(self, candidate: Candidate) -> bool:
        """Return whether a better node would be worth a search: this one failed, or has enough of our jobs."""
        return self._nodes.own_failures(candidate.peer) > 0 or self._nodes.excess(candidate) > _CROWD

    async def _ask_again(self) -> None:
        """Ask those that were known for their records anew."""
        with self._asking.lead() as leads:
            if not leads:
                await self._asking.follow()
                return
            places = trio.CapacityLimiter(_PROBES_AT_ONCE)

            async def ask(candidate: Candidate) -> None:
                async with places:
                    await self._consider(candidate.peer, candidate.addresses)

            with trio.move_on_after(SEARCH_S):
                async with trio.open_nursery() as nursery:
                    for candidate in self._nodes.stale():
                        nursery.start_soon(ask, candidate)

    async def _search(self, job: Submission | None, avoid: Collection[PeerId]) -> None:
        with self._searching.lead() as leads:
            if not leads:
                await self._searching.follow()
                return
            if trio.current_time() < self._next_search_at:
                if self._usable(job, avoid):
                    return
                await trio.sleep_until(self._next_search_at)
            before = {candidate.peer for candidate in self._nodes.fresh()}
            found = await self.candidates(job, avoid=avoid)
            is_new = any(candidate.peer not in before for candidate in found)
            self._pause_s = _FIRST_PAUSE_S if is_new else min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self._next_search_at = trio.current_time() + self._pause_s

    async def candidates(
        self,
        job: Submission | None = None,
        *,
        avoid: Collection[PeerId] = (),
        enough: int = ENOUGH,
        settle_s: float = SETTLE_S,
    ) -> list[Candidate]:
        """Search the directory for nodes that take a job, and return those that answered, the best first.

        The search ends when there are enough, or `settle_s` after the first, or after `SEARCH_S`.
        """
        found: list[Candidate] = []
        self._last = last = Search(began_at=trio.current_time())
        some, done, places = trio.Event(), trio.Event(), trio.CapacityLimiter(_PROBES_AT_ONCE)

        async def probe(peer: PeerId, addresses: tuple[str, ...]) -> None:
            async with places:
                candidate = await self._consider(peer, addresses)
            if candidate is None:
                last.silent += 1
                return
            lacking = _lacking(candidate.record, job)
            if lacking is not None:
                last.refused[lacking] = last.refused.get(lacking, 0) + 1
                log.info("peer passed over peer=%s reason=%s", peer, lacking)
                return
            log.info("peer found peer=%s latency_s=%.3f", peer, candidate.latency_s)
            if peer in avoid:
                return  # asked for the sake of the jobs that share this search
            found.append(candidate)
            if self._nodes.own_failures(peer) > 0:
                return  # it will do if nobody better is found
            last.good += 1
            some.set()
            if last.good >= enough:
                done.set()

        async def search() -> None:
            async with (
                trio.open_nursery() as nursery,
                self._directory.find(self._capability, _MOST_FOUND) as peers,
            ):
                async for peer, addresses in peers:
                    last.asked += 1
                    nursery.start_soon(probe, peer, addresses)
            some.set()
            done.set()

        with trio.move_on_after(SEARCH_S):
            async with alongside(search):
                await some.wait()
                with trio.move_on_after(settle_s):
                    await done.wait()
        last.ended_at = trio.current_time()
        found.sort(key=self._nodes.rank)
        if not found and last.refused:
            log.info("no peer takes the job reasons=%s", "; ".join(last.refused))
        return found

    async def _consider(self, peer: PeerId, addresses: tuple[str, ...]) -> Candidate | None:
        """Ask a node what it can, and remember what came of it.

        A node that has answered before is dialled there too. One that never has, and is not where others say that it
        is, has not failed: whoever told so has.
        """
        started = trio.current_time()
        proved = self._nodes.answered_at(peer)
        addresses = tuple(dict.fromkeys([*proved[:_MOST_ADDRESSES], *addresses[:_MOST_ADDRESSES]]))
        try:
            candidate = await self._probe(peer, addresses)
        except NotThereError as exc:
            self._lost(peer, str(exc), started, blamed=bool(proved))
            return None
        except PlasmError as exc:
            self._lost(peer, str(exc), started)
            return None
        self._nodes.heard(candidate)
        return candidate

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
            peer=peer,
            addresses=addresses,
            record=record,
            latency_s=trio.current_time() - started,
            group=stream.remote_group,
        )


@attrs.define
class Search:
    """What came of one search: when it was (moments of trio's clock), and how many nodes there were."""

    began_at: float = 0.0
    ended_at: float = 0.0
    asked: int = 0
    silent: int = 0
    good: int = 0
    refused: dict[str, int] = attrs.field(factory=dict)

    def __str__(self) -> str:
        told = [f"{self.asked} asked within {self.ended_at - self.began_at:.1f} s"]
        if self.silent:
            told.append(f"{self.silent} did not answer")
        told += [f"{count} cannot: {reason}" for reason, count in list(self.refused.items())[:_MOST_TOLD]]
        return "; ".join(told)


def _lacking(record: CapabilityRecord, job: Submission | None) -> str | None:
    if job is None:
        return None
    return record.lacks(
        job.manifest,
        module_bytes=job.sources[Channel.MODULE].size_bytes,
        stdin_bytes=job.sources[Channel.STDIN].size_bytes,
    )
