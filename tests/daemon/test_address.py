"""`plasm address` prints what another machine is given, and `plasm key pem` the key of any node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plasm_core.records.spki import public_key_pem
from tests.support.cli import OK, UNREACHABLE, USAGE
from tests.support.daemon import Daemon
from tests.support.receipts import SIGNER


def test_the_address_that_others_need_is_printed_whole(tmp_path: Path) -> None:
    pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
    listen = 'transport.libp2p.listen=["/ip4/127.0.0.1/tcp/0"]'
    with Daemon(tmp_path, "--transport", "libp2p", "--set", listen) as daemon:
        daemon.start("ready peer=")
        done = daemon.plasm("address")
        shown = json.loads(daemon.plasm("address", "--json").stdout)
        (line,) = done.stdout.decode().splitlines()

    assert line.startswith("/ip4/127.0.0.1/tcp/")
    assert line.endswith(f"/p2p/{shown['peerId']}")
    assert shown["addresses"] == [line]


def test_a_daemon_that_is_on_no_network_has_no_address(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        before = daemon.plasm("address", check=False)
        daemon.start()
        done = daemon.plasm("address", check=False)

    assert (before.returncode, done.returncode, done.stdout) == (UNREACHABLE, UNREACHABLE, b"")
    assert b"plasmd --transport libp2p" in done.stderr


def test_any_nodes_key_is_printed_as_pem(tmp_path: Path) -> None:
    """A PeerId holds the key: no network is asked."""
    peer = SIGNER.peer_id
    with Daemon(tmp_path) as daemon:
        named = daemon.plasm("key", "pem", str(peer))
        addressed = daemon.plasm("key", "pem", f"/ip4/192.0.2.1/tcp/4001/p2p/{peer}")
        wrong = daemon.plasm("key", "pem", "12D3KooWnothing", check=False)
        daemon.plasm("key", "new")
        own = daemon.plasm("key", "pem")
        shown = daemon.plasm("key", "show", "--pem")

    assert named.stdout.decode() == addressed.stdout.decode() == public_key_pem(peer)
    assert (wrong.returncode, wrong.stdout) == (USAGE, b"")
    assert (own.returncode, own.stdout) == (OK, shown.stdout)
