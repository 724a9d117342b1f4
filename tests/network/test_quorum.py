"""A quorum of real daemons: on networks of their own, each with a job of its own, and a liar among them is convicted."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from plasm_core.client.reputation_store import ReputationStore
from plasm_core.records import Envelope, Receipt
from plasm_core.records.cid import parse_peer
from tests.network.conftest import HELLO, LABORATORY, NETWORKED, Starter, address_of, network
from tests.network.test_liars import LyingDaemon
from tests.network.test_network import peer_of, peers
from tests.support.cli import OK, UNDECIDED, Plasm
from tests.support.daemon import Daemon

pytestmark = pytest.mark.skipif(
    sys.platform != "linux",
    reason="nodes on networks of their own need all of 127.0.0.0/8, which only Linux has",
)

QUORUM = ("--require", "quorum", "--set", "verifier.quorum.apart_s=0")


@pytest.fixture(scope="module")
def hub(start: Starter) -> str:
    return address_of(start("hub"))


@pytest.fixture(scope="module")
def honest(start: Starter, hub: str) -> list[str]:
    """Two nodes, each on a network of its own."""
    return [
        peer_of(start(f"honest-{number}", "--lend", "--bootstrap", hub, *network(number)))
        for number in (1, 2)
    ]


@pytest.fixture
def liar(tmp_path: Path, hub: str) -> Iterator[str]:
    """A node on a third network that signs well of output that nobody computed."""
    with ExitStack() as stack:
        home = tmp_path / "liar"
        home.mkdir()
        daemon = LyingDaemon(home, *NETWORKED, "--lend", "--bootstrap", hub, *network(3))
        daemon.script = "honest"
        stack.enter_context(daemon)
        daemon.start(until=" ready peer=")
        yield peer_of(daemon)


def test_a_lying_node_is_outvoted_convicted_and_avoided(
    honest: list[str], hub: str, liar: str, client: Daemon, tmp_path: Path
) -> None:
    peers(client, hub, least=3)
    command = ("run", "--bootstrap", hub, *LABORATORY, *QUORUM, str(HELLO))
    ran = client.plasm(*command, stdin=b"Hello, world", check=False)

    assert (ran.returncode, ran.stdout) == (OK, b"dlrow ,olleH"), ran.stderr.decode()
    assert "agreed on by 2 nodes on 2 networks" in ran.stderr.decode()
    (proof,) = (Path(client.environ["XDG_STATE_HOME"]) / "plasm" / "fraud-proofs").iterdir()
    stranger = Plasm(tmp_path / "stranger")
    judged = stranger("verify", "--fraud", str(proof), "--json")
    assert judged.code == OK, judged.err
    assert [item["node"] for item in json.loads(judged.out)["convicted"]] == [liar]
    assert set(json.loads(judged.out)["cleared"]) <= set(honest)
    with ReputationStore(Path(client.environ["XDG_STATE_HOME"]) / "plasm/reputation/reputation.db") as store:
        assert store.find(parse_peer(liar)).is_convicted
        assert not any(store.find(parse_peer(peer)).is_convicted for peer in honest)
    two = ("--set", "verifier.quorum.nodes=2", "--receipt", str(tmp_path / "r.json"))
    again = client.plasm(*command[:-1], *two, command[-1], stdin=b"Hello, world", check=False)
    assert again.returncode == OK, again.stderr.decode()
    signers = [
        str(Receipt.from_statement(Envelope.from_json(file.read_bytes()).payload).node)
        for file in (tmp_path / "r.json", tmp_path / "r-2.json")
    ]
    assert set(signers) == set(honest)


def test_each_node_gets_a_job_of_its_own(honest: list[str], hub: str, client: Daemon, tmp_path: Path) -> None:
    """Nodes that share what they are asked see no job twice, though the task is one."""
    files = [tmp_path / "r.json", tmp_path / "r-2.json"]
    two = (*QUORUM, "--set", "verifier.quorum.nodes=2", "--receipt", str(files[0]))
    peers(client, hub, least=2)
    ran = client.plasm("run", "--bootstrap", hub, *LABORATORY, *two, str(HELLO), stdin=b"abc", check=False)

    assert ran.returncode == OK, ran.stderr.decode()
    receipts = [Receipt.from_statement(Envelope.from_json(file.read_bytes()).payload) for file in files]
    assert {str(receipt.node) for receipt in receipts} == set(honest)
    assert len({receipt.asked.job_id for receipt in receipts}) == 2
    assert len({receipt.asked.task_digest for receipt in receipts}) == 1


def test_nodes_of_one_network_are_no_quorum_unless_the_user_says_so(start: Starter, client: Daemon) -> None:
    other = address_of(start("other-hub"))
    for name in ("one", "two"):
        start(f"same-{name}", "--lend", "--bootstrap", other, *network(9))
    peers(client, other, least=2)
    two = (*QUORUM, "--set", "verifier.quorum.nodes=2", "--limit", "wall=3s")
    command = ("run", "--bootstrap", other, *LABORATORY, *two)
    ran = client.plasm(*command, str(HELLO), stdin=b"abc", check=False)

    assert (ran.returncode, ran.stdout) == (UNDECIDED, b"")
    told = " ".join(ran.stderr.decode().split())
    assert "ask for 2 nodes on 2 networks, and 1 did the job" in told, told
    assert "verifier.quorum.networks=false" in told
    own = client.plasm(*command, "--set", "verifier.quorum.networks=false", str(HELLO), stdin=b"abc")
    assert own.stdout == b"cba"
