"""Port mappings by UPnP IGD (UPnP Forum, WANIPConnection:1).

miniupnpc speaks to the router. Its calls block, so that they run in a thread, with a deadline.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

import trio

from plasm_core.errors import TransportError
from plasm_core.randomness import RANDOM
from plasm_core.records.port_mapping import PortMapping
from plasm_transport_libp2p.addresses import Port
from plasm_transport_libp2p.nat.port_mapper import LEASE_S, MappingResult, PortMappingProtocol

log = logging.getLogger(__name__)

RENEW_S = 600.0
"""Between renewals: a router that restarts loses its mappings and does not tell."""
_DISCOVER_MS = 2000
_TALK_S = 20.0
_TRIES = 3
_DESCRIPTION = "plasm"
_MOST_WORDS = 100

_Made = tuple[int, str]
"""An external port and its protocol, `TCP` or `UDP`."""


class Upnp(PortMappingProtocol):
    """UPnP IGD with the router of this network that answers first."""

    name = "UPnP"

    def __init__(self) -> None:
        # A call whose deadline passed continues in its thread: the next call waits for its end.
        self._talking = threading.Lock()
        self._over = False
        self._router: Any = None
        self._made: set[_Made] = set()

    async def map(self, ports: Mapping[Port, int]) -> MappingResult:
        if importlib.util.find_spec("miniupnpc") is None:
            raise TransportError("miniupnpc is not installed")
        with trio.move_on_after(_TALK_S):
            return await trio.to_thread.run_sync(self._map, dict(ports), abandon_on_cancel=True)
        raise TransportError("the router answers too slowly")

    async def release(self) -> None:
        self._over = True
        if self._made or self._talking.locked():
            await trio.to_thread.run_sync(self._unmap, abandon_on_cancel=True)

    @contextmanager
    def _talk(self) -> Iterator[None]:
        if not self._talking.acquire(timeout=_TALK_S):
            raise TransportError("the router still has not answered")
        try:
            yield
        finally:
            self._talking.release()

    def _map(self, ports: Mapping[Port, int]) -> MappingResult:
        with self._talk():
            self._router = router = _find()
            try:
                external_ip = IPv4Address(str(router.externalipaddress()))
            except Exception as exc:  # the library raises no more specific exception
                raise TransportError(f"the router does not tell its address: {exc}") from exc
            found: list[PortMapping] = []
            refusals: list[str] = []
            for (carrier, port), wanted in ports.items():
                candidates = [wanted, *(RANDOM.randrange(20_000, 60_000) for _ in range(_TRIES))]
                external_port, reason = self._add_one(carrier, port, candidates)
                if external_port is None:
                    refusals.append(f"{carrier} {port}: {reason}")
                    continue
                found.append(
                    PortMapping(
                        carrier=carrier,
                        port=port,
                        external_ip=external_ip,
                        external_port=external_port,
                        way=self.name,
                    )
                )
        return MappingResult(mappings=tuple(found), refusals=tuple(refusals), renew_s=RENEW_S)

    def _add_one(self, carrier: str, port: int, candidates: list[int]) -> tuple[int | None, str]:
        """Map a port to the first external port that the router accepts. Return that port, or None and the reason."""
        protocol = "TCP" if carrier == "tcp" else "UDP"
        reason = "the mappings are being removed"
        for external_port in candidates:
            for lease_s in (
                LEASE_S,
                0,
            ):  # some routers accept permanent mappings only (error 725, OnlyPermanentLeasesSupported)
                if self._over:
                    return None, reason
                arguments = (external_port, protocol, self._router.lanaddr, port, _DESCRIPTION, "", lease_s)
                try:
                    if self._router.addportmapping(*arguments):
                        self._made.add((external_port, protocol))
                        return external_port, ""
                except Exception as exc:
                    reason = f"the router refuses: {str(exc)[:_MOST_WORDS]}"
        return None, reason

    def _unmap(self) -> None:
        with self._talk():
            while self._made:
                made = self._made.pop()
                try:
                    self._router.deleteportmapping(*made)
                except Exception as exc:
                    log.info("port not unmapped way=%s port=%d reason=%s", self.name, made[0], exc)


def _find() -> Any:
    """Find the router. Raises: `TransportError`."""
    import miniupnpc

    router = miniupnpc.UPnP()
    router.discoverdelay = _DISCOVER_MS
    try:
        found = router.discover()
    except Exception as exc:  # it raises an Exception of varying text if no device answers
        log.debug("no router found way=UPnP reason=%s", exc)
        found = 0
    if not found:
        raise TransportError("no router on this network speaks UPnP IGD")
    try:
        router.selectigd()
    except Exception as exc:
        raise TransportError(f"no UPnP device on this network is a router that maps ports: {exc}") from exc
    return router
