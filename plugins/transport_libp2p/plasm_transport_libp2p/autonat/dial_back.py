"""The dial-back service: this node dials a peer that asks whether it is reachable.

A dial goes only to the IP address at which this node, or a neighbour that passes the request on, sees the asking
peer, and the rate is limited: the service must not be usable against third parties (AutoNAT v2, "amplification
attack prevention"). A dial comes from a fresh socket, so that no NAT takes it for the answer to an earlier packet. A
NAT with address-dependent filtering (RFC 4787, section 5) lets in any port of a host it has sent packets to; so two
connected peers of other networks are asked to dial, too. For the same reason a node that does not know its own
reachability yet hardly dials (dial_policy.py). The dialler hands in the asking peer's nonce (inbound_proof.py): the
asking peer does not rely on its word.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs
import trio
from multiaddr import Multiaddr

from plasm_core.address_classes import IPAddress
from plasm_core.errors import PlasmError, StreamError
from plasm_core.plugins.interfaces import Stream
from plasm_core.printable import cleaned
from plasm_core.randomness import RANDOM
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import framing
from plasm_transport_libp2p.addresses import ip_of, is_public, is_relayed, prefix_of
from plasm_transport_libp2p.autonat.inbound_proof import nonce_sender
from plasm_transport_libp2p.autonat.message import (
    MAX_BYTES,
    PROTOCOL,
    DialAttempt,
    DialBackRequest,
    DialBackResponse,
)
from plasm_transport_libp2p.interfaces import PeerNetwork

log = logging.getLogger(__name__)

DIAL_S = 4.0
PASSED_ON_S = 2 * DIAL_S + 3.0
ANSWER_S = PASSED_ON_S + 5.0
_HELPERS = 2
_AT_ONCE = 8
_AT_ONCE_FOR_ONE = 2  # a host accepts only a few connections of one peer
_WINDOW_S = 60.0
_PER_PEER = 8
_PER_PREFIX = 16
_IN_ALL = 120
_MAX_COUNTED = 4096


class SlidingWindowLimit:
    """Allows `most` actions a minute for each name, of the 4,096 names used last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._done: OrderedDict[str, list[float]] = OrderedDict()

    def take(self, name: str) -> bool:
        """Count an action for a name, and return True, unless the limit is reached."""
        now = trio.current_time()
        times = [at for at in self._done.pop(name, []) if at > now - _WINDOW_S]
        allowed = len(times) < self._most
        self._done[name] = [*times, now] if allowed else times
        while len(self._done) > _MAX_COUNTED:
            self._done.popitem(last=False)
        return allowed


class DiallingNetwork(PeerNetwork, Protocol):
    """A host that can dial from a fresh socket."""

    async def try_dial(self, where: Multiaddr, peer: PeerId, talk: Callable[[Any], Awaitable[None]]) -> None:
        """Dial a peer from a fresh socket, call `talk` with the connection, and close it.

        Raises: `PeerUnreachableError`.
        """


class DialBackService:
    """Serves `/phase/reachability/1.0.0`. `may_dial` says whether a peer may be dialled now."""

    def __init__(self, network: DiallingNetwork, may_dial: Callable[[PeerId], bool]) -> None:
        self._network = network
        self._may_dial = may_dial
        self._dials = trio.CapacityLimiter(_AT_ONCE)
        self._per_peer = SlidingWindowLimit(_PER_PEER)
        self._per_prefix = SlidingWindowLimit(_PER_PREFIX)
        self._in_all = SlidingWindowLimit(_IN_ALL)

    def serve(self) -> None:
        """Answer requests from now on."""
        self._network.handle(PROTOCOL, self._handle)

    async def _handle(self, stream: Stream) -> None:
        asking = stream.remote_peer
        assert asking is not None  # libp2p proves every identity
        observed = self._network.remote_address(stream)
        with trio.fail_after(ANSWER_S):
            request = DialBackRequest.decode(await framing.read_one(stream, MAX_BYTES))
            if observed is None or is_relayed(observed):
                raise StreamError("the peer asks through a relay")
            if request.peer is not None and request.ip is not None:
                attempts = await self._dial_all(request, request.peer, request.ip, for_peer=asking)
            else:
                attempts = await self._ask_around(request, asking, ip_of(observed))
            answer = DialBackResponse(observed=str(observed), attempts=tuple(attempts))
            await stream.send_all(framing.encode(answer.encode()))
            await stream.aclose()

    async def _ask_around(
        self, request: DialBackRequest, asking: PeerId, ip: IPAddress | None
    ) -> list[DialAttempt]:
        """Dial the asking peer, and pass the request on to two other peers."""
        attempts: list[DialAttempt] = []
        if ip is None or not is_public(Multiaddr(f"/ip{ip.version}/{ip}")):
            return attempts
        passed_on = attrs.evolve(request, peer=asking, ip=ip)

        async def own() -> None:
            attempts.extend(await self._dial_all(request, asking, ip, for_peer=asking))

        async def others(helper: PeerId, host: str) -> None:
            try:
                with trio.fail_after(PASSED_ON_S):
                    stream = await self._network.dial(f"/p2p/{helper}", PROTOCOL)
                    try:
                        await stream.send_all(framing.encode(passed_on.encode()))
                        answer = DialBackResponse.decode(await framing.read_one(stream, MAX_BYTES))
                    finally:
                        await stream.aclose()
            except (PlasmError, trio.TooSlowError) as exc:
                log.debug("dial back not passed on helper=%s reason=%s", helper, exc)
                return
            attempts.extend(
                attrs.evolve(item, by=helper, host=host)
                for item in answer.attempts[: len(request.ports)]
                if (item.carrier, item.port) in request.ports
            )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(own)
            for helper, host in self._helpers(asking, ip):
                nursery.start_soon(others, helper, host)
        return attempts

    def _helpers(self, asking: PeerId, ip: IPAddress) -> list[tuple[PeerId, str]]:
        """Return two connected peers, at random, with public addresses of other networks than the asking peer's."""
        found = []
        for peer in self._network.connected:
            address = self._network.connection_address(peer)
            if peer == asking or address is None or is_relayed(address) or not is_public(address):
                continue
            host = ip_of(address)
            if host is not None and prefix_of(host) != prefix_of(ip):
                found.append((peer, str(host)))
        return RANDOM.sample(found, min(len(found), _HELPERS))

    async def _dial_all(
        self, request: DialBackRequest, peer: PeerId, ip: IPAddress, *, for_peer: PeerId
    ) -> list[DialAttempt]:
        attempts: list[DialAttempt] = []
        base = f"/ip{ip.version}/{ip}"
        if not is_public(Multiaddr(base)) or not self._may_dial(peer):
            return attempts
        counted = (
            self._in_all.take(""),
            self._per_peer.take(str(for_peer)),
            self._per_prefix.take(prefix_of(ip)),
        )
        if not all(counted):
            log.debug("dial back refused reason=limit")
            return attempts

        call, places = nonce_sender(request.nonce), trio.CapacityLimiter(_AT_ONCE_FOR_ONE)

        async def dial(carrier: str, port: int) -> None:
            where = f"{base}/tcp/{port}" if carrier == "tcp" else f"{base}/udp/{port}/quic-v1"
            reason = ""
            async with places, self._dials:
                try:
                    with trio.fail_after(DIAL_S):
                        await self._network.try_dial(Multiaddr(where), peer, call)
                except trio.TooSlowError:
                    reason = "no answer"
                except PlasmError as exc:
                    reason = _short(str(exc))
            own = self._network.peer_id
            attempts.append(
                DialAttempt(carrier=carrier, port=port, by=own, host="", ok=not reason, reason=reason)
            )

        async with trio.open_nursery() as nursery:
            for carrier, port in request.ports:
                nursery.start_soon(dial, carrier, port)
        return attempts


def _short(text: str) -> str:
    return cleaned(text, maximum=150, instead="?") or "failed"
