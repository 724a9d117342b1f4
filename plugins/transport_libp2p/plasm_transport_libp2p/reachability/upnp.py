"""Ports forwarded by UPnP IGD (UPnP Forum, WANIPConnection).

What a router answers is read by miniupnpc, which blocks: it is called in a thread, with a deadline.
"""

from __future__ import annotations

import importlib.util
import logging
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

import trio

from plasm_core.errors import TransportError
from plasm_core.records.port_mapping import PortMapping
from plasm_transport_libp2p.reachability.forwarder import LEASE_S, Forwarder, Granted
from plasm_transport_libp2p.reachability.message import Port

log = logging.getLogger(__name__)

RENEW_S = 600.0
"""How often a mapping is renewed: a router that was switched off and on has forgotten it, and does not say so."""
_DISCOVER_MS = 2000
_TALK_S = 20.0
_TRIES = 3
_DESCRIPTION = "plasm"
_MOST_WORDS = 100

_Made = tuple[int, str]
"""A port of the router's, and the protocol."""


class Upnp(Forwarder):
    """Whichever router of this network answers first."""

    name = "UPnP"

    def __init__(self) -> None:
        # A talk that was given up goes on in its thread: it ends before the next one begins.
        self._talking = threading.Lock()
        self._over = False
        self._router: Any = None
        self._made: set[_Made] = set()

    async def map(self, ports: Mapping[Port, int]) -> Granted:
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

    def _map(self, ports: Mapping[Port, int]) -> Granted:
        with self._talk():
            self._router = router = _find()
            try:
                external_ip = IPv4Address(str(router.externalipaddress()))
            except Exception as exc:  # the library raises nothing more particular
                raise TransportError(f"the router does not tell its address: {exc}") from exc
            found: list[PortMapping] = []
            refusals: list[str] = []
            for (carrier, port), wanted in ports.items():
                candidates = [wanted, *(random.randrange(20_000, 60_000) for _ in range(_TRIES))]
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
        return Granted(mappings=tuple(found), refusals=tuple(refusals), renew_s=RENEW_S)

    def _add_one(self, carrier: str, port: int, candidates: list[int]) -> tuple[int | None, str]:
        """Have a port forwarded from the first that the router agrees to. Return that, or why there is none."""
        protocol = "TCP" if carrier == "tcp" else "UDP"
        reason = "it is too late"
        for external_port in candidates:
            for lease_s in (LEASE_S, 0):  # some routers know only mappings that last for ever
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
    except Exception as exc:  # so it does, in words about anything else, if nobody answers
        log.debug("no router found way=UPnP reason=%s", exc)
        found = 0
    if not found:
        raise TransportError("no router on this network speaks it")
    try:
        router.selectigd()
    except Exception as exc:
        raise TransportError(f"nothing that speaks it on this network forwards ports: {exc}") from exc
    return router
