"""A foreign peer, JavaScript libp2p with a client written from docs/, finds real nodes and has them run a job."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.network.conftest import HELLO, LABORATORY, address_of
from tests.support.daemon import Daemon
from tests.support.wat import padded

HERE = Path(__file__).parent
LIBRARIES = Path(sys.prefix) / "interop" / "node_modules"
LISTEN = '["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"]'
NETWORKED = ("--transport", "libp2p", "--set", f"transport.libp2p.listen={LISTEN}", *LABORATORY)
TIMEOUT_S = 90

pytestmark = [
    pytest.mark.skipif(
        shutil.which("node") is None or not LIBRARIES.is_dir(),
        reason="there is no Node 20 with JavaScript libp2p: script/test installs the libraries where it can",
    ),
    pytest.mark.skipif(sys.version_info < (3, 11), reason="QUIC needs Python 3.11"),
]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Daemon]]:
    """A bootstrap node that runs no strangers' jobs, and a worker."""
    pytest.importorskip("libp2p")
    with Daemon(tmp_path_factory.mktemp("bootstrap"), *NETWORKED) as bootstrap:
        bootstrap.start(until=" ready peer=")
        known = ("--bootstrap", address_of(bootstrap))
        with Daemon(tmp_path_factory.mktemp("worker"), *NETWORKED, "--lend", *known) as worker:
            worker.start(until=" ready peer=")
            yield bootstrap, worker


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The foreign client, where it finds its libraries."""
    for source in HERE.glob("*.mjs"):
        shutil.copy(source, tmp_path)
    shutil.copy(HERE / "package.json", tmp_path)
    (tmp_path / "node_modules").symlink_to(LIBRARIES)
    return tmp_path / "client.mjs"


def at(daemon: Daemon, carrier: str) -> str:
    """Return where a node listens by a carrier."""
    line = next(line for line in daemon.log.read_text().splitlines() if "listening transport=libp2p" in line)
    part = {"tcp": "/tcp/", "quic": "/quic-v1/"}[carrier]
    return next(word for word in line.partition("addresses=")[2].split(",") if part in word)


def ask(program: Path, *arguments: str, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["node", str(program), *arguments], input=stdin, capture_output=True, timeout=TIMEOUT_S, check=False
    )


@pytest.mark.parametrize("carrier", ["tcp", "quic"])
def test_a_foreign_peer_finds_a_node_by_its_class_and_has_it_run_a_job(
    nodes: tuple[Daemon, Daemon], program: Path, tmp_path: Path, carrier: str
) -> None:
    """The client itself checks the node's record, and the receipt's signature, job and digests.

    Module and output are more than is taken without new credit; the second run proves to have the module.
    """
    bootstrap, worker = nodes
    module = tmp_path / "module.wasm"
    module.write_bytes(padded(HELLO.read_bytes(), 3 << 20))
    text = bytes(range(32, 127)) * 10_000

    ran = ask(program, carrier, at(bootstrap, carrier), "engine/wasmtime", str(module), stdin=text)

    assert ran.returncode == 0, ran.stderr.decode()
    told = json.loads(ran.stdout)
    assert told["peer"] == at(worker, carrier).rpartition("/")[2]
    assert f"/{carrier if carrier == 'tcp' else 'quic-v1'}" in told["carrier"]
    assert told["engines"] == ["wasmtime"]
    assert bytes.fromhex(told["stdout_hex"]) == text[::-1]
    assert told["outcome"] == {"kind": "exited", "code": 0}
    assert told["states"][-1] == "COMPLETE"
    assert told["same_output"] is True
    assert told["module_was_known"] == [False, True]
    assert told["released"] == "COMPLETE"


def test_a_foreign_peer_finds_a_node_by_its_name(nodes: tuple[Daemon, Daemon], program: Path) -> None:
    bootstrap, worker = nodes
    peer = at(worker, "tcp").rpartition("/")[2]

    ran = ask(program, "tcp", at(bootstrap, "tcp"), f"peer/{peer}", str(HELLO), stdin=b"abc")

    assert ran.returncode == 0, ran.stderr.decode()
    assert json.loads(ran.stdout)["peer"] == peer


def test_a_node_that_does_not_lend_tells_a_foreign_peer_why(
    nodes: tuple[Daemon, Daemon], program: Path
) -> None:
    bootstrap, _ = nodes

    refused = ask(program, "tcp", at(bootstrap, "tcp"), "--at-bootstrap", str(HELLO), stdin=b"abc")

    assert refused.returncode == 1
    assert b"runs its own users' jobs only" in refused.stderr
    assert b"policy" in refused.stderr
