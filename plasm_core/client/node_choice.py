"""Choose a node: search the directory by node class, read capability records, rank the candidates, and dial."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import trio

from plasm_core.assurance import Standing
from plasm_core.background_tasks import alongside
from plasm_core.client.connection import Link, open_link
from plasm_core.client.dial import DIAL_S, Dialler
from plasm_core.client.kept_streams import KeptStreams
from plasm_core.client.known_nodes import LIED, LOST, Candidate, KnownNodes, OneAtATime
from plasm_core.client.node_draw import any_network, best_or_new
from plasm_core.client.probe import NotThereError, Search, dial_first, read_record
from plasm_core.client.reputation import Reputation
from plasm_core.client.session import greeted
from plasm_core.client.submission import Submission
from plasm_core.client.wait_limits import within
from plasm_core.errors import (
    ConnectionLostError,
    NodeStalledError,
    PeerUnreachableError,
    PlasmError,
    ProtocolError,
)
from plasm_core.plugins.interfaces import Directory, Network, Stream
from plasm_core.protocol import ANY_NODE, CAPABILITIES_PROTOCOL, JOB_PROTOCOL
from plasm_core.protocol.channels import Channel
from plasm_core.records.capabilities import CapabilityRecord
from plasm_core.records.credibility import LIARS, node_error
from plasm_core.records.history import NodeHistory
from plasm_core.records.peer import PeerId

log = logging.getLogger(__name__)

SEARCH_S = 10.0
SETTLE_S = 0.5
"""How long to look for better nodes once there is one."""
ENOUGH = 4
ENOUGH_TO_DRAW, SETTLE_TO_DRAW_S = 16, 2.0
"""The same where nodes are drawn at random: those that answer first may be of one owner."""
_MOST_FOUND = 64
_MOST_ADDRESSES = 16
"""How many addresses at which a node has answered, and how many reported by others, are tried."""
_PROBES_AT_ONCE = 8
_MOST_TOLD = 5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0
"""How long after one search another begins: every search costs the directory's nodes, which limit each peer."""
_CROWD = 8
"""How many jobs beyond a node's number of processors make the client look for other nodes."""
_MOST_TRIED = 16
"""How many nodes one attempt tries that do not even introduce themselves: keys cost nothing."""
_DOUBT_S, _MOST_DOUBT = 1.0, 5.0
"""A node of which nothing is known ranks like one that is a second further away than one that is known well."""
_CONVICTED = "a fraud proof names it"
_WIDEN_S = 30.0
"""How often a client in use that knows fewer than `ENOUGH` good nodes looks for more, without keeping a job waiting."""
_NEWCOMERS_S = 300.0
"""How often a client in use looks for nodes that have joined, however many good ones it knows: or none could join."""
_WIDEN_AFTER_FAILURE_S = 5.0
"""How soon after such a search another may begin, if a node has failed a job since."""


class RemoteDialler(Dialler):
    """Dials nodes that a directory lists. `pinned`: use only this node, at `addresses`; `denied`: PeerIds of nodes to use never."""

    def __init__(
        self,
        network: Network,
        directory: Directory,
        *,
        node_class: str = ANY_NODE,
        pinned: PeerId | None = None,
        addresses: tuple[str, ...] = (),
        denied: Collection[str] = (),
        reputation: Reputation | None = None,
        fresh: Callable[[], AbstractAsyncContextManager[Network]] | None = None,
        at_random: bool = False,
    ) -> None:
        """`fresh`: opens a network with a fresh identity, for jobs that are not to be seen together.

        `at_random`: draw the nodes, one network as likely as another, instead of the best.
        """
        super().__init__()
        self._fresh = fresh
        self._at_random = at_random
        self._denied = denied
        self.reputation = reputation or Reputation()
        self._network = network
        self._directory = directory
        self._node_class = node_class
        self._pinned = pinned
        self._known: dict[PeerId, tuple[str, ...]] = {pinned: addresses} if pinned and addresses else {}
        self._nodes = KnownNodes(doubt_s=self._doubt_s)
        self._searching = OneAtATime()
        self._asking = OneAtATime()
        self._next_search_at = float("-inf")
        self._pause_s = _FIRST_PAUSE_S
        self._last = Search()
        self._is_used = False
        """Whether a node was chosen since more of them were looked for."""
        self._one_failed = trio.Event()

    @property
    def fails_over(self) -> bool:
        return self._pinned is None

    @property
    def has_known_nodes(self) -> bool:
        return self._nodes.ever_found

    def standing(self, signer: PeerId) -> Standing | None:
        if signer != self._pinned:
            return None
        return Standing.CONVICTED if self.shuns(signer) else Standing.NAMED

    def failed(self, peer: PeerId, *, lied: bool = False) -> None:
        self._nodes.failed(peer, LIED if lied else LOST)
        self._one_failed.set()

    def succeeded(self, peer: PeerId) -> None:
        self._nodes.succeeded(peer)

    def histories(self) -> list[NodeHistory]:
        return [self.reputation.history(candidate.peer) for candidate in self._usable(None, ())]

    def network_of(self, peer: PeerId) -> str | None:
        return self.reputation.network(peer)

    @asynccontextmanager
    async def apart(self, *, at_random: bool = False) -> AsyncIterator[Dialler]:
        other = copy.copy(self)  # the copy shares the table of known nodes
        other._at_random = at_random
        if self._fresh is None:
            yield other
            return
        async with self._fresh() as network:
            other._network, other.kept = network, KeptStreams()
            async with other.kept.open():
                yield other

    def shuns(self, peer: PeerId) -> bool:
        return self.reputation.history(peer).is_convicted

    def _doubt_s(self, peer: PeerId) -> float:
        history = self.reputation.history(peer)
        doubt = _MOST_DOUBT if history.is_outvoted else node_error(history) / LIARS
        return _DOUBT_S * min(_MOST_DOUBT, doubt)

    @asynccontextmanager
    async def converse(
        self, peer: PeerId | None, *, job: Submission | None = None, avoid: Collection[PeerId | str] = ()
    ) -> AsyncIterator[tuple[Link, PeerId]]:
        wanted = peer or self._pinned
        if wanted is not None and wanted == self._pinned and self.shuns(wanted):
            proof = self.reputation.history(wanted).proof
            log.warning(
                "the node that you named is convicted by a fraud proof node=%s proof=%s", wanted, proof
            )
        problems: list[str] = []
        tried: set[PeerId] = set()
        while (candidate := await self._next(wanted, job, avoid, tried)) is not None:
            found, addresses = candidate
            tried.add(found)
            # Count the job before dialling: concurrent jobs choose now too, and must not all choose this node.
            with self._nodes.job_at(found):
                kept = await self.kept.take(str(found))
                if kept is not None:
                    async with self.kept.converse(kept) as link:
                        yield link, found
                    return
                started = trio.current_time()
                try:
                    stream = await self._dial(found, addresses, JOB_PROTOCOL)
                except PeerUnreachableError as exc:
                    self._lost(found, str(exc), started, blamed=bool(self._nodes.answered_at(found)))
                    problems.append(str(exc))
                    continue
                async with open_link(stream, heartbeats=self.kept.heartbeats) as link:
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
                    link.keep = partial(self.kept.put, str(found), link, found)
                    yield link, found
                    return
        raise self._unreachable(wanted, problems)

    async def _next(
        self,
        wanted: PeerId | None,
        job: Submission | None,
        avoid: Collection[PeerId | str],
        tried: set[PeerId],
    ) -> tuple[PeerId, tuple[str, ...]] | None:
        """Return the node that is wanted, or else the best by now, and its addresses; None if all or 16 were tried."""
        if wanted is not None:
            return None if tried else (wanted, await self._whereabouts(wanted))
        if len(tried) >= _MOST_TRIED:
            return None
        chosen = await self.choose(job, avoid={*avoid, *tried})
        if not chosen:
            return None
        if self._at_random:
            candidate = any_network(chosen, self._nodes, self.reputation)
        elif avoid or tried:
            candidate = chosen[0]
        else:
            candidate = best_or_new(chosen, self._nodes, self.reputation)
        return candidate.peer, candidate.addresses

    async def keep_enough(self) -> None:
        """Search for more nodes from time to time while jobs run, rarely if enough good ones are known. Does not return.

        A job's own search ends soon after the first nodes have answered; without this task, slower nodes and nodes
        that were lost once would stay unknown. It searches at once when a node fails a job: the nodes that answered
        first may all be of one kind.
        """
        looked_at = trio.current_time()
        while self._pinned is None:
            with trio.move_on_after(_WIDEN_S):
                await self._one_failed.wait()
            self._one_failed = trio.Event()
            good = sum(self._nodes.own_failures(c.peer) == 0 for c in self._nodes.fresh())
            if self._is_used and (good < ENOUGH or trio.current_time() - looked_at >= _NEWCOMERS_S):
                self._is_used, looked_at = False, trio.current_time()
                with contextlib.suppress(PlasmError):
                    await self.candidates(enough=_MOST_FOUND, settle_s=SEARCH_S)
                await trio.sleep(_WIDEN_AFTER_FAILURE_S)

    def _lost(self, peer: PeerId, reason: str, since: float, *, blamed: bool = True) -> None:
        """Take note of a failure, and of how long after `since`, a moment of trio's clock, it came."""
        if blamed:
            self._nodes.failed(peer)
            self._one_failed.set()
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
                    f"no address of the node {peer} is known",
                    hint="it may be down; its handle stays valid until it is back",
                )
            self._known[peer] = addresses
        return self._known[peer]

    async def _dial(self, peer: PeerId, addresses: tuple[str, ...], protocol: str) -> Stream:
        """Open a stream to a peer. Raises: `NotThereError`."""
        try:
            return await dial_first(self._network, peer, addresses, protocol)
        except NotThereError:
            self._known.pop(peer, None)
            raise

    async def choose(
        self, job: Submission | None, *, avoid: Collection[PeerId | str] = ()
    ) -> list[Candidate]:
        """Return nodes that accept the job, the best first: known ones, or else those that a search finds.

        Concurrent callers share one search and one query to each known node. After a search without a result, the
        next one is delayed.
        """
        self._is_used = True
        usable = self._usable(job, avoid)
        if not usable and self._nodes.stale():
            await self._ask_again()
            usable = self._usable(job, avoid)
        if not usable or all(self._is_spent(candidate) for candidate in usable):
            await self._search(job, avoid)
            usable = self._usable(job, avoid)
        return usable

    def _usable(self, job: Submission | None, avoid: Collection[PeerId | str]) -> list[Candidate]:
        found = [
            candidate
            for candidate in self._nodes.fresh()
            if candidate.peer not in avoid
            and candidate.group not in avoid
            and not self.shuns(candidate.peer)
            and self._passed_over(candidate.record, job) is None
        ]
        if not avoid:
            return sorted(found, key=self._nodes.rank)
        # A job that has met a bad node goes to one that has done jobs before it tries another stranger.
        return sorted(found, key=lambda c: (not self._nodes.has_done_jobs(c.peer), self._nodes.rank(c)))

    def _is_spent(self, candidate: Candidate) -> bool:
        """Return whether a better node would be worth a search: this one failed, or has enough of our jobs."""
        return self._nodes.own_failures(candidate.peer) > 0 or self._nodes.excess(candidate) > _CROWD

    async def survey(self, job: Submission, *, enough: int, settle_s: float | None = None) -> list[Candidate]:
        """Search the directory once for nodes that take a job. Return all that are known then, the best first."""
        await self.candidates(job, enough=enough, settle_s=SETTLE_S if settle_s is None else settle_s)
        return self._usable(job, ())

    def nobody(self) -> PeerUnreachableError:
        """Return the error that says why the last search found no node."""
        return self._unreachable(None, [])

    async def _ask_again(self) -> None:
        """Ask the known nodes for new records."""
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

    async def _search(self, job: Submission | None, avoid: Collection[PeerId | str]) -> None:
        with self._searching.lead() as leads:
            if not leads:
                await self._searching.follow()
                return
            if trio.current_time() < self._next_search_at:
                if self._usable(job, avoid):
                    return
                await trio.sleep_until(self._next_search_at)
            before = {candidate.peer for candidate in self._nodes.fresh()}
            enough, settle_s = (ENOUGH_TO_DRAW, SETTLE_TO_DRAW_S) if self._at_random else (ENOUGH, SETTLE_S)
            found = await self.candidates(job, avoid=avoid, enough=enough, settle_s=settle_s)
            is_new = any(candidate.peer not in before for candidate in found)
            self._pause_s = _FIRST_PAUSE_S if is_new else min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self._next_search_at = trio.current_time() + self._pause_s

    async def candidates(
        self,
        job: Submission | None = None,
        *,
        avoid: Collection[PeerId | str] = (),
        enough: int = ENOUGH,
        settle_s: float = SETTLE_S,
        convicted: bool = False,
    ) -> list[Candidate]:
        """Search the directory for nodes that accept the job, and return those that answered, the best first.

        The search ends when `enough` nodes have answered, `settle_s` seconds after the first, or after `SEARCH_S`.
        `convicted`: also those that a fraud proof names. If it finds no node, the bootstrap nodes themselves are asked: a node that knows no other is listed nowhere.
        """
        found: list[Candidate] = []
        self._last = last = Search(began_at=trio.current_time())
        some, done, places = trio.Event(), trio.Event(), trio.CapacityLimiter(_PROBES_AT_ONCE)
        asked: set[PeerId] = set()

        async def probe(peer: PeerId, addresses: tuple[str, ...]) -> None:
            async with places:
                candidate = await self._consider(peer, addresses)
            if candidate is None:
                last.silent += 1
                return
            lacking = self._passed_over(candidate.record, job)
            if lacking is not None:
                last.refused[lacking] = last.refused.get(lacking, 0) + 1
                log.info("peer passed over peer=%s reason=%s", peer, lacking)
                return
            log.info("peer found peer=%s latency_s=%.3f", peer, candidate.latency_s)
            if self.shuns(peer) and not convicted:
                last.refused[_CONVICTED] = last.refused.get(_CONVICTED, 0) + 1
                log.info("peer passed over peer=%s reason=%s", peer, _CONVICTED)
                return
            if peer in avoid or candidate.group in avoid:
                return  # its record was requested for the jobs that share this search
            found.append(candidate)
            if self._nodes.own_failures(peer) > 0:
                return  # used if no better node is found
            last.good += 1
            some.set()
            if last.good >= enough:
                done.set()

        async def search() -> None:
            async with (
                trio.open_nursery() as nursery,
                self._directory.find(self._node_class, _MOST_FOUND) as peers,
            ):
                async for peer, addresses in peers:
                    last.asked += 1
                    asked.add(peer)
                    nursery.start_soon(probe, peer, addresses)
            if not found:
                async with trio.open_nursery() as nursery:
                    for peer, addresses in self._directory.bootstrap_nodes:
                        if peer not in asked:
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

    def _passed_over(self, record: CapabilityRecord, job: Submission | None) -> str | None:
        """Return why a node that answered is none to be found here, or None."""
        if not record.lends:
            return "it does not lend"
        if self._node_class not in record.classes:
            return f"it is not of the class {self._node_class}"
        if record.peer in self._denied:
            return "the policy denies it"
        return _lacking(record, job)

    async def _consider(self, peer: PeerId, addresses: tuple[str, ...]) -> Candidate | None:
        """Ask a node for its capability record, and remember the result.

        A node that has answered before is also dialled at that address. If it never has, and is not at an address that
        others report, that is not counted as its failure: the report may be false.
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
        self.reputation.seen(peer, candidate.group)
        self._nodes.heard(candidate, usable=self._passed_over(candidate.record, None) is None)
        return candidate

    async def _probe(self, peer: PeerId, addresses: tuple[str, ...]) -> Candidate:
        """Ask a node for its capability record. Raises: `PlasmError`."""
        started = trio.current_time()
        stream = await self._dial(peer, addresses, CAPABILITIES_PROTOCOL)
        record = await read_record(stream, peer)
        self._known[peer] = addresses
        return Candidate(
            peer=peer,
            addresses=addresses,
            record=record,
            latency_s=trio.current_time() - started,
            group=stream.remote_group,
        )


def _lacking(record: CapabilityRecord, job: Submission | None) -> str | None:
    if job is None:
        return None
    return record.lacks(
        job.manifest,
        module_bytes=job.sources[Channel.MODULE].size_bytes,
        stdin_bytes=job.sources[Channel.STDIN].size_bytes,
        tree_bytes=job.sizes.of(Channel.FILES),
    )
