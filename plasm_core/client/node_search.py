"""Search the directory for nodes, ask each for its capability record, and remember those that answered."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Collection

import trio

from plasm_core.background_tasks import alongside
from plasm_core.client.known_nodes import Candidate, KnownNodes, OneAtATime
from plasm_core.client.probe import NotThereError, Search, dial_first, read_record
from plasm_core.client.reputation import Reputation
from plasm_core.client.submission import Submission
from plasm_core.errors import PeerUnreachableError, PlasmError
from plasm_core.plugins.interfaces import Directory, Network, Stream
from plasm_core.protocol import CAPABILITIES_PROTOCOL
from plasm_core.protocol.channels import Channel
from plasm_core.records.capabilities import CapabilityRecord
from plasm_core.records.peer import PeerId

log = logging.getLogger(__name__)

SEARCH_S = 10.0
SETTLE_S = 0.5
"""How long to look for better nodes once there is one."""
ENOUGH = 4
MOST_FOUND = 64
_MOST_ADDRESSES = 16
"""How many addresses at which a node has answered, and how many reported by others, are tried."""
_PROBES_AT_ONCE = 8
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0
"""How long after one search another begins: every search costs the directory's nodes, which limit each peer."""
_CONVICTED = "a fraud proof names it"


class NodeSearch:
    """Searches a directory for nodes of a class. `nodes` remembers those that answered, and the failures of others.

    Concurrent callers share one search and one query to each known node.
    """

    def __init__(
        self,
        network: Network,
        directory: Directory,
        nodes: KnownNodes,
        reputation: Reputation,
        *,
        node_class: str,
        denied: Collection[str],
        addresses: dict[PeerId, tuple[str, ...]],
    ) -> None:
        """`denied`: PeerIds of nodes that are never found. `addresses`: where nodes are known to be; it grows."""
        self.last = Search()
        """The latest search: how many nodes it asked, and why they were not found."""
        self._network = network
        self._directory = directory
        self._nodes = nodes
        self._reputation = reputation
        self._node_class = node_class
        self._denied = denied
        self._addresses = addresses
        self._searching = OneAtATime()
        self._asking = OneAtATime()
        self._next_search_at = float("-inf")
        self._pause_s = _FIRST_PAUSE_S

    def over(self, network: Network | None = None) -> NodeSearch:
        """Return a search over another network, None for the same, with the same directory and known nodes."""
        other = copy.copy(self)
        other._network = network or self._network
        return other

    async def whereabouts(self, peer: PeerId) -> tuple[str, ...]:
        """Return addresses of a peer. Raises: `PeerUnreachableError`."""
        if peer not in self._addresses:
            addresses: tuple[str, ...] = ()
            with trio.move_on_after(SEARCH_S):
                addresses = await self._directory.locate(peer)
            if not addresses:
                raise PeerUnreachableError(
                    f"no address of the node {peer} is known",
                    hint="it may be down; its handle stays valid until it is back",
                )
            self._addresses[peer] = addresses
        return self._addresses[peer]

    async def dial(self, peer: PeerId, addresses: tuple[str, ...], protocol: str) -> Stream:
        """Open a stream to a peer. Raises: `NotThereError`."""
        try:
            return await dial_first(self._network, peer, addresses, protocol)
        except NotThereError:
            self._addresses.pop(peer, None)
            raise

    def lost(self, peer: PeerId, reason: str, since: float, *, blamed: bool = True) -> None:
        """Take note of a failure, and of how long after `since`, a moment of trio's clock, it came."""
        if blamed:
            self._nodes.failed(peer)
        self._nodes.forget_record(peer)
        log.info("peer lost peer=%s reason=%s duration_s=%.3f", peer, reason, trio.current_time() - since)

    async def ask_again(self) -> None:
        """Ask the known nodes whose records are too old to use for new ones."""
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

    async def shared(
        self,
        job: Submission | None,
        *,
        avoid: Collection[PeerId | str],
        enough: int,
        settle_s: float,
        is_needless: Callable[[], bool],
    ) -> None:
        """Search as `candidates` does, or wait for the search that is under way.

        After a search that found no new node, the next one is delayed. `is_needless`: whether there is a node by now,
        so that a search which would be delayed is not made.
        """
        with self._searching.lead() as leads:
            if not leads:
                await self._searching.follow()
                return
            if trio.current_time() < self._next_search_at:
                if is_needless():
                    return
                await trio.sleep_until(self._next_search_at)
            before = {candidate.peer for candidate in self._nodes.fresh()}
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
        `convicted`: also those that a fraud proof names. If it finds no node, the bootstrap nodes themselves are asked:
        a node that knows no other is listed nowhere.
        """
        found: list[Candidate] = []
        self.last = last = Search(began_at=trio.current_time())
        some, done, places = trio.Event(), trio.Event(), trio.CapacityLimiter(_PROBES_AT_ONCE)
        asked: set[PeerId] = set()

        async def probe(peer: PeerId, addresses: tuple[str, ...]) -> None:
            async with places:
                candidate = await self._consider(peer, addresses)
            if candidate is None:
                last.silent += 1
                return
            lacking = self.passed_over(candidate.record, job)
            if lacking is not None:
                last.refused[lacking] = last.refused.get(lacking, 0) + 1
                log.info("peer passed over peer=%s reason=%s", peer, lacking)
                return
            log.info("peer found peer=%s latency_s=%.3f", peer, candidate.latency_s)
            if self._reputation.history(peer).is_convicted and not convicted:
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
                self._directory.find(self._node_class, MOST_FOUND) as peers,
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

    def passed_over(self, record: CapabilityRecord, job: Submission | None) -> str | None:
        """Return why a node that answered does not count as found for a job; None if it does."""
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
            self.lost(peer, str(exc), started, blamed=bool(proved))
            return None
        except PlasmError as exc:
            self.lost(peer, str(exc), started)
            return None
        self._reputation.seen(peer, candidate.group)
        self._nodes.heard(candidate, usable=self.passed_over(candidate.record, None) is None)
        return candidate

    async def _probe(self, peer: PeerId, addresses: tuple[str, ...]) -> Candidate:
        """Ask a node for its capability record. Raises: `PlasmError`."""
        started = trio.current_time()
        stream = await self.dial(peer, addresses, CAPABILITIES_PROTOCOL)
        record = await read_record(stream, peer)
        self._addresses[peer] = addresses
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
