"""Drives aioquic's state machine for one connection: datagrams in and out, the timer, and closing."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import Any, Protocol

import trio
from aioquic.quic import events

from plasm_transport_libp2p.quic.address import SocketAddress
from plasm_transport_libp2p.quic.limits import QuicLimits
from plasm_transport_libp2p.quic.sansio import SansIoConnection

log = logging.getLogger(__name__)

_KEEP_ALIVE_PING = 0
_NEVER = float("inf")


class DatagramRouter(Protocol):
    """The interface that an endpoint offers to the connections on its socket."""

    @property
    def is_blocked(self) -> bool:
        """Whether the socket takes no datagrams for now."""

    def send(self, datagram: bytes, remote: SocketAddress) -> None:
        """Send a datagram now, or once the socket is writable."""

    def flush(self, connection: ConnectionDriver) -> None:
        """Transmit now what `flush_soon` was called for."""

    def flush_soon(self, connection: ConnectionDriver) -> None:
        """Call `transmit` after the tasks that are ready now have run, so that several writes share a datagram."""

    def arm(self, at: float) -> None:
        """Wake the endpoint's loop no later than at this time of trio's clock."""

    def add_route(self, connection_id: bytes, connection: ConnectionDriver) -> None:
        """Hand datagrams with this connection id to the connection."""

    def remove_route(self, connection_id: bytes, connection: ConnectionDriver) -> None:
        """Stop handing it datagrams with this connection id."""

    def remove(self, connection: ConnectionDriver) -> None:
        """Forget a connection that has ended, and release it."""


class ConnectionDriver(ABC):
    """The base of a connection. The endpoint calls it with datagrams and the time; no method but `wait_…` waits."""

    def __init__(self, *, endpoint: DatagramRouter, protocol: SansIoConnection, limits: QuicLimits) -> None:
        self.timer = _NEVER
        self.connection_ids: set[bytes] = set()
        self._endpoint = endpoint
        self._protocol = protocol
        self._limits = limits
        self._handshake_over = trio.Event()
        self._closed = trio.Event()
        self._close_reason = ""
        self._released = False
        self._keep_alive_at = _NEVER
        self._farewell: list[tuple[bytes, Any]] = []
        self._heard_since_close = 0
        self._last_address: SocketAddress | None = None

    @abstractmethod
    def on_event(self, event: events.QuicEvent) -> None:
        """Handle an event of aioquic while the connection is open."""

    @property
    @abstractmethod
    def due_at(self) -> float:
        """When to call `on_due` next, in trio's time; infinity for never."""

    @abstractmethod
    def on_due(self, now: float) -> None:
        """Handle the timers that are due at this time of trio's clock."""

    @abstractmethod
    def on_progress(self) -> None:
        """Wake the tasks that can continue after acknowledgements or credit from the peer."""

    @abstractmethod
    def on_closed(self, reason: str) -> None:
        """Fail the tasks that wait for the connection."""

    @property
    def is_established(self) -> bool:
        """Whether the peer has proven its identity and the connection is open."""
        return self._handshake_over.is_set() and not self._closed.is_set()

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    @property
    def close_reason(self) -> str:
        """Why the connection closed. The text may be the peer's."""
        return self._close_reason

    async def wait_handshake(self) -> None:
        """Wait until the connection is established, or closed."""
        await self._handshake_over.wait()

    async def wait_closed(self) -> None:
        """Wait until either side has closed the connection."""
        await self._closed.wait()

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the peer's current IP address and UDP port, which change when it migrates; None before the first packet."""
        found: SocketAddress | None = self._last_address or self._protocol.get_peer_address()
        return None if found is None else (found[0].partition("%")[0], found[1])

    def connect(self, remote: SocketAddress, now: float) -> None:
        """Send the first packet."""
        self._protocol.connect(remote, now)
        self.transmit()

    def receive(self, datagram: bytes, remote: SocketAddress, now: float) -> None:
        """Take one datagram. `settle` follows when there are no more for now."""
        if self._closed.is_set():
            self._repeat_farewell()
            return
        self._keep_alive_at = now + self._limits.keep_alive_s
        self._protocol.receive_datagram(datagram, remote, now)
        if self._protocol.is_unborn:
            self._endpoint.remove(self)

    def _repeat_farewell(self) -> None:
        # RFC 9000, section 10.2.1: repeat CONNECTION_CLOSE for the 1st, 2nd, 4th, 8th, … packet received since.
        self._heard_since_close += 1
        if self._heard_since_close & (self._heard_since_close - 1) == 0:
            for datagram, remote in self._farewell:
                self._endpoint.send(datagram, remote)

    def fire_timer(self, now: float) -> None:
        """Run the timers that are due. `settle` follows."""
        due = self._protocol.get_timer()
        if due is not None and due <= now:
            self._protocol.handle_timer(now)
        if now >= self._keep_alive_at and not self._closed.is_set():
            self._keep_alive_at = now + self._limits.keep_alive_s
            self._protocol.send_ping(_KEEP_ALIVE_PING)
        if now >= self.due_at:
            self.on_due(now)

    def settle(self) -> None:
        """Handle the events that datagrams or the timer caused, and transmit."""
        if self._released:
            return
        terminated = False
        while (event := self._protocol.next_event()) is not None:
            terminated = terminated or isinstance(event, events.ConnectionTerminated)
            if not self._closed.is_set():
                self.on_event(event)
        closing = self._protocol.close_event
        if closing is not None:
            self._mark_closed(closing.reason_phrase or f"error {closing.error_code:#x}")
        if terminated:
            self._endpoint.remove(self)
            return
        if not self._closed.is_set():
            self.on_progress()
        self.transmit()

    def transmit(self) -> None:
        """Send all that may be sent now, without waiting, and set the timer."""
        if self._released:
            return
        if self._endpoint.is_blocked:
            self._endpoint.flush_soon(self)
            return
        if self._protocol.has_path:
            sent = self._protocol.datagrams_to_send(trio.current_time())
            for datagram, remote in sent:
                self._endpoint.send(datagram, remote)
            if self._closed.is_set() and sent:
                self._farewell = sent
        due = self._protocol.get_timer()
        self.timer = min(_NEVER if due is None else due, self._keep_alive_at, self.due_at)
        self._endpoint.arm(self.timer)

    def abort(self, error_code: int, reason: str, *, frame_type: int | None = None) -> None:
        """Send CONNECTION_CLOSE and close. `frame_type`: of the frame at fault, for a transport error."""
        if self._closed.is_set():
            return
        self._protocol.close(error_code=error_code, frame_type=frame_type, reason_phrase=reason)
        self._mark_closed(reason)
        self.transmit()

    def release(self) -> None:
        """Drop the protocol state of a closed connection, which is full of reference cycles."""
        self._mark_closed("the connection ended")
        if not self._released:
            self._released = True
            self.timer = _NEVER
            self._protocol.release()

    def _mark_closed(self, reason: str) -> None:
        if self._closed.is_set():
            return
        log.debug("connection_closed reason=%r", reason)
        self._last_address = self._protocol.get_peer_address()
        self._close_reason = reason
        self._keep_alive_at = _NEVER
        self._closed.set()
        self._handshake_over.set()
        self.on_closed(reason)
