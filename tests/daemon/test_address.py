"""`plasm address` prints what another machine is given, and `plasm key pem` the key of any node."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path

import pytest

from plasm_core import starting
from plasm_core.cli.address import address
from plasm_core.client import daemon_query
from plasm_core.errors import PeerUnreachableError
from plasm_core.records.spki import public_key_pem
from tests.support.cli import OK, UNREACHABLE, USAGE
from tests.support.daemon import DEADLINE_S, Daemon
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


def test_a_daemon_that_has_not_opened_its_network_yet_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It answers on its own socket first: `plasm address` right after its start said that it was on no network."""
    pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
    listen = 'transport.libp2p.listen=["/ip4/127.0.0.1/tcp/0"]'
    arguments = ("--transport", "libp2p", "--set", listen)
    with Daemon(tmp_path, "2", *arguments, program="tests.support.slow_network_daemon") as daemon:
        daemon.start()
        shown = json.loads(daemon.plasm("doctor", "--json", check=False).stdout)
        monkeypatch.setenv("PLASM_SOCKET", str(daemon.socket))
        monkeypatch.setattr(starting, "PATIENCE_S", DEADLINE_S)
        address.main([], standalone_mode=False)

    assert [item["found"] for item in shown if item["name"] == "listening libp2p"] == ["opening"]
    assert capsys.readouterr().out.startswith("/ip4/127.0.0.1/tcp/")


def test_a_daemon_that_is_silent_while_it_loads_its_network_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a container the code of libp2p took more than the 5 s that one question waits."""
    pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
    listen = 'transport.libp2p.listen=["/ip4/127.0.0.1/tcp/0"]'
    with (
        Daemon(tmp_path, "--transport", "libp2p", "--set", listen) as daemon,
        socket.socket(socket.AF_UNIX) as silent,
    ):
        daemon.start("ready peer=")
        path = daemon.socket.with_name("silent.sock")
        silent.bind(str(path))
        silent.listen()
        held = []

        def accept() -> None:
            held.append(silent.accept())
            os.replace(daemon.socket, path)

        thread = threading.Thread(target=accept)
        thread.start()
        monkeypatch.setenv("PLASM_SOCKET", str(path))
        monkeypatch.setattr(daemon_query, "_ASK_S", 1.0)
        monkeypatch.setattr(starting, "PATIENCE_S", DEADLINE_S)
        address.main([], standalone_mode=False)
        thread.join(DEADLINE_S)
        held[0][0].close()

    assert capsys.readouterr().out.startswith("/ip4/127.0.0.1/tcp/")


def test_a_network_that_does_not_open_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
    arguments = ("--transport", "libp2p")
    with Daemon(tmp_path, "1000", *arguments, program="tests.support.slow_network_daemon") as daemon:
        daemon.start()
        monkeypatch.setenv("PLASM_SOCKET", str(daemon.socket))
        monkeypatch.setattr(starting, "PATIENCE_S", 0.2)
        with pytest.raises(PeerUnreachableError, match="does not listen on its network yet") as caught:
            address.main([], standalone_mode=False)

    assert caught.value.hint is not None
    assert "plasm doctor" in caught.value.hint


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
