"""The nodes of the network, searched by a client with a fresh identity: the server has no key.

A search opens a host of the network and takes some seconds: there is one at a time, and its result serves for a while.
"""

from __future__ import annotations

import logging
from typing import Any

import attrs
import trio

from plasm_core.client.node_choice import RemoteDialler
from plasm_core.client.opening import DEFAULT_DISCOVERY, NETWORK_TRANSPORT, open_client
from plasm_core.config import Config
from plasm_core.errors import PluginError, WaitTimeoutError
from plasm_core.records.converter import unstructure

log = logging.getLogger(__name__)

FRESH_S = 30.0
SEARCH_S = 30.0
_SETTLE_S = 3.0
_ENOUGH = 1000


@attrs.define
class PeerSearch:
    """Searches as the configuration says: `discovery.kademlia.bootstrap` or `mdns`."""

    settings: Config
    _turn: trio.Lock = attrs.field(factory=trio.Lock)
    _found: list[dict[str, Any]] | None = None
    _found_at: float = 0.0

    @property
    def is_configured(self) -> bool:
        """Whether the configuration names a network to search."""
        name = (self.settings.plasm.discovery or DEFAULT_DISCOVERY)[0]
        table = self.settings.table("discovery", name)
        return bool(table.get("bootstrap") or table.get("mdns"))

    async def peers(self) -> list[dict[str, Any]] | None:
        """Return the nodes that answered, the best first, as JSON data; None if there is no network to search.

        Raises: `PlasmError`.
        """
        if not self.is_configured:
            return None
        async with self._turn:
            if self._found is None or trio.current_time() - self._found_at >= FRESH_S:
                self._found = await self._search()
                self._found_at = trio.current_time()
            return self._found

    async def _search(self) -> list[dict[str, Any]] | None:
        try:
            with trio.fail_after(SEARCH_S):
                async with open_client(self.settings, transport=NETWORK_TRANSPORT) as client:
                    dialler = client.dialler
                    assert isinstance(dialler, RemoteDialler)
                    found = await dialler.search.candidates(enough=_ENOUGH, settle_s=_SETTLE_S)
        except PluginError as exc:
            log.warning("the network cannot be searched reason=%s", exc)
            return None
        except trio.TooSlowError:
            raise WaitTimeoutError(f"after {SEARCH_S:.0f} s still searching for nodes") from None
        known = set(self.settings.plasm.known)
        return [
            {
                "peerId": str(item.peer),
                "addresses": list(item.addresses),
                "latencyS": round(item.latency_s, 4),
                "known": str(item.peer) in known,
                "capabilities": unstructure(item.record),
            }
            for item in found
        ]
