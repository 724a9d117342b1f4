"""The constraint of settings that list multiaddrs."""

from __future__ import annotations

from plasm_core.records.fields import Constraint, names


def multiaddr_list() -> Constraint:
    """Return the constraint for a list of texts that begin as multiaddrs do; only their users parse them."""
    return names(r"/[!-~]+", 256, what="addresses such as /ip4/192.0.2.1/tcp/4001")
