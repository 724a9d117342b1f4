"""Whether this node is reachable: peers dial it back, and inbound connections with the right nonce count."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Protocol

import attrs
import trio
from multiaddr import Multiaddr

from plasm_core.address_classes import IPAddress
from plasm_core.errors import PlasmError
from plasm_core.randomness import RANDOM
from plasm_core.records.peer import PeerId
from plasm_core.records.reachability import AddressReach, ReachabilityVerdict
from plasm_transport_libp2p import framing
from plasm_transport_libp2p.addresses import Port, ip_of, is_public, is_relayed, kind_of, port_of
from plasm_transport_libp2p.autonat.dial_back import ANSWER_S
from plasm_transport_libp2p.autonat.inbound_proof import DialBackReceiver, NonceArrivals
from plasm_transport_libp2p.autonat.message import (
    CARRIERS,
    MAX_BYTES,
    MAX_PORTS,
    PROTOCOL,
    DialAttempt,
    DialBackRequest,
    DialBackResponse,
)
from plasm_transport_libp2p.autonat.observed_addresses import majority_addresses
from plasm_transport_libp2p.identify.identify import multiaddr_of
from plasm_transport_libp2p.interfaces import ConnectionTable, PeerNetwork

log = logging.getLogger(__name__)

_ASKED = 3


@attrs.frozen(kw_only=True)
class DialEvidence:
    """One dial to one of this node's addresses. `fresh`: from a host that this node had sent no packet to."""

    by: PeerId
    host: str
    ok: bool
    reason: str
    fresh: bool

    def __str__(self) -> str:
        whom = f"{self.by} at {self.host}" + ("" if self.fresh else ", which this node had spoken to,")
        return f"{whom} got through" if self.ok else f"{whom} did not get through: {self.reason}"


def verdict_of(evidence: Iterable[DialEvidence], *, own: bool) -> ReachabilityVerdict:
    """Return the verdict on an address. `own`: of this machine, or of a router that forwards it by a port mapping.

    A dial from a fresh host that succeeds proves that the address is public. From another host it proves it only if
    no NAT filters by address (`own`). Failures make it private if there are at least two.
    """
    found = list(evidence)
    fresh = [item for item in found if item.fresh]
    if any(item.ok for item in fresh):
        return ReachabilityVerdict.PUBLIC
    failures = [item for item in found if not item.ok]
    if fresh and len(failures) > 1:
        return ReachabilityVerdict.PRIVATE
    known = [item for item in found if not item.fresh]
    if known and not fresh:
        if not any(item.ok for item in known):
            return ReachabilityVerdict.PRIVATE
        return ReachabilityVerdict.PUBLIC if own else ReachabilityVerdict.UNKNOWN
    return (
        ReachabilityVerdict.PRIVATE
        if fresh and any(item.ok for item in known) and not own
        else ReachabilityVerdict.UNKNOWN
    )


@attrs.frozen(kw_only=True)
class ProbeResult:
    """The result of one round: verdicts by address, and the addresses at which peers see this node."""

    addresses: tuple[AddressReach, ...]
    observed: tuple[Multiaddr, ...]
    asked: int


@attrs.frozen(kw_only=True)
class _PeerReport:
    """One peer's answer: at which address it sees this node, and which dials it reports."""

    by: PeerId
    host: str
    seen: Multiaddr
    ip: IPAddress
    attempts: tuple[tuple[DialAttempt, str | None], ...]
    """Each with the IP address of the connection that brought the nonce, None if none did."""


class ProbingNetwork(PeerNetwork, Protocol):
    """A host that knows which hosts its router lets in because it has sent them packets."""

    def contacted(self, carrier: str) -> set[str]:
        """Return the IP addresses dialled lately, and those of connections over other carriers."""

    def dialled(self) -> set[str]:
        """Return the IP addresses dialled lately."""


async def probe(
    network: ProbingNetwork, callers: DialBackReceiver, ports: Iterable[Port], mapped: Collection[Port] = ()
) -> ProbeResult:
    """Ask three connected peers to dial this node back. Their failures do not raise.

    A reported success counts only if a connection brought the nonce of this request. The observed address cannot be
    proved: the one that a strict majority of the peers report counts, per IP version.
    `mapped`: the external ports of a router's port mappings.
    """
    told: list[_PeerReport] = []
    asked = 0
    wanted = tuple(dict.fromkeys(ports))[:MAX_PORTS]
    contacted = {carrier: network.contacted(carrier) for carrier in CARRIERS}

    async def ask(peer: PeerId, host: str) -> None:
        nonlocal asked
        with callers.expect() as calls:
            answer = await _ask(network, peer, DialBackRequest(ports=wanted, nonce=calls.nonce))
            if answer is None:
                return
            asked += 1
            seen = multiaddr_of(answer.observed)
            ip = ip_of(seen) if seen is not None else None
            if seen is None or ip is None or not is_public(seen) or kind_of(seen) is None:
                return
            attempts = [
                (item, _came_from(calls, item))
                for item in answer.attempts
                if (item.carrier, item.port) in wanted
            ]
            told.append(_PeerReport(by=peer, host=host, seen=seen, ip=ip, attempts=tuple(attempts)))

    async with trio.open_nursery() as nursery:
        for peer, host in _whom_to_ask(network):
            nursery.start_soon(ask, peer, host)
    places = majority_addresses([item.ip for item in told])
    believed = [item for item in told if places.get(item.ip.version) == item.ip]
    dialled = network.dialled()  # includes dial-backs that this node made for others meanwhile
    evidence: dict[str, list[DialEvidence]] = {}
    for item in believed:
        for attempt, came_from in item.attempts:
            spoken_to = contacted[attempt.carrier] | dialled
            tail = f"tcp/{attempt.port}" if attempt.carrier == "tcp" else f"udp/{attempt.port}/quic-v1"
            evidence.setdefault(f"/ip{item.ip.version}/{item.ip}/{tail}", []).append(
                _weigh(attempt, came_from, asked=item.by, host=item.host, spoken_to=spoken_to)
            )
    local = {str(ip_of(address)) for address in network.listening()}

    def is_own(address: Multiaddr) -> bool:
        return str(ip_of(address)) in local or (kind_of(address) or "", port_of(address)) in mapped

    reached = [
        AddressReach(
            address=address,
            verdict=verdict_of(found, own=is_own(Multiaddr(address))),
            evidence=tuple(dict.fromkeys(map(str, found))),
        )
        for address, found in sorted(evidence.items())
    ]
    observed = tuple(dict.fromkeys(item.seen for item in believed))
    return ProbeResult(addresses=tuple(reached), observed=observed, asked=asked)


def _came_from(calls: NonceArrivals, attempt: DialAttempt) -> str | None:
    call = calls.take(attempt.by, attempt.carrier) if attempt.ok else None
    return call.host if call is not None else None


def _weigh(
    attempt: DialAttempt, came_from: str | None, *, asked: PeerId, host: str, spoken_to: Collection[str]
) -> DialEvidence:
    """Return the evidence of one dial, reported by the peer `asked` at `host`."""
    from_host = came_from or attempt.host or host
    reason = attempt.reason
    if attempt.ok and came_from is None:
        reason = f"{asked} reports a success, but no connection brought the nonce"
        log.warning("dial back reported without its nonce by=%s told_by=%s", attempt.by, asked)
    return DialEvidence(
        by=attempt.by,
        host=from_host,
        ok=came_from is not None,
        reason=reason,
        fresh=attempt.by != asked and from_host not in spoken_to,
    )


def listened_ports(network: ConnectionTable) -> list[tuple[Port, IPAddress | None]]:
    """Return the ports from 1024 on that this node listens on, each with its IP address, None for a name."""
    return [
        ((kind_of(address) or "", port_of(address)), ip_of(address))
        for address in network.listening()
        if kind_of(address) is not None and port_of(address) >= 1024
    ]


def _whom_to_ask(network: PeerNetwork) -> list[tuple[PeerId, str]]:
    found = []
    for peer in network.connected:
        address = network.connection_address(peer)
        if address is not None and not is_relayed(address) and is_public(address):
            found.append((peer, str(ip_of(address))))
    return RANDOM.sample(found, min(len(found), _ASKED))


async def _ask(network: PeerNetwork, peer: PeerId, request: DialBackRequest) -> DialBackResponse | None:
    try:
        with trio.fail_after(ANSWER_S):
            stream = await network.dial(f"/p2p/{peer}", PROTOCOL)
            try:
                await stream.send_all(framing.encode(request.encode()))
                return DialBackResponse.decode(await framing.read_one(stream, MAX_BYTES))
            finally:
                await stream.aclose()
    except (PlasmError, trio.TooSlowError) as exc:
        log.debug("dial back not asked for peer=%s reason=%s", peer, exc)
        return None
