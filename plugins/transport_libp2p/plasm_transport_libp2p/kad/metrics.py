"""The counters of a Kademlia node as metric series (`plasm_core.metrics`)."""

from __future__ import annotations

from collections.abc import Mapping

from plasm_core.metrics import series
from plasm_transport_libp2p.kad import message as messages

_TYPES = {
    str(messages.GET_VALUE): "get_value",
    str(messages.ADD_PROVIDER): "add_provider",
    str(messages.GET_PROVIDERS): "get_providers",
    str(messages.FIND_NODE): "find_node",
    str(messages.PING): "ping",
}
_PLAIN = {
    "found": "directory_peers_found_total",
    "refused": "directory_records_refused_total",
    "throttled": "directory_requests_refused_total",
    "overlooked": "directory_peers_overlooked_total",
}
_REASONED = {"lost": "directory_peers_lost_total", "failed": "directory_requests_failed_total"}


def of(counters: Mapping[str, int]) -> dict[str, float]:
    """Return the metric series for a node's counters, whose keys look like `sent_3` and `lost_timeout`."""
    found: dict[str, float] = {}
    for key, count in counters.items():
        what, _, which = key.partition("_")
        if not which and what in _PLAIN:
            found[_PLAIN[what]] = count
        elif which and what in _REASONED:
            found[series(_REASONED[what], reason=which)] = count
        elif what in ("sent", "answered"):
            name = series("directory_messages_total", direction=what, type=_TYPES.get(which, "other"))
            found[name] = found.get(name, 0) + count
    return found
