"""Deciding whether this node is reached: others try, and what counts is who really came."""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Iterable

import attrs
import trio
from multiaddr import Multiaddr

from plasm_core.errors import PlasmError
from plasm_core.records.peer import PeerId
from plasm_core.records.reachability import AddressReach, Verdict
from plasm_transport_libp2p import framing
from plasm_transport_libp2p.address_classes import IPAddress
from plasm_transport_libp2p.addresses import ip_of, is_public, is_relayed, kind_of, port_of
from plasm_transport_libp2p.identify import multiaddr_of
from plasm_transport_libp2p.network import Libp2pNetwork
from plasm_transport_libp2p.reachability.callers import Callers, Calls
from plasm_transport_libp2p.reachability.dialback import ANSWER_S
from plasm_transport_libp2p.reachability.message import (
    CARRIERS,
    MAX_BYTES,
    MAX_PORTS,
    PROTOCOL,
    Answer,
    Attempt,
    Port,
    Request,
)
from plasm_transport_libp2p.reachability.witnesses import agreed

log = logging.getLogger(__name__)

_ASKED = 3


@attrs.frozen(kw_only=True)
class Evidence:
    """One dial of one of this node's addresses. `fresh`: from a host that this node had not spoken to."""

    by: PeerId
    host: str
    ok: bool
    reason: str
    fresh: bool

    def __str__(self) -> str:
        whom = f"{self.by} at {self.host}" + ("" if self.fresh else ", which this node had spoken to,")
        return f"{whom} got through" if self.ok else f"{whom} did not get through: {self.reason}"


def judge(evidence: Iterable[Evidence], *, own: bool) -> Verdict:
    """Return the verdict on an address. `own`: this machine's, or one of a router's that forwards whatever comes.

    A stranger who gets through proves it. One who was spoken to before proves it only if there is no router that
    could have let just him in; and that strangers did not get through counts if there is more than one witness.
    """
    found = list(evidence)
    fresh = [item for item in found if item.fresh]
    if any(item.ok for item in fresh):
        return Verdict.PUBLIC
    failures = [item for item in found if not item.ok]
    if fresh and len(failures) > 1:
        return Verdict.PRIVATE
    known = [item for item in found if not item.fresh]
    if known and not fresh:
        if not any(item.ok for item in known):
            return Verdict.PRIVATE
        return Verdict.PUBLIC if own else Verdict.UNKNOWN
    return Verdict.PRIVATE if fresh and any(item.ok for item in known) and not own else Verdict.UNKNOWN


@attrs.frozen(kw_only=True)
class Probe:
    """What a round of asking brought: verdicts, and where this node is seen."""

    addresses: tuple[AddressReach, ...]
    observed: tuple[Multiaddr, ...]
    asked: int


@attrs.frozen(kw_only=True)
class _Told:
    """What one peer says of one round: where it sees this node, and whom it knows to have dialled."""

    by: PeerId
    host: str
    seen: Multiaddr
    ip: IPAddress
    attempts: tuple[tuple[Attempt, str | None], ...]
    """Each with the IP address that the dialler was seen at, None if nobody came."""


async def probe(
    network: Libp2pNetwork, callers: Callers, ports: Iterable[Port], mapped: Collection[Port] = ()
) -> Probe:
    """Ask some of the peers that are connected. None of their failures raises.

    A claim to have got through is worth nothing unless somebody came, with the nonce of this question. Where this
    node is seen cannot be proved: of each version of IP, the address counts that most of those name who are asked.
    `mapped`: those of a router that forwards them, whoever it is that comes.
    """
    told: list[_Told] = []
    asked = 0
    wanted = tuple(dict.fromkeys(ports))[:MAX_PORTS]
    contacted = {carrier: network.contacted(carrier) for carrier in CARRIERS}

    async def ask(peer: PeerId, host: str) -> None:
        nonlocal asked
        with callers.expect() as calls:
            answer = await _ask(network, peer, Request(ports=wanted, nonce=calls.nonce))
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
            told.append(_Told(by=peer, host=host, seen=seen, ip=ip, attempts=tuple(attempts)))

    async with trio.open_nursery() as nursery:
        for peer, host in _whom_to_ask(network):
            nursery.start_soon(ask, peer, host)
    places = agreed([item.ip for item in told])
    believed = [item for item in told if places.get(item.ip.version) == item.ip]
    dialled = network.dialled()  # meanwhile, perhaps at the request of others
    evidence: dict[str, list[Evidence]] = {}
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
            verdict=judge(found, own=is_own(Multiaddr(address))),
            evidence=tuple(dict.fromkeys(map(str, found))),
        )
        for address, found in sorted(evidence.items())
    ]
    observed = tuple(dict.fromkeys(item.seen for item in believed))
    return Probe(addresses=tuple(reached), observed=observed, asked=asked)


def _came_from(calls: Calls, attempt: Attempt) -> str | None:
    call = calls.take(attempt.by, attempt.carrier) if attempt.ok else None
    return call.host if call is not None else None


def _weigh(
    attempt: Attempt, came_from: str | None, *, asked: PeerId, host: str, spoken_to: Collection[str]
) -> Evidence:
    """Return what an attempt is evidence of. `asked` told of it, and is at `host`."""
    from_host = came_from or attempt.host or host
    reason = attempt.reason
    if attempt.ok and came_from is None:
        reason = f"{asked} says that it got through, but nobody came"
        log.warning("dial back claimed, and nobody came by=%s told_by=%s", attempt.by, asked)
    return Evidence(
        by=attempt.by,
        host=from_host,
        ok=came_from is not None,
        reason=reason,
        fresh=attempt.by != asked and from_host not in spoken_to,
    )


def listened_ports(network: Libp2pNetwork) -> list[tuple[Port, IPAddress | None]]:
    """Return the ports that this node listens on, and at which address."""
    return [
        ((kind_of(address) or "", port_of(address)), ip_of(address))
        for address in network.listening()
        if kind_of(address) is not None and port_of(address) >= 1024
    ]


def _whom_to_ask(network: Libp2pNetwork) -> list[tuple[PeerId, str]]:
    found = []
    for peer in network.connected:
        address = network.connection_address(peer)
        if address is not None and not is_relayed(address) and is_public(address):
            found.append((peer, str(ip_of(address))))
    return random.sample(found, min(len(found), _ASKED))


async def _ask(network: Libp2pNetwork, peer: PeerId, request: Request) -> Answer | None:
    try:
        with trio.fail_after(ANSWER_S):
            stream = await network.dial(f"/p2p/{peer}", PROTOCOL)
            try:
                await stream.send_all(framing.encode(request.encode()))
                return Answer.decode(await framing.read_one(stream, MAX_BYTES))
            finally:
                await stream.aclose()
    except (PlasmError, trio.TooSlowError) as exc:
        log.debug("dial back not asked for peer=%s reason=%s", peer, exc)
        return None
