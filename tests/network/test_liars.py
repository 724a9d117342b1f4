"""Nodes that lie, on a real network with an honest one: jobs of clients and of gateways end as they should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

from plasm_core import Client
from plasm_core.client.reputation_store import ReputationStore
from plasm_core.errors import ReceiptUndecidedError
from plasm_core.records import Handle, PeerId
from plasm_core.records.cid import parse_peer
from tests.network.conftest import HELLO, LABORATORY, NETWORKED, Starter, address_of
from tests.network.test_network import peer_of, peers
from tests.support.daemon import Daemon
from tests.support.sweeping import settings_of

LIES = ("junk", "cancelled", "timed_out", "tainted_failure", "endless")
NOBODY_KNOWS = "a node that you do not know, not re-executed: nobody but that node has run the job"


class LyingDaemon(Daemon):
    """A liar in a daemon's place."""

    script = ""

    def launch(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.lying_node", self.script, *self.arguments],
                env=self.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
            )
        return self.process


Liar = Callable[..., Daemon]


@pytest.fixture
def liar(tmp_path: Path) -> Iterator[Liar]:
    """Start a node that follows a script of `tests.support.lying_node`."""
    with ExitStack() as stack:

        def started(script: str, *arguments: str) -> Daemon:
            home = tmp_path / script
            home.mkdir()
            daemon = LyingDaemon(home, *NETWORKED, "--lend", *arguments)
            daemon.script = script
            stack.enter_context(daemon)
            daemon.start(until=" ready peer=")
            return daemon

        yield started


def remote(address: str, *more: str) -> tuple[str, ...]:
    return ("run", "--bootstrap", address, *LABORATORY, *more, str(HELLO))


@pytest.mark.parametrize("require", ["signature", "known"])
def test_a_receipt_of_a_stranger_says_that_it_is_one(
    liar: Liar, client: Daemon, tmp_path: Path, require: str
) -> None:
    """The receipt is validly signed, but its output was never computed: only that node claims it."""
    forger = liar("honest")
    receipt = tmp_path / "receipt.json"
    command = remote(address_of(forger), "--require", require, "--receipt", str(receipt))

    ran = client.plasm(*command, check=False)

    if require == "signature":
        assert ran.returncode == 0, ran.stderr.decode()
        assert (
            f"receipt verified ✓ signed by {peer_of(forger)}, {NOBODY_KNOWS}"
            in ran.stderr.decode().splitlines()[-1]
        )
        checked = client.plasm("verify", str(receipt), check=False)
        assert checked.returncode == 8
        named = client.plasm("verify", "--key", peer_of(forger), str(receipt), check=False)
        assert named.returncode == 0
        assert "a node that you named, not re-executed" in named.stdout.decode()
    else:
        assert (ran.returncode, ran.stdout) == (8, b"")
        assert f"signed by {peer_of(forger)}, a node that you do not know" in ran.stderr.decode()


def test_a_named_node_that_a_proof_convicts_is_used_with_a_warning(liar: Liar, client: Daemon) -> None:
    """`--peer` is the user's choice. Jobs without it do not go there, and `known` is not met."""
    forger = liar("honest")
    peer = peer_of(forger)
    state = Path(client.environ["XDG_STATE_HOME"]) / "plasm" / "reputation" / "reputation.db"
    with ReputationStore(state) as store:
        store.convict(parse_peer(peer), Path("/proofs/one.json"))
    named = ("run", "--peer", address_of(forger), *LABORATORY)

    used = client.plasm(*named, str(HELLO), check=False)
    required = client.plasm(*named, "--require", "known", str(HELLO), check=False)
    listed = client.plasm(*remote(address_of(forger), "--limit", "wall=1s"), check=False)

    said = " ".join(used.stderr.decode().split())
    assert used.returncode == 0, said
    assert f"convicted by a fraud proof node={peer} proof=/proofs/one.json" in said
    assert (
        f"signed by {peer}, a node that you named, though a fraud proof convicts it, not re-executed:" in said
    )
    assert (required.returncode, required.stdout) == (8, b"")
    assert "plasm reputation forget" in required.stderr.decode()
    assert listed.returncode != 0
    assert "a fraud proof names it" in " ".join(listed.stderr.decode().split())


def test_a_named_or_known_node_is_marked_as_such(liar: Liar, client: Daemon) -> None:
    forger = liar("honest")
    known = ("--set", f'plasm.known=["{peer_of(forger)}"]', "--require", "known")

    named = client.plasm(
        *("run", "--peer", address_of(forger), *LABORATORY, "--require", "known", str(HELLO)), check=False
    )
    listed = client.plasm(*remote(address_of(forger), *known), check=False)

    for ran in (named, listed):
        assert ran.returncode == 0, ran.stderr.decode()
        assert f"signed by {peer_of(forger)}, a node that you named, not re-executed\n" in ran.stderr.decode()


@pytest.mark.parametrize(
    ("level", "code"), [("reexecution", 7), ("quorum", 8), ("audit", 7), ("everything", 3)]
)
def test_what_is_required_is_established_or_the_job_has_failed(
    liar: Liar, client: Daemon, level: str, code: int
) -> None:
    forger = liar("honest")

    short = ("--limit", "wall=5s")  # as long as a second node is looked for

    ran = client.plasm(*remote(address_of(forger), "--require", level, *short), check=False)

    assert (ran.returncode, ran.stdout) == (code, b""), ran.stderr.decode()


@pytest.mark.parametrize("lie", LIES)
def test_a_client_moves_on_to_an_honest_node(
    start: Starter, bootstrap: str, worker: Daemon, liar: Liar, client: Daemon, lie: str
) -> None:
    liar(lie, "--bootstrap", bootstrap)
    peers(client, bootstrap, least=2)

    ran = client.plasm(*remote(bootstrap), stdin=b"Hello, world", check=False)

    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stdout == b"dlrow ,olleH"
    assert f"signed by {peer_of(worker)}, {NOBODY_KNOWS}" in ran.stderr.decode()


def test_a_gateway_moves_on_to_an_honest_node(
    start: Starter, bootstrap: str, worker: Daemon, liar: Liar, client: Daemon
) -> None:
    """The user sees no output of the liars, and no liar gets the same job again."""
    liars = [liar(lie, "--bootstrap", bootstrap) for lie in ("junk", "tainted_failure", "cancelled")]
    peers(client, bootstrap, least=1 + len(liars))
    gateway = start("gateway", "--set", "gateway.enabled=true", "--bootstrap", bootstrap)

    for _ in range(3):
        ran = gateway.plasm("run", "--gateway", str(HELLO), stdin=b"Hello, world", check=False)

        assert ran.returncode == 0, ran.stderr.decode()
        assert ran.stdout == b"dlrow ,olleH"
        assert f"signed by {peer_of(worker)}, {NOBODY_KNOWS}" in ran.stderr.decode()
    log = gateway.log.read_text()
    for dishonest in liars:
        assert len(re.findall(f"job handed on job=\\S+ node={peer_of(dishonest)}", log)) <= 1


def test_the_client_for_programs_that_wait_requires_as_much(
    bootstrap: str, worker: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger does not suffice where a known node is required; one that is named, or listed, does."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def run(peer: str | None = None, known: str | None = None) -> bytes:
        settings = settings_of(bootstrap)
        if known is not None:
            settings = attrs.evolve(settings, plasm=attrs.evolve(settings.plasm, known=(known,)))
        client = Client(settings, transport="libp2p", peer=peer, require="known")
        return client.run(HELLO, stdin=b"abc", timeout_s=120).stdout

    with pytest.raises(ReceiptUndecidedError, match="a node that you do not know") as caught:
        run()
    assert Handle.parse(str(caught.value.handle)).peer == PeerId.parse(peer_of(worker))
    assert run(peer=address_of(worker)) == b"cba"
    assert run(known=peer_of(worker)) == b"cba"
