"""Ports that the router before this machine forwards because it was asked to: UPnP IGD (UPnP Forum, WANIPConnection).

What a router answers is read by miniupnpc, which blocks: it is called in a thread, with a deadline.
"""

from __future__ import annotations

import importlib.util
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import trio

from plasm_core.errors import TransportError
from plasm_transport_libp2p.reachability.message import Port

log = logging.getLogger(__name__)

LEASE_S = 3600
"""How long a router keeps a mapping that is not renewed, as after a crash."""
RENEW_S = 600.0
"""How often it is renewed: a router that was switched off and on has forgotten it."""
_DISCOVER_MS = 2000
_TALK_S = 20.0
_REMOVE_S = 3.0
_AGAIN_S = (30.0, 900.0)
_TRIES = 3
_DESCRIPTION = "plasm"


@attrs.frozen(kw_only=True)
class Mapping:
    """A port of the router's that leads to one of this machine's."""

    carrier: str
    port: int
    external_port: int
    external_ip: str

    def __str__(self) -> str:
        return f"UPnP: {self.carrier} {self.external_ip}:{self.external_port} leads to port {self.port}"


class Mapper:
    """Keeps mappings while it runs. `ports` tells what is to be mapped now; `changed` hears of news."""

    def __init__(self, ports: Callable[[], Sequence[Port]], changed: Callable[[], None]) -> None:
        self._ports = ports
        self._changed = changed
        self._lost = trio.Event()
        self.mappings: tuple[Mapping, ...] = ()

    def check(self) -> None:
        """Renew at once: the mappings do not seem to be there."""
        self._lost.set()

    async def run(self) -> None:
        """Keep the mappings until cancelled, then remove them."""
        if importlib.util.find_spec("miniupnpc") is None:
            log.info("no ports are mapped reason=miniupnpc is not installed")
            return
        shortest_s, longest_s = _AGAIN_S
        again_s = shortest_s
        try:
            while True:
                self._lost = trio.Event()
                ok = await self._renew()
                pause_s = RENEW_S if ok else again_s
                again_s = shortest_s if ok else min(2 * again_s, longest_s)
                with trio.move_on_after(pause_s):
                    await self._lost.wait()
                    await trio.sleep(min(shortest_s, pause_s))  # a router that starts needs its time
        finally:
            await self._remove()

    async def _renew(self) -> bool:
        wanted = list(self._ports())
        if not wanted:
            return True
        found: tuple[Mapping, ...] = ()
        try:
            with trio.fail_after(_TALK_S):
                known = self.mappings
                found = await trio.to_thread.run_sync(_map, wanted, known, abandon_on_cancel=True)
        except (TransportError, trio.TooSlowError) as exc:
            log.debug("ports not mapped reason=%s", str(exc) or "the router does not answer")
        if found != self.mappings:
            log.info("ports mapped mappings=%s", "; ".join(map(str, found)) or "none")
            self.mappings = found
            self._changed()
        return bool(found)

    async def _remove(self) -> None:
        if not self.mappings:
            return
        with trio.CancelScope(shield=True), trio.move_on_after(_REMOVE_S):
            try:
                await trio.to_thread.run_sync(_unmap, self.mappings, abandon_on_cancel=True)
            except TransportError as exc:
                log.info("ports not unmapped reason=%s", exc)


def _router() -> Any:
    """Find the router. Raises: `TransportError`."""
    import miniupnpc

    router = miniupnpc.UPnP()
    router.discoverdelay = _DISCOVER_MS
    try:
        if not router.discover():
            raise TransportError("no router on this network speaks UPnP")
        router.selectigd()
    except Exception as exc:  # the library raises nothing more particular
        raise TransportError(f"no router forwards ports: {exc}") from exc
    return router


def _map(wanted: Sequence[Port], known: Sequence[Mapping]) -> tuple[Mapping, ...]:
    router = _router()
    try:
        external_ip = str(router.externalipaddress())
    except Exception as exc:
        raise TransportError(f"the router does not tell its address: {exc}") from exc
    found = []
    for carrier, port in wanted:
        held = [item.external_port for item in known if (item.carrier, item.port) == (carrier, port)]
        candidates = [*held, port, *(random.randrange(20_000, 60_000) for _ in range(_TRIES))]
        for external_port in dict.fromkeys(candidates):
            if _add(router, carrier, port, external_port):
                found.append(
                    Mapping(carrier=carrier, port=port, external_port=external_port, external_ip=external_ip)
                )
                break
    return tuple(found)


def _add(router: Any, carrier: str, port: int, external_port: int) -> bool:
    protocol = _protocol(carrier)
    for lease_s in (LEASE_S, 0):  # some routers know only mappings that last for ever
        try:
            if router.addportmapping(
                external_port, protocol, router.lanaddr, port, _DESCRIPTION, "", lease_s
            ):
                return True
        except Exception as exc:
            log.debug("port not mapped port=%d reason=%s", external_port, exc)
    return False


def _unmap(mappings: Sequence[Mapping]) -> None:
    router = _router()
    for item in mappings:
        try:
            router.deleteportmapping(item.external_port, _protocol(item.carrier))
        except Exception as exc:
            log.info("port not unmapped port=%d reason=%s", item.external_port, exc)


def _protocol(carrier: str) -> str:
    return "TCP" if carrier == "tcp" else "UDP"
