"""Ten real nodes, of which two lie: they are caught, convicted and avoided, and the others go on getting work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

from plasm_core import Client
from plasm_core.client import node_draw
from plasm_core.client.reputation_store import ReputationStore
from plasm_core.records import PeerId
from tests.network.conftest import HELLO, LABORATORY, address_of
from tests.network.sweep import LISTED, wait_for
from tests.support.daemon import Daemon
from tests.support.litter import Litter, open_litter
from tests.support.sweeping import settings_of

KINDS = ("always", "record-3")
HONEST = 8
DEADLINE_S = 120.0


class WrongDaemon(Daemon):
    """A liar in a daemon's place."""

    kind = ""

    def launch(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.wrong_daemon", self.kind, *self.arguments],
                env=self.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
            )
        return self.process


def listening(number: int, *more: str) -> tuple[str, ...]:
    """Return the arguments of a node at a /24 of its own."""
    listen = f'transport.libp2p.listen=["/ip4/127.{40 + number}.1.1/tcp/0"]'
    return ("--transport", "libp2p", "--set", listen, *LABORATORY, "--lend", *more)


def await_log(daemon: Daemon, text: str) -> None:
    """Wait until the log of a forked daemon has a text."""
    deadline = time.monotonic() + DEADLINE_S
    while not (daemon.log.exists() and text in daemon.log.read_text()):
        assert time.monotonic() < deadline, daemon.said if daemon.log.exists() else text
        time.sleep(0.05)


@attrs.define
class Ten:
    """The nodes: the liars by their kinds, and the honest ones. `bootstrap` is the address of one of these."""

    directory: Path
    litter: Litter
    stack: ExitStack
    bootstrap: str = ""
    liars: dict[str, Daemon] = attrs.field(factory=dict)
    honest: list[Daemon] = attrs.field(factory=list)

    def liar(self, kind: str) -> None:
        """Start a liar."""
        home = self.directory / kind
        home.mkdir()
        daemon = WrongDaemon(home, *listening(20 + len(self.liars), "--bootstrap", self.bootstrap))
        daemon.kind = kind
        self.stack.enter_context(daemon)
        daemon.launch()
        wait_for(daemon, LISTED)
        self.liars[kind] = daemon

    def join(self, count: int) -> list[Daemon]:
        """Start honest nodes."""
        started = []
        for _ in range(count):
            number = len(self.honest)
            home = self.directory / f"honest-{number}"
            home.mkdir()
            reach = ("--bootstrap", self.bootstrap) if self.bootstrap else ()
            daemon = self.stack.enter_context(Daemon(home, *listening(number, *reach)))
            self.litter.launch(daemon)
            await_log(daemon, " ready peer=")
            self.bootstrap = self.bootstrap or address_of(daemon)
            self.honest.append(daemon)
            started.append(daemon)
        return started


def peer_of(daemon: Daemon) -> PeerId:
    return PeerId.parse(address_of(daemon).rpartition("/")[2])


@pytest.fixture
def ten(tmp_path: Path) -> Iterator[Ten]:
    """Begin with one honest node and the liars; the others join later."""
    with ExitStack() as stack:
        network = Ten(tmp_path, stack.enter_context(open_litter()), stack)
        network.join(1)
        for kind in KINDS:
            network.liar(kind)
        yield network


def test_two_liars_of_ten_are_caught_convicted_and_avoided(
    ten: Ten, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One lies always; the other after three true answers. A node that joins later gets its share.

    The client meets the liars before the seven other honest nodes have joined.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(node_draw, "FRESH_SHARE", 0.5)
    path = tmp_path / "state" / "plasm" / "reputation" / "reputation.db"
    liars = {kind: peer_of(daemon) for kind, daemon in ten.liars.items()}
    done: Counter[PeerId] = Counter()
    with (
        Client(settings_of(ten.bootstrap), transport="libp2p", verifier=("signature", "credible")) as client,
        ReputationStore(path) as store,
    ):

        def run(count: int) -> None:
            words = [f"Word{number}" for number in range(count)]
            with ThreadPoolExecutor(4) as threads:
                results = threads.map(lambda word: client.run(HELLO, stdin=word.encode()), words)
                for result, word in zip(results, words, strict=True):
                    assert result.stdout == word[::-1].encode()
                    done[result.receipt.node] += 1

        def meet(peers: set[PeerId]) -> None:
            """Search until these are known, as a client in use does every five minutes."""
            deadline = time.monotonic() + DEADLINE_S
            while not peers <= (found := {candidate.peer for candidate in client.peers()}):
                assert time.monotonic() < deadline, found

        def convicted() -> set[PeerId]:
            return {history.peer for history in store.nodes() if history.is_convicted}

        deadline = time.monotonic() + DEADLINE_S
        while convicted() != set(liars.values()):
            assert time.monotonic() < deadline, (convicted(), done)
            run(4)
        proofs = {store.find(peer).proof for peer in liars.values()}
        told = {kind: daemon.log.read_text().count("lied\n") for kind, daemon in ten.liars.items()}
        ten.join(HONEST - 1)
        honest = {peer_of(daemon) for daemon in ten.honest}
        meet(honest)
        before = done.copy()
        run(40)
        (new,) = ten.join(1)
        meet({peer_of(new)})
        deadline = time.monotonic() + DEADLINE_S
        while not all(done[peer] for peer in (*honest, peer_of(new))):
            assert time.monotonic() < deadline, done
            run(20)
        histories = {history.peer: history for history in store.nodes()}

    assert all(told.values())
    assert set(done) <= honest | {peer_of(new), liars["record-3"]}
    assert done[liars["record-3"]] <= 3
    for kind, daemon in ten.liars.items():  # avoided: none of the later jobs went to them
        assert done[liars[kind]] == before[liars[kind]]
        assert daemon.log.read_text().count("lied\n") == told[kind]
    assert not any(
        history.failed or history.is_convicted for peer, history in histories.items() if peer in honest
    )
    with Daemon(tmp_path / "stranger") as stranger:
        for proof in proofs:
            verified = stranger.plasm("verify", "--fraud", str(proof), "--json", check=False)
            assert verified.returncode == 0, verified.stderr.decode()
            assert {item["node"] for item in json.loads(verified.stdout)["convicted"]} <= {
                str(peer) for peer in liars.values()
            }
