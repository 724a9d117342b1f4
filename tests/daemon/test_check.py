"""`plasmd --check` finds what a start would find, and leaves nothing behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import CONFIGURATION, FAILURE, OK, PLUGIN
from tests.support.daemon import DEADLINE_S, Daemon


def check(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in the environment of a daemon."""
    return subprocess.run(
        [sys.executable, "-m", "plasm_core.daemon", "--check", *arguments],
        env=daemon.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        cwd=daemon.home,
    )


@pytest.mark.parametrize(
    ("toml", "code", "said"),
    [
        ("[storage]\nkep_s = 1", CONFIGURATION, "storage.kep_s: unknown field, did you mean keep_s? (in "),
        ("[transport.local]\n\nmod = '0600'", CONFIGURATION, "transport.local.mod: unknown field, did you mean mode? (in "),
        ("[transport.local]\n\ngroup = 'nosuchgroup'", FAILURE, "there is no group nosuchgroup"),
        ("[transport.local]\ntrusted_user = 'nosuchuser'", CONFIGURATION, "there is no user nosuchuser"),
        ("[plasm]\nruntime = 'wasmtim'", PLUGIN, "did you mean wasmtime?"),
        ("[plasm]\ntransport = ['locale']", PLUGIN, "did you mean local?"),
        ("[gateway]\nenabled = true\ntransport = 'absent'", PLUGIN, "provides the transport absent"),
    ],
)  # fmt: skip
def test_problems_that_would_prevent_the_daemons_start_are_found(
    tmp_path: Path, toml: str, code: int, said: str
) -> None:
    file = tmp_path / "plasmd.toml"
    file.write_text(toml)
    with Daemon(tmp_path) as daemon:
        done = check(daemon, "--config", str(file))

        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert said in done.stderr
        if said.endswith("(in "):
            assert f"(in {file}:{toml.count(chr(10)) + 1})" in done.stderr
        assert list(daemon.socket.parent.iterdir()) == []


@pytest.mark.parametrize("carrier", ["tcp", "udp"])
def test_a_port_that_is_in_use_is_found(tmp_path: Path, carrier: str) -> None:
    pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
    kind = socket.SOCK_STREAM if carrier == "tcp" else socket.SOCK_DGRAM
    with Daemon(tmp_path) as daemon, socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if carrier == "tcp":
            taken.listen()
        end = "/quic-v1" if carrier == "udp" else ""
        address = f"/ip4/127.0.0.1/{carrier}/{taken.getsockname()[1]}{end}"
        listen = ("--transport", "libp2p", "--set", f'transport.libp2p.listen=["{address}"]')

        done = check(daemon, *listen)

        assert (done.returncode, done.stdout) == (FAILURE, "")
        assert f"cannot listen on {address}: " in done.stderr


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('transport.libp2p.listen=["127.0.0.1:4001"]', "listen: expected a list of addresses such as /ip4/"),
        (
            'transport.libp2p.listen="/ip4/127.0.0.1/tcp/4001"',
            "listen: expected a list of addresses such as /ip4/",
        ),
        ('transport.libp2p.listen=["/ip4/127.0.0.1/tcp/99999"]', "which is not a multiaddr: "),
        (
            'transport.libp2p.listen=["/dns4/example.org/tcp/4001"]',
            "cannot listen on /dns4/example.org/tcp/4001",
        ),
        ('discovery.kademlia.bootstrap=["one"]', "bootstrap: expected a list of addresses such as /ip4/"),
    ],
)
def test_a_malformed_address_is_found_while_a_daemon_runs(tmp_path: Path, setting: str, said: str) -> None:
    """The running daemon has the ports, so only the words of the addresses can be checked."""
    pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
    with Daemon(tmp_path) as daemon:
        daemon.start()

        done = check(daemon, "--transport", "libp2p", "--set", "plasm.discovery=kademlia", "--set", setting)

        assert (done.returncode, done.stdout) == (CONFIGURATION, "")
        assert setting.partition("=")[0] + ": " in done.stderr
        assert said in done.stderr


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (("plasm.discovery=kademlia",), "plasm.transport"),
        (("gateway.enabled=true", "gateway.transport=local"), "gateway.transport"),
    ],
)
def test_a_discovery_without_its_transport_is_found_as_at_the_start(
    tmp_path: Path, settings: tuple[str, ...], named: str
) -> None:
    pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
    given = [word for setting in settings for word in ("--set", setting)]
    with Daemon(tmp_path, *given) as daemon:
        done = check(daemon, *given)
        started = daemon.launch().wait(DEADLINE_S)

        assert (done.returncode, started, done.stdout) == (CONFIGURATION, CONFIGURATION, "")
        assert "the discovery kademlia needs the transport libp2p" in done.stderr
        assert f"hint: name it in {named}" in done.stderr
        assert daemon.said == done.stderr
        assert not (daemon.state / "plasmd.db").exists()


def test_a_state_of_a_newer_release_is_found(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.state.mkdir(parents=True, mode=0o700)
        (daemon.state / "plasmd.db").write_bytes(b"not a database at all, but someone's notes")

        done = check(daemon)

        assert done.returncode == FAILURE
        assert "plasmd.db is not a database" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_state_directory_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.state.mkdir(parents=True, mode=0o500)

        assert "Permission denied" in check(daemon).stderr


def test_with_a_running_daemon_the_rest_is_checked(tmp_path: Path) -> None:
    """As before a reload: its own socket and ports are not in its way."""
    with Daemon(tmp_path) as daemon:
        daemon.start()

        valid, wrong = check(daemon), check(daemon, "--set", "storage.kep_s=1")
        answers = daemon.answers()

        assert (valid.returncode, wrong.returncode, answers) == (OK, CONFIGURATION, True)
        assert "the configuration is valid; another daemon" in valid.stdout
        assert "did you mean keep_s? (in --set)" in wrong.stderr
