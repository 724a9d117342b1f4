"""Whether others reach a node, and how that is known."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import attrs

from plasm_core.records.port_mapping import PortMapping


class Verdict(str, Enum):
    """What was found out about an address, or a node."""

    PUBLIC = "public"
    """Anyone reaches it."""
    PRIVATE = "private"
    """Nobody does who was not spoken to before."""
    UNKNOWN = "unknown"


@attrs.frozen(kw_only=True)
class AddressReach:
    """One address of a node, as others see it. `evidence`: who tried to dial it, and what came of it."""

    address: str
    verdict: Verdict
    evidence: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Change:
    """Something that happened to a node's being reached, in words, and when."""

    at: datetime
    what: str


@attrs.frozen(kw_only=True)
class Reachability:
    """What a node knows of its being reached.

    `advertised`: the addresses that others are told. `mappings`: ports that a router forwards on request.
    `unmapped`: why it does not forward all that it should. `relays`: the peers through which it is reached while
    nobody reaches it straight. `changes`: what happened of late, the latest first.
    """

    addresses: tuple[AddressReach, ...] = ()
    advertised: tuple[str, ...] = ()
    mappings: tuple[PortMapping, ...] = ()
    unmapped: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    bootstrap: tuple[tuple[str, bool], ...] = ()
    """Where it is to begin, and whether it got there the last time it tried."""

    @property
    def verdict(self) -> Verdict:
        """The node's: public if any address is, private if all are, as far as is known."""
        verdicts = {item.verdict for item in self.addresses}
        if Verdict.PUBLIC in verdicts:
            return Verdict.PUBLIC
        return Verdict.PRIVATE if verdicts == {Verdict.PRIVATE} else Verdict.UNKNOWN
