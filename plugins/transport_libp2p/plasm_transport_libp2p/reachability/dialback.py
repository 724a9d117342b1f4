"""Dialling back: what a node does for others who want to know whether they are reached.

A dial goes only to the IP address that the asking peer is seen at, or that a neighbour says it sees it at, and
only so often. It comes from a fresh socket, so that no packet gets in as the answer to another. A router may
let in whoever was spoken to before, from whatever port: that is why some of the peers connected here are asked
to dial too, with whom the asking one is likely never to have spoken. For the same reason a node that does not
know yet whether it is reached itself dials hardly anybody (restraint.py). Whoever dials hands in the asking peer's
nonce, since that peer believes nobody's word.
"""

from __future__ import annotations

import logging
import random
from collections import OrderedDict
from collections.abc import Callable

import attrs
import trio
from multiaddr import Multiaddr

from plasm_core.abc import Stream
from plasm_core.errors import PlasmError, StreamError
from plasm_core.printable import cleaned
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import framing
from plasm_transport_libp2p.address_classes import IPAddress
from plasm_transport_libp2p.addresses import ip_of, is_public, is_relayed, prefix_of
from plasm_transport_libp2p.network import Libp2pNetwork
from plasm_transport_libp2p.reachability.callers import call_with
from plasm_transport_libp2p.reachability.message import MAX_BYTES, PROTOCOL, Answer, Attempt, Request

log = logging.getLogger(__name__)

DIAL_S = 4.0
PASSED_ON_S = 2 * DIAL_S + 3.0
ANSWER_S = PASSED_ON_S + 5.0
_HELPERS = 2
_AT_ONCE = 8
_AT_ONCE_FOR_ONE = 2  # each is a connection to that peer, which allows a peer only a few
_WINDOW_S = 60.0
_PER_PEER = 8
_PER_PREFIX = 16
_IN_ALL = 120
_MAX_COUNTED = 4096


class Allowance:
    """Counts what was done for each of many in the last minute, and says when it is enough."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._done: OrderedDict[str, list[float]] = OrderedDict()

    def take(self, name: str) -> bool:
        """Count one more, if it is not one too many."""
        now = trio.current_time()
        times = [at for at in self._done.pop(name, []) if at > now - _WINDOW_S]
        allowed = len(times) < self._most
        self._done[name] = [*times, now] if allowed else times
        while len(self._done) > _MAX_COUNTED:
            self._done.popitem(last=False)
        return allowed


class DialBack:
    """Serves `/phase/reachability/1.0.0`. `may_dial`: whether a peer may be dialled now."""

    def __init__(self, network: Libp2pNetwork, may_dial: Callable[[PeerId], bool]) -> None:
        self._network = network
        self._may_dial = may_dial
        self._dials = trio.CapacityLimiter(_AT_ONCE)
        self._per_peer = Allowance(_PER_PEER)
        self._per_prefix = Allowance(_PER_PREFIX)
        self._in_all = Allowance(_IN_ALL)

    def serve(self) -> None:
        """Answer whoever asks from now on."""
        self._network.handle(PROTOCOL, self._handle)

    async def _handle(self, stream: Stream) -> None:
        asking = stream.remote_peer
        assert asking is not None  # libp2p proves every identity
        observed = self._network.remote_address(stream)
        with trio.fail_after(ANSWER_S):
            request = Request.decode(await framing.read_one(stream, MAX_BYTES))
            if observed is None or is_relayed(observed):
                raise StreamError("the peer asks through a relay")
            if request.peer is not None and request.ip is not None:
                attempts = await self._dial_all(request, request.peer, request.ip, for_peer=asking)
            else:
                attempts = await self._ask_around(request, asking, ip_of(observed))
            answer = Answer(observed=str(observed), attempts=tuple(attempts))
            await stream.send_all(framing.encode(answer.encode()))
            await stream.aclose()

    async def _ask_around(self, request: Request, asking: PeerId, ip: IPAddress | None) -> list[Attempt]:
        """Dial, and have others dial."""
        attempts: list[Attempt] = []
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
                        answer = Answer.decode(await framing.read_one(stream, MAX_BYTES))
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
        """Return some peers that are connected, of other networks than whoever asks."""
        found = []
        for peer in self._network.connected:
            address = self._network.connection_address(peer)
            if peer == asking or address is None or is_relayed(address) or not is_public(address):
                continue
            host = ip_of(address)
            if host is not None and prefix_of(host) != prefix_of(ip):
                found.append((peer, str(host)))
        return random.sample(found, min(len(found), _HELPERS))

    async def _dial_all(
        self, request: Request, peer: PeerId, ip: IPAddress, *, for_peer: PeerId
    ) -> list[Attempt]:
        attempts: list[Attempt] = []
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

        call, places = call_with(request.nonce), trio.CapacityLimiter(_AT_ONCE_FOR_ONE)

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
                Attempt(carrier=carrier, port=port, by=own, host="", ok=not reason, reason=reason)
            )

        async with trio.open_nursery() as nursery:
            for carrier, port in request.ports:
                nursery.start_soon(dial, carrier, port)
        return attempts


def _short(text: str) -> str:
    return cleaned(text, maximum=150, instead="?") or "failed"
