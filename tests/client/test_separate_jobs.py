"""A quorum's nodes are on networks of their own, and none sees that others are asked."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from plasm_core.client import AsyncClient, Submission
from plasm_core.client.node_choice import RemoteDialler
from plasm_core.client.reputation import Reputation
from plasm_core.client.result_verification import Judge
from plasm_core.config import Config
from plasm_core.errors import ReceiptUndecidedError
from plasm_core.plugins.interfaces import Network, Stream
from plasm_core.protocol import JOB_PROTOCOL
from plasm_core.randomness import RANDOM
from plasm_core.records import Envelope, Receipt, job_id
from plasm_core.testing.claims import STDOUT
from plasm_signer_ed25519.verifier import SignatureVerifier
from plasm_verifier_quorum import QuorumVerifier
from tests.support.lying_node import Script
from tests.support.small_network import SmallNetwork

HELLO = Path(__file__).parents[2] / "examples" / "hello" / "hello.wasm"
HONEST = Script(output=STDOUT)
LIAR = Script(output=b"an output that nobody has computed\n")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep proofs in a directory of the test's, and do the threads' work in the loop: trio's time would jump."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    async def at_once(work: Callable[..., object], *args: object, **_options: object) -> object:
        await trio.lowlevel.checkpoint()
        return work(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)


class Identity(Network):
    """A way into a network under one identity: notes when jobs are brought over it."""

    def __init__(self, small: SmallNetwork, jobs: list[tuple[Identity, float]]) -> None:
        self._small = small
        self._jobs = jobs

    @property
    def addresses(self) -> tuple[str, ...]:
        return ()

    async def dial(self, address: str, protocol: str) -> Stream:
        if protocol == JOB_PROTOCOL:
            self._jobs.append((self, trio.current_time()))
        return await self._small.dial(address, protocol)


@asynccontextmanager
async def network(
    *scripts: Script, verifier: QuorumVerifier, groups: Sequence[str]
) -> AsyncIterator[tuple[SmallNetwork, AsyncClient, list[tuple[Identity, float]]]]:
    """Open nodes in the networks `groups`, and a client; the list has each dial for a job, with its time."""
    jobs: list[tuple[Identity, float]] = []
    async with trio.open_nursery() as nursery:
        small = SmallNetwork(nursery, *scripts, apart=1, groups=groups)

        @asynccontextmanager
        async def fresh() -> AsyncIterator[Network]:
            yield Identity(small, jobs)

        reputation = Reputation()
        dialler = RemoteDialler(Identity(small, jobs), small, reputation=reputation, fresh=fresh)
        with Judge([SignatureVerifier(), verifier], Config(), reputation=reputation) as judge:
            yield small, AsyncClient(dialler, judge), jobs
        nursery.cancel_scope.cancel()


def _receipt(envelope: Envelope) -> Receipt:
    return Receipt.from_statement(envelope.payload)


def job() -> Submission:
    return Submission.of(HELLO.read_bytes(), wall_time_s=5)


@pytest.mark.trio
async def test_each_node_is_asked_apart_by_another_identity_for_another_job(
    autojump_clock: trio.testing.MockClock,
) -> None:
    verifier = QuorumVerifier(apart_s=600)
    async with network(*[HONEST] * 3, verifier=verifier, groups="abc") as (small, client, jobs):
        submitted = job()
        found = await client.run(submitted, timeout_s=7200)

        assert "agreed on by 3 nodes on 3 networks" in str(found.verdict)
        assert [node.submissions for node in small.nodes] == [1, 1, 1]
        assert len({identity for identity, _ in jobs}) == 3
        ids = {receipt.asked.job_id for receipt in map(_receipt, found.envelopes)}
        assert len(ids) == 3
        assert found.receipt.asked.job_id == job_id(submitted.manifest_json)
        moments = [at for _, at in jobs]
        assert all(0 <= later - earlier <= 700 for earlier, later in itertools.pairwise(moments))
        assert moments[2] - moments[0] > 1, "two pauses of up to 600 s, drawn at random"


@pytest.mark.trio
async def test_the_nodes_that_confirm_the_nearest_are_drawn(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A liar and its accomplice may be the two nearest."""
    monkeypatch.setattr(RANDOM, "choice", lambda items: items[-1])
    verifier = QuorumVerifier(apart_s=0)
    scripts = [HONEST, LIAR, HONEST, HONEST]
    async with network(*scripts, verifier=verifier, groups="abcd") as (small, client, _):
        found = await client.run(job(), timeout_s=7200)

        assert found.stdout == STDOUT
        assert [node.submissions for node in small.nodes] == [1, 0, 1, 1]


@pytest.mark.trio
async def test_of_many_keys_of_one_network_one_is_asked(autojump_clock: trio.testing.MockClock) -> None:
    verifier = QuorumVerifier(apart_s=0)
    scripts = [LIAR, LIAR, LIAR, HONEST, HONEST]
    async with network(*scripts, verifier=verifier, groups="aaabc") as (small, client, _):
        found = await client.run(job(), timeout_s=7200)

        assert found.stdout == STDOUT
        assert sum(node.submissions for node in small.nodes[:3]) <= 1
        assert [node.submissions for node in small.nodes[3:]] == [1, 1]


@pytest.mark.trio
async def test_the_result_of_another_job_comes_with_its_manifest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The nearest node lied: what the caller gets is another node's, whose job has an id of its own."""
    verifier = QuorumVerifier(apart_s=0)
    async with network(LIAR, HONEST, HONEST, verifier=verifier, groups="abc") as (_, client, _jobs):
        submitted = job()
        found = await client.run(submitted, timeout_s=7200)

        assert found.stdout == STDOUT
        assert not found.reused
        manifest_json = found.manifest_json or submitted.manifest_json
        assert found.receipt.asked.job_id == job_id(manifest_json)
        assert [item.node for item in found.rejected] != []


@pytest.mark.trio
async def test_too_few_networks_are_named_with_the_way_out(autojump_clock: trio.testing.MockClock) -> None:
    async with network(*[HONEST] * 3, verifier=QuorumVerifier(), groups="aab") as (_, client, _jobs):
        with pytest.raises(ReceiptUndecidedError, match="ask for 3 nodes on 3 networks, and 2 did") as caught:
            await client.run(job(), timeout_s=7200)

        assert "verifier.quorum.networks=false" in str(caught.value.hint)


@pytest.mark.trio
async def test_a_node_that_the_policy_denies_gets_no_job(autojump_clock: trio.testing.MockClock) -> None:
    """As `plasm deny --proof` has it, for a client and a gateway of this configuration."""
    async with trio.open_nursery() as nursery:
        small = SmallNetwork(nursery, LIAR, HONEST, groups="ab")
        denied = frozenset({str(small.nodes[0].signer.peer_id)})
        dialler = RemoteDialler(small, small, denied=denied)
        with Judge([SignatureVerifier()], Config()) as judge:
            found = await AsyncClient(dialler, judge).run(job(), timeout_s=600)
        nursery.cancel_scope.cancel()

    assert found.stdout == STDOUT
    assert [node.submissions for node in small.nodes] == [0, 1]
