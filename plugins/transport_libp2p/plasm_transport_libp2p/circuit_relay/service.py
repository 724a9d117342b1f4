"""The relay service (libp2p specification, "relay/circuit-v2"): reservations, and circuits between two streams."""

from __future__ import annotations

import logging
import time
from collections import Counter

import attrs
import trio

from plasm_core.errors import PlasmError, StreamError
from plasm_core.fair_shares import Holder, Loan, Places
from plasm_core.plugins.interfaces import Stream
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import framing
from plasm_transport_libp2p.addresses import is_public, is_relayed
from plasm_transport_libp2p.circuit_relay import message as messages
from plasm_transport_libp2p.circuit_relay.limits import RelayLimits
from plasm_transport_libp2p.circuit_relay.message import HOP, MAX_BYTES, STOP, HopRequest, StopRequest
from plasm_transport_libp2p.interfaces import PeerNetwork

log = logging.getLogger(__name__)

_GREETING_S = 10.0
_CONNECT_S = 10.0
_CHUNK_BYTES = 65_536


@attrs.frozen
class _Reservation:
    expires_at: float
    loan: Loan


class RelayService:
    """Serves the hop protocol. The bytes of a circuit are encrypted from end to end."""

    def __init__(self, network: PeerNetwork, limits: RelayLimits) -> None:
        self._network = network
        self._limits = limits
        self._reservations: dict[PeerId, _Reservation] = {}
        self._reserved = Places(limits.reservations, per_name=limits.reservations_per_group)
        self._circuits = Places(limits.circuits)
        self._from: Counter[PeerId] = Counter()
        self._to: Counter[PeerId] = Counter()

    @property
    def reservations(self) -> int:
        """How many peers have a reservation."""
        return len(self._reservations)

    @property
    def circuits(self) -> int:
        """How many circuits are open."""
        return self._from.total()

    def serve(self) -> None:
        """Serve reservations and circuits from now on."""
        self._network.handle(HOP, self._handle)

    def cease(self) -> None:
        """Refuse new reservations and circuits. Open circuits continue."""
        self._network.unhandle(HOP)

    async def _handle(self, stream: Stream) -> None:
        peer = stream.remote_peer
        assert peer is not None  # libp2p proves every identity
        address = self._network.remote_address(stream)
        with trio.fail_after(_GREETING_S):
            request = HopRequest.decode(await framing.read_one(stream, MAX_BYTES))
        if address is None or is_relayed(address):  # no circuits of circuits
            await _refuse(stream, messages.PERMISSION_DENIED)
        elif request.kind == messages.RESERVE:
            await self._reserve(stream, peer)
        elif request.kind == messages.CONNECT and request.peer is not None:
            await self._connect(stream, peer, request.peer)
        else:
            await _refuse(stream, messages.UNEXPECTED_MESSAGE)

    async def _reserve(self, stream: Stream, peer: PeerId) -> None:
        self._expire()
        known = self._reservations.get(peer)
        limits = self._limits
        self._drop(peer)
        loan = self._reserved.take(_holder(stream), lambda: self._drop(peer))
        if loan is None:
            log.info("reservation refused reason=limit")
            await _refuse(stream, messages.RESERVATION_REFUSED)
            return
        self._reservations[peer] = _Reservation(trio.current_time() + limits.reservation_s, loan)
        if known is None:
            log.info("reservation made peer=%s reservations=%d", peer, len(self._reservations))
        # /p2p/ and the relay's id in binary: multicodec 0x01a5 as a varint, the length, the multihash.
        suffix = b"\xa5\x03" + bytes([len(self._network.peer_id.multihash)]) + self._network.peer_id.multihash
        answer = HopRequest(
            kind=messages.STATUS,
            status=messages.OK,
            expires_at=int(time.time()) + limits.reservation_s,
            addresses=tuple(
                address.to_bytes() + suffix for address in self._network.listening() if is_public(address)
            ),
            duration_s=limits.circuit_s,
            data_bytes=limits.circuit_bytes,
        )
        with trio.fail_after(_GREETING_S):
            await stream.send_all(answer.encode())
            await stream.aclose()

    def _expire(self) -> None:
        now, connected = trio.current_time(), set(self._network.connected)
        for peer, item in list(self._reservations.items()):
            if item.expires_at <= now or peer not in connected:
                self._drop(peer)

    def _drop(self, peer: PeerId) -> None:
        reservation = self._reservations.pop(peer, None)
        if reservation is not None:
            reservation.loan.give_back()

    async def _connect(self, stream: Stream, source: PeerId, target: PeerId) -> None:
        self._expire()
        limits = self._limits
        if target not in self._reservations:
            await _refuse(stream, messages.NO_RESERVATION)
            return
        busy = max(self._from[source], self._to[target]) >= limits.circuits_per_peer
        scope = trio.CancelScope()
        loan = None if busy else self._circuits.take(_holder(stream), scope.cancel)
        if loan is None:
            log.info("circuit refused reason=limit")
            await _refuse(stream, messages.RESOURCE_LIMIT_EXCEEDED)
            return
        self._from[source] += 1
        self._to[target] += 1
        try:
            with scope:
                await self._join(stream, source, target)
        finally:
            loan.give_back()
            for counter, peer in ((self._from, source), (self._to, target)):
                counter[peer] -= 1
                if not counter[peer]:
                    del counter[peer]

    async def _join(self, stream: Stream, source: PeerId, target: PeerId) -> None:
        limits = self._limits
        try:
            with trio.fail_after(_CONNECT_S):
                onward = await self._network.dial_connected(target, STOP)
                call = StopRequest(
                    kind=messages.STOP_CONNECT,
                    peer=source,
                    duration_s=limits.circuit_s,
                    data_bytes=limits.circuit_bytes,
                )
                await onward.send_all(call.encode())
                reader = framing.MessageReader(onward, MAX_BYTES)
                answer = await reader.next()
                StopRequest.decode(answer or b"").check()
        except (PlasmError, trio.TooSlowError) as exc:
            log.debug("circuit not made target=%s reason=%s", target, exc)
            await _refuse(stream, messages.CONNECTION_FAILED)
            return
        made = HopRequest(
            kind=messages.STATUS,
            status=messages.OK,
            duration_s=limits.circuit_s,
            data_bytes=limits.circuit_bytes,
        )
        with trio.fail_after(_CONNECT_S):
            await stream.send_all(made.encode())
        started = trio.current_time()
        log.info("circuit begun circuits=%d", self.circuits)
        carried = await _carry(stream, onward, reader.rest(), limits)
        log.info("circuit ended bytes=%d seconds=%.1f", carried, trio.current_time() - started)


def _holder(stream: Stream) -> Holder:
    """Return the holder of a reservation or circuit: the network of the peer, since fresh keys are free."""
    return Holder(names=(stream.remote_group,), is_bounded=False)


async def _carry(one: Stream, other: Stream, first: bytes, limits: RelayLimits) -> int:
    """Copy bytes both ways until either side ends or a limit is reached; return how many were copied."""
    carried = 0

    async def pump(source: Stream, sink: Stream, data: bytes) -> None:
        nonlocal carried
        try:
            while data or (data := await source.receive_some(_CHUNK_BYTES)):
                carried += len(data)
                if carried > limits.circuit_bytes:
                    return
                await sink.send_all(data)
                data = b""
        except StreamError:
            return
        finally:
            nursery.cancel_scope.cancel()

    try:
        with trio.move_on_after(limits.circuit_s):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pump, one, other, b"")
                nursery.start_soon(pump, other, one, first)
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(1):
            await other.aclose()
    return carried


async def _refuse(stream: Stream, status: int) -> None:
    with trio.fail_after(_GREETING_S):
        await stream.send_all(HopRequest(kind=messages.STATUS, status=status).encode())
        await stream.aclose()
