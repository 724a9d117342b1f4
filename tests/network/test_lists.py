"""Whose jobs a node takes: `policy.allow` and `policy.deny`, by the identity that a client proves over libp2p."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

import trio

from plasm_core.client import AsyncClient, Submission
from plasm_core.client.node_choice import RemoteDialler
from plasm_core.client.result_verification import Judge
from plasm_core.config import Config
from plasm_core.errors import RefusedError
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records.peer import PeerId
from plasm_core.testing.claims import SeedSigner
from plasm_transport_libp2p.discovery import Kademlia
from tests.network.conftest import HELLO, Starter, address_of
from tests.network.flood import CLIENT, DEADLINE_S
from tests.support.daemon import Daemon

ALICE, BOB, CAROL = (SeedSigner(bytes([number]) * 32) for number in range(3))
REFUSED = "this node does not run this client's jobs"


def as_list(*keys: SeedSigner) -> str:
    return "[" + ", ".join(f'"{key.peer_id}"' for key in keys) + "]"


def answer(node: Daemon, key: SeedSigner) -> str:
    """Hand a job in to a node under a key, and return its output, or why it was refused."""

    async def ask() -> str:
        address = address_of(node)
        verifiers = [loading.create(Verifier, "signature", {})]  # type: ignore[type-abstract]
        with trio.fail_after(DEADLINE_S), Judge(verifiers, Config()) as judge:
            async with CLIENT.open(key, {}) as network, Kademlia(cache="").open(network) as directory:
                pinned = PeerId.parse(address.rpartition("/")[2])
                client = AsyncClient(
                    RemoteDialler(network, directory, pinned=pinned, addresses=(address,)), judge
                )
                try:
                    done = await client.run(Submission.of(HELLO.read_bytes(), stdin=b"abc"))
                except RefusedError as exc:
                    return str(exc)
                return done.stdout.decode()

    return trio.run(ask)


@pytest.mark.parametrize(
    ("lists", "taken"),
    [
        ({"deny": (BOB,)}, (ALICE, CAROL)),
        ({"allow": (ALICE, BOB), "deny": (BOB,)}, (ALICE,)),
    ],
    ids=["denied", "allowed or denied"],
)
def test_a_node_takes_jobs_only_from_peers_on_its_allow_list(
    start: Starter, lists: dict[str, tuple[SeedSigner, ...]], taken: tuple[SeedSigner, ...]
) -> None:
    """Its own users are on no list."""
    settings = [("--set", f"policy.{name}={as_list(*keys)}") for name, keys in lists.items()]
    node = start("choosy", "--lend", *itertools.chain(*settings))

    answers = {key: answer(node, key) for key in (ALICE, BOB, CAROL)}
    own = node.plasm("submit", str(HELLO), stdin=b"abc").stdout.decode().strip()

    assert {key for key, said in answers.items() if said == "cba"} == set(taken)
    assert all(REFUSED in said for key, said in answers.items() if key not in taken)
    assert node.plasm("result", own).stdout == b"cba"
