"""`GET /v1/peers` searches the real network, once for many that ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.web_server import WebServer

for needed in ("hypercorn", "starlette", "python_multipart", "prometheus_client"):
    pytest.importorskip(needed, reason="the extra web is not installed")


def test_a_node_of_the_network_is_found_with_its_record(
    worker: Daemon, bootstrap: str, tmp_path: Path
) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.start()
        settings = f'discovery.kademlia.bootstrap=["{bootstrap}"]'
        with WebServer(daemon, "--set", settings, "--set", "discovery.kademlia.allow_private=true") as web:
            web.start()

            found, again = web.ask("GET", "/v1/peers"), web.ask("GET", "/v1/peers")

    assert found.json["network"] is True
    assert [peer["capabilities"]["lends"] for peer in found.json["peers"]] == [True]
    assert found.json["peers"][0]["known"] is False
    assert again.json == found.json, "the second is answered by the first's search"


def test_without_a_network_a_search_is_refused(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.start()
        with WebServer(daemon) as web:
            web.start()

            assert web.ask("GET", "/v1/peers").json == {"peers": [], "network": False}
