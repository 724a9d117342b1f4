"""Neighbours that say of a node at home that they have reached it: it believes none that did not come."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.lab.internet import Host, Internet
from tests.lab.nat import Nat
from tests.lab.node import Node, eventually
from tests.support.daemon import DEADLINE_S

NOBODY_CAME = "reports a success, but no connection brought the nonce"


@contextmanager
def liar(host: Host, log: Path, *bootstrap: str) -> Iterator[str]:
    """Have somebody lie on a host, and give his address."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            host.namespace.command(sys.executable, "-m", "tests.lab.liar", *bootstrap),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + DEADLINE_S
        while not (found := re.search(r"ready address=(\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield found[1]
    finally:
        process.kill()
        process.wait(DEADLINE_S)


@pytest.mark.parametrize("nat", [Nat.PORT_RESTRICTED, Nat.SYMMETRIC], ids=lambda nat: nat.value)
def test_a_node_that_hears_only_liars_does_not_believe_that_it_is_reached(
    internet: Internet, tmp_path: Path, nat: Nat
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(liar(internet.host("liar"), tmp_path / "first.log"))
        stack.enter_context(liar(internet.host("accomplice"), tmp_path / "second.log", first))
        node = stack.enter_context(
            Node(
                internet.host(f"victim-{nat.value}", nat),
                tmp_path / "victim",
                *("--lend", "--set", "discovery.kademlia.reachability_s=5"),
                bootstrap=first,
            )
        )
        node.start()
        node.wait_log(r"dial back reported without its nonce by=\S+ told_by=")
        eventually(lambda: node.log.read_text().count("without its nonce by=") >= 8, "more lies to be heard")
        checks = node.doctor()

        assert not checks["reachability"]["found"].startswith("public")
        assert "verdict=public" not in node.log.read_text()
        assert f"/ip4/{node.host.public_address}/" not in checks["advertised"]["found"]
        evidence = checks[f"reachability /ip4/{node.host.public_address}/tcp/4001"]["found"]
        assert NOBODY_CAME in evidence
        eventually(
            lambda: "turned away" in (tmp_path / "first.log").read_text(), "the liar to be turned away"
        )
