"""Audits that real nodes make over libp2p: a client without an engine, fresh keys, and a liar that recognises them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from plasm_core.client.reputation_store import ReputationStore
from plasm_core.records.cid import parse_peer
from tests.network.conftest import HELLO, LABORATORY, NETWORKED, address_of, network
from tests.network.test_network import peer_of, peers
from tests.network.test_trust import WrongDaemon
from tests.support.cli import OK, REJECTED
from tests.support.daemon import Daemon

pytestmark = pytest.mark.skipif(
    sys.platform != "linux",
    reason="nodes on networks of their own need all of 127.0.0.0/8, which only Linux has",
)

NO_ENGINE = ("--set", "admission.module_bytes=8")
"""A machine that can run no module."""
AUDIT = ("--verifier", "signature,audit", "--set", "verifier.audit.delay_s=1")


class Nodes:
    """Nodes of one network, each in a /24 of its own, which log who their clients are."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._count = 0
        self.seen = directory / "seen"
        self.seen.mkdir()
        self.bootstrap = address_of(self.start("never", lends=False))

    def start(self, kind: str, *, lends: bool = True) -> WrongDaemon:
        """Start one. `kind`: as of `tests.support.wrong_daemon`."""
        self._count += 1
        home = self._directory / f"node-{self._count}"
        home.mkdir()
        reach = ("--bootstrap", self.bootstrap) if self._count > 1 else ()
        arguments = (*NETWORKED, *(("--lend",) if lends else ()), *reach, *network(self._count))
        daemon = WrongDaemon(home, *arguments)
        self._stack.enter_context(daemon)
        daemon.kind = kind
        daemon.start(until=" ready peer=")
        return daemon

    def colluding(self) -> WrongDaemon:
        """Start a liar that tells its like which tasks it has had, and tells the truth about those."""
        return self.start(f"once:{self.seen}")


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with ExitStack() as stack:
        yield Nodes(tmp_path, stack)


def clients(daemon: Daemon) -> set[str]:
    """Return the keys of the clients that have brought this node a job."""
    return set(re.findall(r"^client (\S+)$", daemon.log.read_text(), re.MULTILINE))


@pytest.mark.parametrize("has_engine", [False, True], ids=["without an engine", "with an engine"])
def test_an_audit_that_is_recognised_and_answered_honestly_finds_the_liar_all_the_same(
    nodes: Nodes, client: Daemon, tmp_path: Path, has_engine: bool
) -> None:
    """The liar is alone when it is asked. Its accomplice knows an audit when it sees one, and tells the truth.

    Without an engine the client asks all three others, of which three agree; each sees a client with a key of its own.
    """
    engine = () if has_engine else NO_ENGINE
    reach = ("--bootstrap", nodes.bootstrap, *LABORATORY, *engine)
    liar = nodes.colluding()
    peers(client, nodes.bootstrap, least=1)
    elsewhere = ("--set", "verifier.audit.gas_here=0")
    believed = client.plasm("run", *reach, *AUDIT, *elsewhere, str(HELLO), stdin=b"Hello", check=False)
    assert (believed.returncode, believed.stdout) == (OK, b"OLLEh"), believed.stderr.decode()
    assert "to be audited by another node within 1 s" in " ".join(believed.stderr.decode().split())

    accomplice, *honest = others = [nodes.colluding(), nodes.start("never"), nodes.start("never")]
    peers(client, nodes.bootstrap, least=4)
    audited = client.plasm("reputation", "audit", *reach, "--json", check=False)

    assert audited.returncode == REJECTED, audited.stderr.decode()
    (job,) = json.loads(audited.stdout)["jobs"]
    assert (job["isRight"], job["peerId"]) == (False, peer_of(liar)), job
    lied = [daemon.log.read_text().count("lied\n") for daemon in (liar, *others)]
    assert lied == [1, 0, 0, 0]
    askers = [clients(daemon) for daemon in (liar, *others)]
    keys = [key for found in askers for key in found]
    assert len(keys) == len(set(keys)), "no two nodes saw one client"
    with ReputationStore(Path(client.environ["XDG_STATE_HOME"]) / "plasm/reputation/reputation.db") as store:
        found = {daemon: store.find(parse_peer(peer_of(daemon))) for daemon in (liar, *others)}
    assert (found[liar].failed, found[liar].is_convicted) == (1, has_engine)
    assert not any(found[daemon].failed or found[daemon].is_convicted for daemon in others)
    if has_engine:
        assert sum(len(found) for found in askers) == 2
    else:
        assert [len(found) for found in askers] == [1, 1, 1, 1]
        assert "recognised an audit" in accomplice.log.read_text()
        assert job["reason"] == "3 nodes agree on something else"
        assert all(found[daemon].checked == 1 for daemon in others)
    assert len(honest) == 2
    proofs = list((Path(client.environ["XDG_STATE_HOME"]) / "plasm" / "fraud-proofs").iterdir())
    with Daemon(tmp_path / "stranger") as stranger:
        for proof in proofs:
            verified = stranger.plasm("verify", "--fraud", str(proof), "--json", check=False)
            assert verified.returncode == OK, verified.stderr.decode()
            assert [item["node"] for item in json.loads(verified.stdout)["convicted"]] == [peer_of(liar)]
    assert proofs


def test_an_honest_result_is_confirmed_by_another_node_under_a_fresh_key(
    nodes: Nodes, client: Daemon
) -> None:
    first = nodes.start("never")
    peers(client, nodes.bootstrap, least=1)
    reach = ("--bootstrap", nodes.bootstrap, *LABORATORY, *NO_ENGINE)
    ran = client.plasm("run", *reach, *AUDIT, str(HELLO), stdin=b"Hello", check=False)
    assert (ran.returncode, ran.stdout) == (OK, b"olleH"), ran.stderr.decode()
    second = nodes.start("never")
    peers(client, nodes.bootstrap, least=2)
    audited = client.plasm("reputation", "audit", *reach, "--json", check=False)
    again = client.plasm("reputation", "audit", *reach, "--json", check=False)

    assert audited.returncode == OK, audited.stderr.decode()
    (job,) = json.loads(audited.stdout)["jobs"]
    assert (job["isRight"], job["peerId"], job["reason"]) == (True, peer_of(first), "2 nodes agree")
    assert (len(clients(first)), len(clients(second))) == (1, 1)
    assert clients(first) != clients(second)
    known = json.loads(client.plasm("reputation", "show", "--json").stdout)["nodes"]
    assert {node["peerId"]: node["checked"] for node in known} == {peer_of(first): 1, peer_of(second): 1}
    assert json.loads(again.stdout)["jobs"] == [], "what is settled is not due again"
