"""Which addresses are dialled because a stranger names them: the vectors that PHP's client reads too."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

from multiaddr import Multiaddr

from plasm_core.address_classes import TABLE, Private, class_of_ip
from plasm_core.errors import PeerUnreachableError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.addresses import is_dialled_on_hearsay, kind_of, parse, prefix_of, private_ranges

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "tests" / "vectors" / "addresses.json").read_text()
)


def dialled(several: list[str], private: Private) -> list[str]:
    return [text for text in several if is_dialled_on_hearsay(Multiaddr(text), private)]


def test_the_table_is_the_one_of_the_vectors() -> None:
    assert [list(row) for row in TABLE] == VECTORS["table"]


@pytest.mark.parametrize("case", VECTORS["classes"], ids=lambda case: case["address"])
def test_an_address_is_of_one_class(case: dict[str, str]) -> None:
    assert class_of_ip(ipaddress.ip_address(case["address"])) == case["class"]


def test_an_address_with_a_zone_is_link_local() -> None:
    assert class_of_ip(ipaddress.ip_address("2606:4700::1%eth0")) == "link-local"


@pytest.mark.parametrize("case", VECTORS["hearsay"], ids=lambda case: " ".join(case["bootstrap"]) or "none")
def test_only_the_range_of_a_bootstrap_node_is_dialled_on_hearsay(case: dict[str, list[str]]) -> None:
    """No peer may name a cloud's metadata service, loopback or another network's routers."""
    private = private_ranges(case["bootstrap"])

    assert dialled(case["dialled"], private) == case["dialled"]
    assert dialled(case["not_dialled"], private) == []


def test_a_laboratory_dials_private_addresses_and_no_special_ones() -> None:
    assert dialled(VECTORS["laboratory"]["dialled"], True) == VECTORS["laboratory"]["dialled"]
    assert dialled(VECTORS["laboratory"]["not_dialled"], True) == []


@pytest.mark.parametrize("text", VECTORS["no_multiaddrs"])
def test_an_address_in_a_non_canonical_form_is_refused(text: str) -> None:
    with pytest.raises(PeerUnreachableError):
        parse(text)


@pytest.mark.parametrize("case", VECTORS["multiaddrs"], ids=lambda case: case["text"])
def test_spellings_that_are_allowed_mean_the_same(case: dict[str, str | None]) -> None:
    where, peer = parse(str(case["text"]))

    assert str(where) == case["where"]
    assert (None if peer is None else str(peer)) == case["peer"]


@pytest.mark.parametrize(
    "relay", [str(PeerId(b"\1" + bytes(31))), "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"]
)
def test_a_relay_is_named_by_a_key_that_proves_something(relay: str) -> None:
    """Otherwise strangers fill the places of addresses with ones that can never be dialled."""
    where = "/ip4/127.0.0.1/tcp/4001"

    assert kind_of(Multiaddr(f"{where}/p2p/{relay}/p2p-circuit")) is None
    assert kind_of(Multiaddr(f"{where}/p2p/{PeerId(bytes(31) + b'n')}/p2p-circuit")) == "relay"


def test_an_embedded_address_counts_for_its_own_network() -> None:
    """Otherwise all hosts behind a NAT64 would be one group, or each address could be a new group."""
    assert prefix_of(ipaddress.ip_address("64:ff9b::808:808")) == "8.8.8.0/24"
    assert prefix_of(ipaddress.ip_address("::ffff:8.8.8.8")) == "8.8.8.0/24"
