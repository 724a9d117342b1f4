"""Port mappings by NAT-PMP (RFC 6886), over UDP to the gateway of the default route."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from typing import TypeVar

import attrs
import trio

from plasm_core.errors import StreamError, TransportError
from plasm_core.records.port_mapping import PortMapping
from plasm_transport_libp2p.addresses import Port
from plasm_transport_libp2p.nat import natpmp_message as message
from plasm_transport_libp2p.nat.default_route import default_gateway
from plasm_transport_libp2p.nat.port_mapper import LEASE_S, MappingResult, PortMappingProtocol

log = logging.getLogger(__name__)

_WAITS_S = (0.25, 0.5, 1.0, 2.0)
"""Waits for an answer before each retransmission (RFC 6886, section 3.1), four instead of nine: these take two minutes."""
_TALK_S = 15.0
_LEAST_PORT = 1024
_SLACK_S = 2.0

_T = TypeVar("_T")


@attrs.frozen(kw_only=True)
class RouterEpoch:
    """A router's "seconds since start of epoch", which restarts when it loses its mappings (RFC 6886, section 3.6).

    `told_s`: its value at `read_at`, a time of trio's clock.
    """

    told_s: int
    read_at: float

    def is_followed_by(self, told_s: int, read_at: float) -> bool:
        """Return whether the epoch has gone on since, with the tolerance of 1/8 and two seconds that the RFC gives."""
        return told_s >= self.told_s + (read_at - self.read_at) * 7 / 8 - _SLACK_S


@attrs.frozen(kw_only=True)
class _Router:
    """The router that made the mappings, its external address and its epoch."""

    gateway: str
    address: IPv4Address
    epoch: RouterEpoch


class NatPmp(PortMappingProtocol):
    """NAT-PMP with one router. `gateway` returns its IPv4 address. `watch_s`: seconds between checks of its epoch while
    it has mappings.
    """

    name = "NAT-PMP"

    def __init__(
        self,
        gateway: Callable[[], str] = default_gateway,
        port: int = message.PORT,
        watch_s: float = 30.0,
    ) -> None:
        self._gateway = gateway
        self._port = port
        self._watch_s = watch_s
        self._router: _Router | None = None
        self._asked: set[Port] = set()

    async def map(self, ports: Mapping[Port, int]) -> MappingResult:
        gateway = self._gateway()
        found: list[PortMapping] = []
        refusals: list[str] = []
        shortest_s = LEASE_S
        with trio.move_on_after(_TALK_S) as scope:
            async with self._talk(gateway) as talk:
                address = await talk.ask(message.ask_address(), message.read_address)
                self._meet(gateway, address)
                for port, wanted in ports.items():
                    try:
                        answer = await talk.map(port, wanted, self._asked)
                    except TransportError as exc:
                        refusals.append(f"{port[0]} {port[1]}: {exc}")
                        continue
                    shortest_s = min(shortest_s, answer.lifetime_s)
                    found.append(
                        PortMapping(
                            carrier=port[0],
                            port=port[1],
                            external_ip=address.address,
                            external_port=answer.external_port,
                            way=self.name,
                        )
                    )
        if scope.cancelled_caught:
            refusals.append("the router answers too slowly")
        return MappingResult(mappings=tuple(found), refusals=tuple(refusals), renew_s=shortest_s / 2)

    def _meet(self, gateway: str, answer: message.AddressAnswer) -> None:
        if self._router is None or self._router.gateway != gateway:
            self._asked.clear()
        epoch = RouterEpoch(told_s=answer.epoch_s, read_at=trio.current_time())
        self._router = _Router(gateway=gateway, address=answer.address, epoch=epoch)

    async def until_forgotten(self) -> None:
        while True:
            await trio.sleep(self._watch_s)
            known = self._router
            if known is None or not self._asked:
                continue
            try:
                async with self._talk(known.gateway) as talk:
                    answer = await talk.ask(message.ask_address(), message.read_address)
            except TransportError as exc:
                log.debug("router epoch not read reason=%s", exc)
                continue
            now = trio.current_time()
            if not known.epoch.is_followed_by(answer.epoch_s, now) or answer.address != known.address:
                log.info("router restarted epoch_s=%d address=%s", answer.epoch_s, answer.address)
                return
            self._meet(known.gateway, answer)

    async def release(self) -> None:
        if self._router is None or not self._asked:
            return
        try:
            async with self._talk(self._router.gateway) as talk:
                for port in sorted(self._asked):
                    await talk.unmap(port)
        except TransportError as exc:
            log.info("ports not unmapped way=%s reason=%s", self.name, exc)

    @asynccontextmanager
    async def _talk(self, gateway: str) -> AsyncIterator[_Talk]:
        """Open a UDP socket connected to the router, so that other senders' datagrams are dropped. Raises: `TransportError`."""
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as socket:
            try:
                await socket.connect((gateway, self._port))
                yield _Talk(socket)
            except ConnectionRefusedError:
                raise TransportError("the router does not speak NAT-PMP") from None
            except OSError as exc:
                raise TransportError(f"the router cannot be asked: {exc}") from exc


class _Talk:
    """Requests and answers over one connected socket."""

    def __init__(self, socket: trio.socket.SocketType) -> None:
        self._socket = socket

    async def ask(self, request: bytes, read: Callable[[bytes], _T]) -> _T:
        """Send a request up to four times until `read` accepts an answer. Raises: `TransportError`."""
        for wait_s in _WAITS_S:
            await self._socket.send(request)
            with trio.move_on_after(wait_s):
                while True:
                    data = await self._socket.recv(message.MAX_BYTES)
                    try:
                        return read(data)
                    except StreamError as exc:
                        log.debug("answer of the router's ignored reason=%s", exc)
        raise TransportError("the router does not answer")

    async def map(self, port: Port, wanted: int, asked: set[Port]) -> message.MappingAnswer:
        """Map a port. It is added to `asked` first, since the router may map it and its answer be lost.

        Raises: `TransportError`.
        """
        asked.add(port)
        request = message.ask_mapping(port, wanted, LEASE_S)
        answer = await self.ask(request, lambda data: message.read_mapping(data, port))
        if answer.lifetime_s and answer.external_port >= _LEAST_PORT:
            return answer
        await self.unmap(port)
        raise TransportError(f"the router offers port {answer.external_port} for {answer.lifetime_s} s")

    async def unmap(self, port: Port) -> None:
        """Remove the mapping of a port. Raises: `TransportError`."""
        request = message.ask_mapping(port, 0, 0)
        await self.ask(request, lambda data: message.read_mapping(data, port))
