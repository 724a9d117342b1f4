"""What clients learn of nodes: liars are convicted and avoided, and verifiers ask for as much as they need.

Nodes without sockets give signed receipts; runs that decide who lied are real ones, of `examples/hello`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import attrs
import pytest
import trio
import trio.testing

from plasm_core import fraud
from plasm_core.client import AsyncClient, Submission, executions
from plasm_core.client.node_choice import RemoteDialler
from plasm_core.client.reputation import Reputation
from plasm_core.client.reputation_store import Lesson, ReputationStore
from plasm_core.client.result_verification import Judge
from plasm_core.config import AdmissionLimits, Config
from plasm_core.errors import ReceiptRejectedError, ReceiptUndecidedError
from plasm_core.local_node import LocalNode
from plasm_core.plugins.interfaces import Verifier
from plasm_core.randomness import RANDOM
from plasm_core.records import Claim, Decision, Manifest, Opinion, PeerId, Plan, Verdict
from plasm_core.records.history import NEW_CHECKS, NodeHistory
from plasm_core.reexecution import NodeLaboratory
from plasm_core.testing.claims import STDOUT
from plasm_signer_ed25519.verifier import SignatureVerifier
from plasm_verifier_audit import AuditVerifier
from plasm_verifier_credible import CredibleVerifier
from plasm_verifier_reexecute import ReexecuteVerifier
from tests.support.lying_node import OTHER, Script
from tests.support.small_network import Elapsed, SmallNetwork

HELLO = Path(__file__).parents[2] / "examples" / "hello" / "hello.wasm"
HONEST = Script(output=STDOUT)
LIAR = Script(output=b"an output that nobody has computed\n")


NO_ENGINE = Config(admission=AdmissionLimits(module_bytes=8))
"""A machine that can run no module."""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where proofs and evidence are kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the client's threads' work done in the loop: trio's time would jump while one of them works."""

    async def at_once(work: Callable[..., object], *args: object, **_options: object) -> object:
        await trio.lowlevel.checkpoint()
        return work(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReputationStore]:
    with ReputationStore(tmp_path / "reputation" / "reputation.db") as opened:
        yield opened


@asynccontextmanager
async def network(
    store: ReputationStore,
    *scripts: Script,
    verifiers: Sequence[Verifier],
    groups: Sequence[str] = (),
    config: Config = Config(),  # noqa: B008 - it is frozen
) -> AsyncIterator[tuple[SmallNetwork, AsyncClient]]:
    """Open a network of nodes that are equally near, each in a network of its own, and a client of it."""
    groups = groups or [f"network {number}" for number in range(len(scripts))]
    async with trio.open_nursery() as nursery:
        small = SmallNetwork(nursery, *scripts, apart=1, groups=groups)
        reputation = Reputation(store)
        with Judge([SignatureVerifier(), *verifiers], config, reputation=reputation) as judge:
            yield small, AsyncClient(RemoteDialler(small, small, reputation=reputation), judge)
        nursery.cancel_scope.cancel()


def job() -> Submission:
    return Submission.of(HELLO.read_bytes(), wall_time_s=30)


def peer(small: SmallNetwork, number: int) -> PeerId:
    return small.nodes[number].signer.peer_id


def asked(small: SmallNetwork) -> list[int]:
    return [node.submissions for node in small.nodes]


@attrs.frozen
class Agree(Verifier):
    """A third party's: as many must agree as it is told to; it asks for one more until they do."""

    name: ClassVar[str] = "agree"

    nodes: int = 2
    first: Plan = attrs.field(factory=Plan)
    reports: list[Verdict] = attrs.field(factory=list)
    seen: list[tuple[NodeHistory | None, ...]] = attrs.field(factory=list)

    def plan_among(self, manifest: Manifest, candidates: Sequence[NodeHistory]) -> Plan:
        return self.first

    def judge(self, claims: Sequence[Claim]) -> Opinion:
        self.seen.append(tuple(claim.history for claim in claims))
        outputs = {claim.receipt.stdout for claim in claims}
        if len(outputs) > 1:
            return self.undecided("they differ", more=1)
        if len(claims) < self.nodes:
            return self.undecided("too few", more=self.nodes - len(claims))
        return self.accept("agreement", checked=[claim.receipt.node for claim in claims])

    def settled(self, claims: Sequence[Claim], verdict: Verdict) -> None:
        self.reports.append(verdict)


@pytest.mark.trio
async def test_a_verifier_gets_the_executions_that_it_asks_for_after_the_first(
    autojump_clock: trio.testing.MockClock, store: ReputationStore
) -> None:
    verifier = Agree(nodes=3)
    async with network(store, *[HONEST] * 5, verifiers=[verifier]) as (small, client):
        found = await client.run(job())

        assert (found.stdout, len(found.envelopes)) == (STDOUT, 3)
        assert sorted(asked(small)) == [0, 0, 1, 1, 1]
        signers = [PeerId.parse(str(item)) for item in found.verdict.signers]
        assert [store.find(item).checked for item in signers] == [1, 1, 1]
        assert [verdict.decision for verdict in verifier.reports] == [Decision.ACCEPT]
        assert [len(histories) for histories in verifier.seen] == [1, 3]
        assert all(history is not None for histories in verifier.seen for history in histories)


@pytest.mark.trio
async def test_more_than_there_are_is_undecided(
    autojump_clock: trio.testing.MockClock, store: ReputationStore
) -> None:
    """Silence is not acceptance."""
    async with network(store, HONEST, HONEST, verifiers=[Agree(nodes=3)]) as (_, client):
        with pytest.raises(ReceiptUndecidedError, match="the verifiers ask for 3 nodes, and 2 did the job"):
            await client.run(job())


@pytest.mark.trio
async def test_a_rejection_overrides_a_verifier_that_asks_for_more(
    autojump_clock: trio.testing.MockClock, store: ReputationStore
) -> None:
    @attrs.frozen
    class Never(Verifier):
        name: ClassVar[str] = "never"

        def judge(self, claims: Sequence[Claim]) -> Opinion:
            return self.reject("never")

    async with network(store, HONEST, HONEST, verifiers=[Agree(), Never()]) as (small, client):
        with pytest.raises(ReceiptRejectedError, match="never"):
            await client.run(job())
        for node in small.nodes:
            assert store.find(node.signer.peer_id).failed == 0  # of what it is to blame for, nobody has said


@pytest.mark.trio
@pytest.mark.parametrize(
    "verifier",
    [
        AuditVerifier(rate=1.0),
        CredibleVerifier(),
        CredibleVerifier(gas_here=0),
        ReexecuteVerifier(),
        Agree(),
    ],
    ids=["audit", "credible", "credible elsewhere", "reexecute", "a third party"],
)
async def test_a_liar_is_convicted_and_an_honest_nodes_result_is_given(
    autojump_clock: trio.testing.MockClock, store: ReputationStore, verifier: Verifier
) -> None:
    async with network(store, LIAR, *[HONEST] * 6, verifiers=[verifier]) as (small, client):
        liar = peer(small, 0)
        found = await client.run(job())
        convicted = store.find(liar)
        before = small.nodes[0].submissions
        again = await client.run(job())

        assert (found.stdout, again.stdout) == (STDOUT, STDOUT)
        assert liar not in found.verdict.signers
        assert [item.node for item in found.rejected] == [liar]
        assert convicted.is_convicted
        assert (before, small.nodes[0].submissions) == (1, 1)
        assert not any(store.find(peer(small, number)).is_convicted for number in range(1, 7))
        assert convicted.proof is not None
        assert found.rejected[0].file == convicted.proof
        proof = fraud.read_proof(convicted.proof.read_bytes())
        with LocalNode(Config()) as node:
            judged = fraud.convict(proof, NodeLaboratory(node, job().load))
        assert [item.node for item in judged.convictions] == [liar]


@pytest.mark.trio
async def test_reputation_is_used_by_another_client(
    autojump_clock: trio.testing.MockClock, store: ReputationStore
) -> None:
    for _ in range(2):
        async with network(store, LIAR, HONEST, HONEST, verifiers=[AuditVerifier()]) as (small, client):
            await client.run(job())
            asked_liar = small.nodes[0].submissions

    assert asked_liar == 0


@pytest.mark.trio
async def test_the_output_is_the_honest_nodes_if_the_first_of_several_lied(
    autojump_clock: trio.testing.MockClock, store: ReputationStore
) -> None:
    """The liar's output was received first, and no fourth node is there: the second's is received once more."""
    planned = Agree(first=Plan(executions=3, nodes=3))
    async with network(store, LIAR, HONEST, HONEST, verifiers=[planned]) as (small, client):
        found = await client.run(job())

        assert found.stdout == STDOUT
        assert peer(small, 0) not in found.verdict.signers
        assert asked(small) == [1, 1, 1]


@pytest.mark.trio
@pytest.mark.parametrize("most", [1, 2])
async def test_a_job_that_met_too_many_liars_fails_and_shows_none_of_their_results(
    autojump_clock: trio.testing.MockClock,
    store: ReputationStore,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
) -> None:
    """Keys are free to make. The job ended with a dropped node's result as soon as one more was dropped."""
    monkeypatch.setattr(executions, "MAX_DROPPED", most)
    planned = Agree(first=Plan(executions=3, nodes=3))
    async with network(store, LIAR, LIAR, HONEST, HONEST, verifiers=[planned]) as (_, client):
        if most == 2:
            assert (await client.run(job())).stdout == STDOUT
            return
        with pytest.raises(ReceiptRejectedError, match="too many nodes gave false results"):
            await client.run(job())


@pytest.mark.trio
async def test_one_networks_keys_are_one_where_the_plan_asks_for_several(
    autojump_clock: trio.testing.MockClock, store: ReputationStore
) -> None:
    planned = Agree(first=Plan(executions=2, nodes=2, networks=2))
    groups = ["sybils", "sybils", "sybils", "elsewhere"]
    async with network(store, *[HONEST] * 4, verifiers=[planned], groups=groups) as (small, client):
        await client.run(job())
        assert asked(small) == [1, 0, 0, 1]
    planned = Agree(first=Plan(executions=3, nodes=3, networks=3))
    async with network(store, *[HONEST] * 4, verifiers=[planned], groups=groups) as (_, client):
        with pytest.raises(
            ReceiptUndecidedError, match="the verifiers ask for 3 nodes on 3 networks, and 2 did the job"
        ):
            await client.run(job())


@pytest.mark.trio
async def test_executions_are_asked_for_apart_in_time(
    autojump_clock: trio.testing.MockClock, store: ReputationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def seconds(apart_s: int) -> float:
        planned = Agree(first=Plan(executions=2, nodes=2, apart_s=apart_s))
        async with network(store, HONEST, HONEST, verifiers=[planned]) as (_, client):
            elapsed = Elapsed()
            await client.run(job())
            return elapsed.seconds

    at_once = await seconds(0)
    waits = [await seconds(1000) for _ in range(4)]

    assert max(waits) > at_once + 10  # less once in 10^8 times
    assert max(waits) < 1100
    assert len({round(wait, 6) for wait in waits}) == 4


@pytest.mark.trio
@pytest.mark.parametrize("script", [Script(signer=OTHER, output=STDOUT), Script(forged=lambda _: "{}")])
async def test_a_forged_receipt_counts_against_the_node_that_sent_it_and_nobody_else(
    autojump_clock: trio.testing.MockClock, store: ReputationStore, script: Script
) -> None:
    async with network(store, script, HONEST, verifiers=[AuditVerifier()]) as (small, client):
        await client.run(job())

        histories = store.nodes()
        failed = [item.peer for item in histories if item.failed]
        assert failed == [peer(small, 0)]
        assert not any(item.is_convicted for item in histories)


@pytest.mark.trio
async def test_a_replayed_receipt_of_an_honest_node_does_not_count_against_it(
    autojump_clock: trio.testing.MockClock, store: ReputationStore
) -> None:
    """The receipt is another node's, of the same job with a false output: the node that sends it did not sign it."""
    async with network(store, HONEST, HONEST, verifiers=[ReexecuteVerifier()]) as (small, client):
        thief, victim = small.nodes
        thief.script = Script(output=STDOUT, forged=lambda _: victim.envelope(job().manifest))
        await client.run(job())

        assert store.find(victim.signer.peer_id).failed == 0
        assert not any(item.is_convicted for item in store.nodes())


@pytest.mark.trio
async def test_well_known_nodes_come_first_and_new_ones_get_their_share(
    autojump_clock: trio.testing.MockClock, store: ReputationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = 1.0
    monkeypatch.setattr(RANDOM, "random", lambda: drawn)
    async with network(store, *[HONEST] * 4, verifiers=[]) as (small, client):
        store.learn([Lesson(peer=peer(small, 3), checked=50)])
        bad = [Lesson(peer=peer(small, 0), failed=1)]
        store.learn(bad)
        first = await client.run(job())
        drawn = 0.0
        chosen = {(await client.run(job())).receipt.node for _ in range(12)}

    assert first.receipt.node == peer(small, 3)
    assert chosen <= {peer(small, 1), peer(small, 2)}


@pytest.mark.trio
async def test_without_any_history_the_nearest_node_gets_the_job(
    autojump_clock: trio.testing.MockClock, store: ReputationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RANDOM, "random", lambda: 0.0)
    async with network(store, *[HONEST] * 3, verifiers=[]) as (small, client):
        found = await client.run(job())

        assert found.receipt.node == peer(small, 0)


@pytest.mark.trio
@pytest.mark.parametrize(("checked", "gets"), [(0, 1), (1, 1), (NEW_CHECKS - 1, 1), (NEW_CHECKS + 1, 0)])
async def test_a_node_has_a_share_until_it_is_known(
    autojump_clock: trio.testing.MockClock,
    store: ReputationStore,
    monkeypatch: pytest.MonkeyPatch,
    checked: int,
    gets: int,
) -> None:
    """One confirmed result is no history: a node that got no second job would stay behind the others for ever."""
    monkeypatch.setattr(RANDOM, "random", lambda: 0.0)
    async with network(store, *[HONEST] * 2, verifiers=[]) as (small, client):
        store.learn([Lesson(peer=peer(small, 0), checked=50), Lesson(peer=peer(small, 1), checked=checked)])
        chosen = {(await client.run(job())).receipt.node for _ in range(3)}

    assert chosen == {peer(small, gets)}


@pytest.mark.trio
async def test_a_new_key_in_a_convicted_nodes_network_has_no_share_and_little_credit(
    autojump_clock: trio.testing.MockClock, store: ReputationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same node under a new key."""
    monkeypatch.setattr(RANDOM, "random", lambda: 0.0)
    groups = ["bad", "bad", "good", "fresh"]
    async with network(store, *[HONEST] * 4, verifiers=[], groups=groups) as (small, client):
        store.convict(peer(small, 0), Path("/proofs/one.json"), network="bad")
        store.learn([Lesson(peer=peer(small, 2), checked=50)])
        chosen = {(await client.run(job())).receipt.node for _ in range(6)}

    assert chosen == {peer(small, 3), peer(small, 2)} or chosen == {peer(small, 3)}
    assert asked(small)[:2] == [0, 0]


@pytest.mark.trio
async def test_unchecked_results_of_a_node_become_doubtful_when_it_is_convicted(
    autojump_clock: trio.testing.MockClock, store: ReputationStore
) -> None:
    async with network(store, LIAR, verifiers=[AuditVerifier(rate=0.0)]) as (small, client):
        believed = await client.run(job())
        store.convict(peer(small, 0), Path("/proofs/one.json"))
        (doubtful,) = store.doubtful()

    assert believed.stdout == LIAR.output
    assert (doubtful.job_id, doubtful.state) == (believed.handle.job_id, "unchecked")


@pytest.mark.trio
async def test_a_client_without_an_engine_gets_results_though_the_nearest_nodes_lie_alike(
    autojump_clock: trio.testing.MockClock, store: ReputationStore
) -> None:
    """Nodes that differ are no reason to give up: others are asked until one answer is likely enough."""
    verifier = CredibleVerifier(gas_here=0)
    scripts = [LIAR, LIAR, *[HONEST] * 9]
    async with network(store, *scripts, verifiers=[verifier], config=NO_ENGINE) as (small, client):
        assert isinstance(client.dialler, RemoteDialler)
        await client.dialler.search.candidates(enough=len(scripts))
        first = await client.run(job())
        before = asked(small)
        second = await client.run(job())

        assert (first.stdout, second.stdout) == (STDOUT, STDOUT)
        assert sum(before) == 10, "eight that agree against two"
        assert asked(small)[:2] == before[:2] == [1, 1]
        assert sum(asked(small)) - sum(before) < sum(before)
        assert [store.find(peer(small, number)).failed for number in (0, 1)] == [1, 1]
        assert not any(history.is_convicted for history in store.nodes())


@pytest.mark.trio
async def test_a_difference_between_two_nodes_is_recorded_without_other_nodes_to_ask(
    autojump_clock: trio.testing.MockClock, store: ReputationStore
) -> None:
    """Four against one are not enough for one error in a thousand, but for the next job: no client is stuck for ever."""
    verifier = CredibleVerifier(gas_here=0)
    async with network(store, LIAR, *[HONEST] * 4, verifiers=[verifier], config=NO_ENGINE) as (small, client):
        with pytest.raises(ReceiptUndecidedError, match="the verifiers ask for 6 nodes, and 5 did the job"):
            await client.run(job())
        learnt = [store.find(peer(small, number)) for number in range(5)]
        found = await client.run(job())

        assert [(history.checked, history.failed) for history in learnt] == [(0, 1), *[(1, 0)] * 4]
        assert found.stdout == STDOUT
        assert asked(small) == [1, *[2] * 4]


@pytest.mark.trio
async def test_two_against_two_change_no_reputation(
    autojump_clock: trio.testing.MockClock, store: ReputationStore
) -> None:
    verifier = CredibleVerifier(gas_here=0)
    scripts = [LIAR, LIAR, HONEST, HONEST]
    async with network(store, *scripts, verifiers=[verifier], config=NO_ENGINE) as (_, client):
        with pytest.raises(ReceiptUndecidedError):
            await client.run(job())

        assert not any(history.checked or history.failed for history in store.nodes())
