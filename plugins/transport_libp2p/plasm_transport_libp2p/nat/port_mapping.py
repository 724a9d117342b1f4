"""Keeps port mappings at the router, by the first protocol that it speaks."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import trio

from plasm_core.errors import TransportError
from plasm_core.records.port_mapping import PortMapping
from plasm_transport_libp2p.addresses import Port
from plasm_transport_libp2p.nat.natpmp import NatPmp
from plasm_transport_libp2p.nat.port_mapper import PortMappingProtocol
from plasm_transport_libp2p.nat.upnp import Upnp

log = logging.getLogger(__name__)

_LOOK_S = 600.0
_LEAST_RENEW_S = 30.0
_REMOVE_S = 3.0
_START_S = 10.0
"""Time for a router that may have restarted before mappings in doubt are renewed."""
_AGAIN_S = (30.0, 900.0)


class PortMapper:
    """Keeps mappings while it runs, each port by the first protocol that maps it.

    `ports` returns the ports to map; `changed` is called when `mappings` changes. `failures`: why ports are not mapped.
    """

    def __init__(
        self,
        ports: Callable[[], Sequence[Port]],
        changed: Callable[[], None],
        forwarders: Sequence[PortMappingProtocol] | None = None,
    ) -> None:
        self._ports = ports
        self._changed = changed
        # NAT-PMP first: its absence is known within four seconds, that of UPnP only later.
        self._forwarders = (NatPmp(), Upnp()) if forwarders is None else tuple(forwarders)
        self._doubted = trio.Event()
        self._moved = trio.Event()
        self.mappings: tuple[PortMapping, ...] = ()
        self.failures: tuple[str, ...] = ()

    def check(self) -> None:
        """Renew in ten seconds: the mappings do not seem to work."""
        self._doubted.set()

    def renew(self) -> None:
        """Renew at once: this machine's addresses have changed, and perhaps its router."""
        self._moved.set()

    async def run(self) -> None:
        """Keep the mappings until cancelled, then remove them."""
        shortest_s, longest_s = _AGAIN_S
        again_s = shortest_s
        try:
            while True:
                self._doubted, self._moved = trio.Event(), trio.Event()
                before = set(map(_port, self.mappings))
                pause_s = await self._map_all()
                if before - set(map(_port, self.mappings)):
                    pause_s = await self._map_all()  # a lost port may now be mapped by another protocol
                if pause_s is None:
                    pause_s, again_s = again_s, min(2 * again_s, longest_s)
                else:
                    again_s = shortest_s
                with trio.move_on_after(pause_s):
                    await self._until_in_doubt()
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(_REMOVE_S):
                async with trio.open_nursery() as nursery:
                    for forwarder in self._forwarders:
                        nursery.start_soon(forwarder.release)
            self.mappings = ()

    async def _until_in_doubt(self) -> None:
        async def doubted() -> None:
            await self._doubted.wait()
            await trio.sleep(_START_S)

        async with trio.open_nursery() as nursery:

            async def first(wait: Callable[[], Awaitable[None]]) -> None:
                await wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(first, doubted)
            nursery.start_soon(first, self._moved.wait)
            for forwarder in self._forwarders:
                nursery.start_soon(first, forwarder.until_forgotten)

    async def _map_all(self) -> float | None:
        """Return the seconds until the next renewal, None if there are ports to map and none was mapped."""
        wanted = list(self._ports())
        held = {_port(item): item for item in self.mappings}
        found: dict[Port, PortMapping] = {}
        failures: list[str] = []
        due_s: list[float] = []
        for forwarder in self._forwarders:
            # A mapped port stays with its protocol: another would map it a second time.
            asked = {
                port: held[port].external_port if port in held else port[1]
                for port in wanted
                if port not in found and (port not in held or held[port].way == forwarder.name)
            }
            if not asked:
                continue
            try:
                granted = await forwarder.map(asked)
            except TransportError as exc:
                failures.append(f"{forwarder.name}: {exc}")
                continue
            failures += [f"{forwarder.name}: {reason}" for reason in granted.refusals]
            found |= {_port(item): item for item in granted.mappings}
            if granted.mappings:
                due_s.append(max(granted.renew_s, _LEAST_RENEW_S))
        self._take(tuple(found.values()), tuple(failures) if len(found) < len(wanted) else ())
        return min(due_s, default=None if wanted else _LOOK_S)

    def _take(self, mappings: tuple[PortMapping, ...], failures: tuple[str, ...]) -> None:
        if (mappings, failures) != (self.mappings, self.failures):
            told = "; ".join(map(str, mappings)) or "none"
            log.info("ports mapped mappings=%s failures=%s", told, "; ".join(failures) or "none")
        news = mappings != self.mappings
        self.mappings, self.failures = mappings, failures
        if news:
            self._changed()


def _port(item: PortMapping) -> Port:
    return item.carrier, item.port
