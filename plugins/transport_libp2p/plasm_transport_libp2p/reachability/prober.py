"""Deciding whether this node is reached, from what others say who tried."""

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
from plasm_transport_libp2p.addresses import IPAddress, ip_of, is_public, is_relayed, kind_of, port_of
from plasm_transport_libp2p.identify import multiaddr_of
from plasm_transport_libp2p.network import Libp2pNetwork
from plasm_transport_libp2p.reachability.dialback import ANSWER_S
from plasm_transport_libp2p.reachability.message import MAX_BYTES, MAX_PORTS, PROTOCOL, Answer, Port, Request

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


async def probe(network: Libp2pNetwork, ports: Iterable[Port], mapped: Collection[Port] = ()) -> Probe:
    """Ask some of the peers that are connected. None of their failures raises.

    `mapped`: those of a router that forwards them, whoever it is that comes.
    """
    evidence: dict[str, list[Evidence]] = {}
    observed: list[Multiaddr] = []
    asked = 0
    request = Request(ports=tuple(dict.fromkeys(ports))[:MAX_PORTS])
    contacted = network.contacted()

    async def ask(peer: PeerId, host: str) -> None:
        nonlocal asked
        answer = await _ask(network, peer, request)
        if answer is None:
            return
        asked += 1
        seen = multiaddr_of(answer.observed)
        ip = ip_of(seen) if seen is not None else None
        if seen is None or ip is None or not is_public(seen) or kind_of(seen) is None:
            return
        observed.append(seen)
        spoken_to = contacted | network.dialled()  # meanwhile, perhaps at the request of others
        for item in answer.attempts:
            if (item.carrier, item.port) not in request.ports:
                continue
            tail = f"tcp/{item.port}" if item.carrier == "tcp" else f"udp/{item.port}/quic-v1"
            from_host = item.host or host
            evidence.setdefault(f"/ip{ip.version}/{ip}/{tail}", []).append(
                Evidence(
                    by=item.by,
                    host=from_host,
                    ok=item.ok,
                    reason=item.reason,
                    fresh=item.by != peer and from_host not in spoken_to,
                )
            )

    async with trio.open_nursery() as nursery:
        for peer, host in _whom_to_ask(network):
            nursery.start_soon(ask, peer, host)
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
    return Probe(addresses=tuple(reached), observed=tuple(dict.fromkeys(observed)), asked=asked)


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
