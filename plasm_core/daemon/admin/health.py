"""The health of a running daemon, for its own users only: `/plasm/health/1.0.0`.

The answer is a JSON list of checks, as `plasm doctor --json` shows them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence

import attrs

from plasm_core.daemon.networks import Networks
from plasm_core.daemon.service import Service
from plasm_core.diagnostics import FAILURE, OK, OPENING, WARNING, Check, disk
from plasm_core.plugins.interfaces import Directory, Network, StreamHandler
from plasm_core.protocol.single_answer import answering
from plasm_core.records.port_mapping import PortMapping
from plasm_core.records.reachability import (
    AddressReach,
    Reachability,
    ReachabilityChange,
    ReachabilityVerdict,
)

_LOCAL = "local"


@attrs.frozen(kw_only=True)
class Parts:
    """The parts that the checks examine: the service, and the networks, which are opened while the daemon starts."""

    service: Service
    open: Networks
    transports: Sequence[str] = ()
    """The names of all transports of the configuration, of which some may not be open yet."""
    started_at: float = attrs.field(factory=time.time)
    """When the daemon started, in seconds since 1970."""

    @property
    def networks(self) -> Mapping[str, Network]:
        """The transports that are open, by name."""
        return self.open.networks

    @property
    def directories(self) -> Mapping[str, Directory]:
        """The discoveries that are open, by name."""
        return self.open.directories


def tell_health(parts: Parts) -> StreamHandler:
    """Return the stream handler that answers with the checks, as JSON."""
    return answering(lambda: json.dumps([attrs.asdict(check) for check in examine(parts)]).encode())


def examine(parts: Parts) -> Iterator[Check]:
    """Return all checks. None of them waits."""
    service = parts.service
    counts = (
        f"{len(service.jobs.schedule.slots)} running, {len(service.jobs.schedule.queue)} waiting, {len(service.offers)} uploading, "
        f"{'lends' if service.node.config.policy.lend else 'runs its own jobs only'}"
    )
    yield Check(name="daemon", status=OK, found=f"{service.peer}, {counts}")
    yield disk("daemon's state", service.store.directory)
    yield from _listening(parts.networks)
    yield from (
        Check(name=f"listening {name}", status=WARNING, found=OPENING, hint="ask again in a moment")
        for name in parts.transports
        if name not in parts.networks
    )
    beyond = any(name != _LOCAL for name in parts.networks)
    if beyond and not parts.directories:
        yield Check(
            name="discovery",
            status=WARNING,
            found="none",
            hint="others find this node by: --discovery kademlia",
        )
    for name, directory in parts.directories.items():
        yield from _directory(name, directory, lends=service.node.config.policy.lend)


def _listening(networks: Mapping[str, Network]) -> Iterator[Check]:
    for name, network in networks.items():
        found = " ".join(network.addresses)
        yield Check(
            name=f"listening {name}",
            status=OK if found else FAILURE,
            found=found or "nowhere",
            hint=None if found else f"set transport.{name}.listen to addresses of this machine",
        )


def _directory(name: str, directory: Directory, *, lends: bool) -> Iterator[Check]:
    known = directory.reachability
    for address, reached in known.bootstrap:
        yield Check(
            name=f"bootstrap {address}",
            status=OK if reached else FAILURE,
            found="reached" if reached else "not reached the last time",
            hint=None
            if reached
            else "is the node there running, and does a firewall here let it be dialled?",
        )
    neighbours = len(directory.neighbours)
    yield Check(
        name=f"neighbours {name}",
        status=OK if neighbours else FAILURE if known.bootstrap else WARNING,
        found=f"{neighbours}",
        hint=None
        if neighbours
        else "name a node to begin at with: --bootstrap /ip4/…/tcp/4001/p2p/12D3KooW…",
    )
    yield _verdict(known, lends=lends)
    yield from (_address(item) for item in known.addresses)
    yield from ways_round(known)
    yield Check(name="advertised", status=OK, found=" ".join(known.advertised) or "nothing")
    now_s = time.monotonic()
    yield from (Check(name="changed", status=OK, found=told(change, now_s)) for change in known.changes)


_UNITS = (("days", 86_400), ("h", 3600), ("min", 60))


def told(change: ReachabilityChange, now_s: float) -> str:
    """Return a sentence with what happened, how long ago, and the time, for comparison with logs."""
    ago_s = max(int(now_s - change.noted_s), 0)
    name, unit_s = next(((name, unit_s) for name, unit_s in _UNITS if ago_s >= 2 * unit_s), ("s", 1))
    moment = change.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{change.what}, {ago_s // unit_s} {name} ago ({moment})"


def _verdict(known: Reachability, *, lends: bool) -> Check:
    verdict = known.verdict
    status, hint = OK, None
    if verdict is ReachabilityVerdict.PUBLIC:
        found = "public: anyone reaches this node"
    elif verdict is ReachabilityVerdict.PRIVATE and known.relays:
        status = WARNING
        found = "private: other peers reach this node only through a relay"
        hint = "for direct connections, let the router forward the node's ports, or switch UPnP or NAT-PMP on there"
    elif verdict is ReachabilityVerdict.PRIVATE:
        status = FAILURE if lends else WARNING
        found = "private: no peer reaches this node, and no relay accepts it"
        hint = "let the router or firewall forward its ports, or begin at a network that has relays"
    else:
        status = WARNING
        found = "unknown: " + (
            "only peers that this node had spoken to have dialled it"
            if known.addresses
            else "no peer with a public address could be asked yet"
        )
        hint = "ask again in a minute"
    return Check(name="reachability", status=status, found=found, hint=hint)


def _address(item: AddressReach) -> Check:
    evidence = "; ".join(item.evidence)
    status = OK if item.verdict is ReachabilityVerdict.PUBLIC else WARNING
    return Check(
        name=f"reachability {item.address}", status=status, found=f"{item.verdict.value}: {evidence}"
    )


def ways_round(known: Reachability) -> Iterator[Check]:
    """Return the checks of the ways past a router: port mappings, relays and hole punching."""
    for relay in known.relays:
        yield Check(name=f"relay {relay}", status=OK, found="in use")
    yield from map(_mapping, known.mappings)
    if known.unmapped:
        yield _unmapped(known)


def _mapping(item: PortMapping) -> Check:
    found = f"by {item.way}: {item.external_ip}:{item.external_port} leads here"
    status, hint = OK, None
    if not item.is_public:
        status, found = WARNING, f"{found}, but that address is not public"
        hint = "another router stands before yours, or the provider's: let that one forward the port too"
    return Check(name=f"mapping {item.carrier} {item.port}", status=status, found=found, hint=hint)


def _unmapped(known: Reachability) -> Check:
    found = ("not all: " if known.mappings else "none: ") + "; ".join(known.unmapped)
    if known.verdict is ReachabilityVerdict.PUBLIC:
        return Check(name="mapping", status=OK, found=found)
    hint = "switch UPnP or NAT-PMP on in the router, or let it forward the ports for good"
    return Check(name="mapping", status=WARNING, found=found, hint=hint)
