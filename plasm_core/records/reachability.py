"""Whether others reach a node, and how that is known."""

from __future__ import annotations

import time
from datetime import datetime
from enum import Enum

import attrs

from plasm_core.records.port_mapping import PortMapping


class ReachabilityVerdict(str, Enum):
    """Whether an address or a node can be reached: public, private or unknown."""

    PUBLIC = "public"
    """Anyone reaches it."""
    PRIVATE = "private"
    """Only peers that this node dialled before can reach it."""
    UNKNOWN = "unknown"


@attrs.frozen(kw_only=True)
class AddressReach:
    """An address of a node, and whether others can reach it.

    `evidence`: which peers dialled it, and with what result.
    """

    address: str
    verdict: ReachabilityVerdict
    evidence: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class ReachabilityChange:
    """A change of a node's reachability, in words, with its time.

    `at`: by the wall clock, for comparison with logs. `noted_s`: in seconds of a monotonic clock.
    """

    at: datetime
    what: str
    noted_s: float = attrs.field(factory=lambda: time.monotonic())


@attrs.frozen(kw_only=True)
class Reachability:
    """A node's knowledge of its own reachability.

    `advertised`: the addresses that it advertises. `mappings`: the ports that a router forwards. `unmapped`: why
    the router does not forward some ports. `relays`: the relays that forward connections while the node is not
    public. `changes`: recent changes, the latest first.
    """

    addresses: tuple[AddressReach, ...] = ()
    advertised: tuple[str, ...] = ()
    mappings: tuple[PortMapping, ...] = ()
    unmapped: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()
    changes: tuple[ReachabilityChange, ...] = ()
    bootstrap: tuple[tuple[str, bool], ...] = ()
    """Where it is to begin, and whether it got there the last time it tried."""

    @property
    def verdict(self) -> ReachabilityVerdict:
        """The node's verdict: public if an address is, private if all known ones are, else unknown."""
        verdicts = {item.verdict for item in self.addresses}
        if ReachabilityVerdict.PUBLIC in verdicts:
            return ReachabilityVerdict.PUBLIC
        return (
            ReachabilityVerdict.PRIVATE
            if verdicts == {ReachabilityVerdict.PRIVATE}
            else ReachabilityVerdict.UNKNOWN
        )
