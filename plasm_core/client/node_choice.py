"""Choose a node for each job: rank the candidates that a search found, draw newcomers, and dial one."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import trio

from plasm_core.assurance import Standing
from plasm_core.client.connection import Link, open_link
from plasm_core.client.dial import DIAL_S, Dialler
from plasm_core.client.kept_streams import KeptStreams
from plasm_core.client.known_nodes import LIED, LOST, Candidate, KnownNodes
from plasm_core.client.node_draw import any_network, best_or_new
from plasm_core.client.node_search import ENOUGH, MOST_FOUND, SEARCH_S, SETTLE_S, NodeSearch
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
from plasm_core.plugins.interfaces import Directory, Network
from plasm_core.protocol import ANY_NODE, JOB_PROTOCOL
from plasm_core.records.credibility import LIARS, node_error
from plasm_core.records.history import NodeHistory
from plasm_core.records.peer import PeerId

log = logging.getLogger(__name__)

ENOUGH_TO_DRAW, SETTLE_TO_DRAW_S = 16, 2.0
"""How many nodes are enough, and how long to look for more, where nodes are drawn at random: those that answer first
may be of one owner.
"""
_MOST_TOLD = 5
_CROWD = 8
"""How many jobs beyond a node's number of processors make the client look for other nodes."""
_MOST_TRIED = 16
"""How many nodes one attempt tries that do not even introduce themselves: keys cost nothing."""
_DOUBT_S, _MOST_DOUBT = 1.0, 5.0
"""A node of which nothing is known ranks like one that is a second further away than one that is known well."""
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
        self.reputation = reputation or Reputation()
        self._pinned = pinned
        self._nodes = KnownNodes(doubt_s=self._doubt_s)
        self.search = NodeSearch(
            network,
            directory,
            self._nodes,
            self.reputation,
            node_class=node_class,
            denied=denied,
            addresses={pinned: addresses} if pinned and addresses else {},
        )
        self._is_used = False
        """Whether a node was chosen since more of them were looked for."""

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
        other.search = self.search.over()
        if self._fresh is None:
            yield other
            return
        async with self._fresh() as network:
            other.search, other.kept = self.search.over(network), KeptStreams()
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
                    stream = await self.search.dial(found, addresses, JOB_PROTOCOL)
                except PeerUnreachableError as exc:
                    self.search.lost(found, str(exc), started, blamed=bool(self._nodes.answered_at(found)))
                    problems.append(str(exc))
                    continue
                async with open_link(stream, heartbeats=self.kept.heartbeats) as link:
                    try:
                        with within(DIAL_S, found, "introduced itself"):
                            said = await greeted(link)
                    except (ConnectionLostError, ProtocolError, NodeStalledError) as exc:
                        self.search.lost(found, str(exc), started)
                        problems.append(str(exc))
                        continue
                    if said != found:
                        self.search.lost(found, f"it says that it is {said}", started)
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
            return None if tried else (wanted, await self.search.whereabouts(wanted))
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
                await self._nodes.one_failed.wait()
            self._nodes.one_failed = trio.Event()
            good = sum(self._nodes.own_failures(c.peer) == 0 for c in self._nodes.fresh())
            if self._is_used and (good < ENOUGH or trio.current_time() - looked_at >= _NEWCOMERS_S):
                self._is_used, looked_at = False, trio.current_time()
                with contextlib.suppress(PlasmError):
                    await self.search.candidates(enough=MOST_FOUND, settle_s=SEARCH_S)
                await trio.sleep(_WIDEN_AFTER_FAILURE_S)

    def _unreachable(self, wanted: PeerId | None, problems: list[str]) -> PeerUnreachableError:
        if wanted is not None:
            return PeerUnreachableError(f"cannot talk to the node {wanted}: {'; '.join(problems)}")
        if problems:
            return PeerUnreachableError(f"no node could be used: {'; '.join(problems[:_MOST_TOLD])}")
        return PeerUnreachableError(
            f"no node was found that takes this job: {self.search.last}",
            hint="see who there is with: plasm peers; a node at a private address is named with --peer",
        )

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
            await self.search.ask_again()
            usable = self._usable(job, avoid)
        if not usable or all(self._is_spent(candidate) for candidate in usable):
            enough, settle_s = (ENOUGH_TO_DRAW, SETTLE_TO_DRAW_S) if self._at_random else (ENOUGH, SETTLE_S)
            await self.search.shared(
                job,
                avoid=avoid,
                enough=enough,
                settle_s=settle_s,
                is_needless=lambda: bool(self._usable(job, avoid)),
            )
            usable = self._usable(job, avoid)
        return usable

    def _usable(self, job: Submission | None, avoid: Collection[PeerId | str]) -> list[Candidate]:
        found = [
            candidate
            for candidate in self._nodes.fresh()
            if candidate.peer not in avoid
            and candidate.group not in avoid
            and not self.shuns(candidate.peer)
            and self.search.passed_over(candidate.record, job) is None
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
        await self.search.candidates(job, enough=enough, settle_s=SETTLE_S if settle_s is None else settle_s)
        return self._usable(job, ())

    def nobody(self) -> PeerUnreachableError:
        """Return the error that says why the last search found no node."""
        return self._unreachable(None, [])
