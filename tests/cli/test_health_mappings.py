"""What the doctor says about the ports that a router forwards, or does not."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from plasm_core.daemon.admin.health import ways_round
from plasm_core.diagnostics import OK, WARNING
from plasm_core.records.port_mapping import PortMapping
from plasm_core.records.reachability import AddressReach, Reachability, ReachabilityVerdict


def mapping(external_ip: str) -> PortMapping:
    return PortMapping(
        carrier="tcp", port=4001, external_ip=IPv4Address(external_ip), external_port=6001, way="NAT-PMP"
    )


def test_a_mapping_says_by_which_protocol_and_from_where() -> None:
    (check,) = ways_round(Reachability(mappings=(mapping("11.0.0.1"),)))

    assert (check.name, check.status) == ("mapping tcp 4001", OK)
    assert check.found == "by NAT-PMP: 11.0.0.1:6001 leads here"


@pytest.mark.parametrize("external_ip", ["192.168.1.2", "100.64.0.9", "10.1.1.1", "0.0.0.0"])
def test_a_mapping_of_a_router_behind_another_router_is_useless(external_ip: str) -> None:
    """So it is where the provider gives its customers no public address."""
    (check,) = ways_round(Reachability(mappings=(mapping(external_ip),)))

    assert check.status == WARNING
    assert check.found.endswith("but that address is not public")
    assert check.hint is not None
    assert "another router" in check.hint


def test_a_missing_mapping_is_reported_with_its_reason_and_remedy() -> None:
    (check,) = ways_round(Reachability(unmapped=("NAT-PMP: no", "UPnP: never")))

    assert (check.name, check.status) == ("mapping", WARNING)
    assert check.found == "none: NAT-PMP: no; UPnP: never"
    assert check.hint is not None


def test_one_missing_port_of_several_is_reported() -> None:
    known = Reachability(mappings=(mapping("11.0.0.1"),), unmapped=("UPnP: quic 4001: no",))

    assert [check.found for check in ways_round(known)][1:] == ["not all: UPnP: quic 4001: no"]


def test_no_mapping_is_no_trouble_to_a_node_that_everyone_reaches() -> None:
    public = AddressReach(address="/ip4/11.0.0.1/tcp/4001", verdict=ReachabilityVerdict.PUBLIC)
    (check,) = ways_round(Reachability(addresses=(public,), unmapped=("UPnP: never",)))

    assert (check.status, check.hint) == (OK, None)
