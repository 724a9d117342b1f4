"""An answer is accepted when it is likely enough: of one known node, of a run here, or of strangers apart."""

from __future__ import annotations

from datetime import datetime, timezone

import attrs
import pytest

from plasm_core.errors import SandboxError
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import Claim, Decision, Observables, Outcome, Plan
from plasm_core.records.history import NodeHistory
from plasm_core.testing.claims import FakeLaboratory, SeedSigner, claim, manifest, receipt
from plasm_core.testing.contract import VerifierContract
from plasm_verifier_credible import CredibleVerifier

NODES = [SeedSigner(bytes([number]) * 32) for number in range(8)]
TRUE = Observables.of(receipt())
KNOWN = 100.0
NO_DRAW = CredibleVerifier(rate=0.0)
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


class TestCredible(VerifierContract):
    @classmethod
    def verifier(cls) -> Verifier:
        return CredibleVerifier()


def said(
    node: int,
    *,
    trust: float = 0.0,
    gas_used: int = TRUE.gas_used,
    network: str | None = None,
    convicted: bool = False,
    laboratory: FakeLaboratory | None = None,
) -> Claim:
    """Return the claim of a node, by its number, with its history."""
    signer = NODES[node]
    history = NodeHistory(
        peer=signer.peer_id, trust=trust, network=network, convicted_at=NOW if convicted else None
    )
    made = claim(receipt(node=signer.peer_id, gas_used=gas_used), signer=signer)
    return attrs.evolve(made, history=history, laboratory=laboratory)


def peer(node: int):  # type: ignore[no-untyped-def]
    return NODES[node].peer_id


def test_a_node_that_is_known_well_is_enough() -> None:
    opinion = NO_DRAW.judge([said(0, trust=KNOWN)])

    assert opinion.decision is Decision.ACCEPT
    assert opinion.established == ("credible",)
    assert opinion.reasons == ("credible: 100 results of the node were checked, error ≤ 9.2e-4",)
    assert opinion.checked == ()


def test_a_stranger_is_checked_by_a_run_here() -> None:
    laboratory = FakeLaboratory({"wasmtime": TRUE, "wasm3": TRUE})
    opinion = NO_DRAW.judge([said(0, laboratory=laboratory)])

    assert (opinion.decision, opinion.checked, opinion.error) == (Decision.ACCEPT, (peer(0),), 0.0)
    assert (opinion.reasons, laboratory.runs) == (("re-executed on wasm3",), ["wasm3"])


def test_a_run_here_that_differs_rejects_and_names_the_node() -> None:
    laboratory = FakeLaboratory({"wasm3": attrs.evolve(TRUE, gas_used=1)})
    opinion = NO_DRAW.judge([said(0, laboratory=laboratory)])

    assert (opinion.decision, opinion.false) == (Decision.REJECT, (peer(0),))


@pytest.mark.parametrize(
    "laboratory",
    [None, FakeLaboratory({}), FakeLaboratory({"wasm3": SandboxError("no worker")})],
    ids=["no input", "no engine", "failing"],
)
def test_without_a_local_engine_strangers_are_asked_until_enough_agree(
    laboratory: FakeLaboratory | None,
) -> None:
    claims = [said(node, laboratory=laboratory) for node in range(5)]
    asked = [NO_DRAW.judge(claims[:count]) for count in range(1, 6)]

    assert [opinion.decision for opinion in asked] == [Decision.UNDECIDED] * 4 + [Decision.ACCEPT]
    assert [opinion.more for opinion in asked] == [1, 1, 1, 1, 0]
    assert asked[-1].checked == tuple(sorted(map(peer, range(5)), key=lambda item: item.public_key))


def test_it_does_not_ask_for_more_than_it_may() -> None:
    few = CredibleVerifier(nodes=2)

    assert few.judge([said(0)]).more == 1
    assert few.judge([said(0), said(1)]).more == 0


def test_each_node_that_differs_is_a_reason_to_ask_more() -> None:
    """One against four leaves an error of 2 %: a client that stopped there would never get a result from these nodes."""
    odd = said(0, gas_used=9)
    asked = [NO_DRAW.judge([odd, *(said(node) for node in range(1, count))]) for count in range(2, 9)]

    assert [opinion.more for opinion in asked] == [1] * 6 + [0]
    assert (asked[-1].decision, asked[-1].false) == (Decision.REJECT, (peer(0),))
    few = CredibleVerifier(nodes=2, rate=0.0)
    assert few.judge([odd, *(said(node) for node in range(1, 4))]).more == 0


def test_a_known_node_vouches_for_a_stranger() -> None:
    opinion = NO_DRAW.judge([said(0), said(1, trust=20)])

    assert (opinion.decision, len(opinion.checked)) == (Decision.UNDECIDED, 0)
    opinion = NO_DRAW.judge([said(0), said(1, trust=60)])
    assert (opinion.decision, len(opinion.checked)) == (Decision.ACCEPT, 2)


def test_many_keys_of_one_network_count_once() -> None:
    """Ballot stuffing: keys cost nothing."""
    claims = [said(node, network="one") for node in range(7)]
    verifier = CredibleVerifier(rate=0.0, nodes=8)
    opinion = verifier.judge(claims)

    assert (opinion.decision, opinion.more) == (Decision.UNDECIDED, 1)
    assert opinion.reasons == ("the estimated error is 0.2, more than 1e-3",)
    apart = [said(node, network=f"network {node}") for node in range(5)]
    assert verifier.judge(apart).decision is Decision.ACCEPT


def test_the_odd_one_out_is_rejected_so_that_the_client_does_without_it() -> None:
    claims = [said(0, trust=1000.0), said(1, gas_used=9)]
    opinion = NO_DRAW.judge(claims)

    assert (opinion.decision, opinion.false, opinion.checked) == (Decision.REJECT, (peer(1),), ())
    assert NO_DRAW.judge(claims[:1]).decision is Decision.ACCEPT


def test_two_that_differ_and_are_known_equally_well_need_a_third() -> None:
    opinion = NO_DRAW.judge([said(0, trust=KNOWN), said(1, trust=KNOWN, gas_used=9)])

    assert (opinion.decision, opinion.more) == (Decision.UNDECIDED, 1)


def test_a_convicted_node_is_worth_nothing() -> None:
    assert NO_DRAW.judge([said(0, trust=KNOWN, convicted=True)]).decision is Decision.UNDECIDED
    opinion = NO_DRAW.judge([said(0, trust=KNOWN), said(1, trust=KNOWN, gas_used=9, convicted=True)])
    assert opinion.false == (peer(1),)


def test_a_known_nodes_results_are_checked_now_and_then() -> None:
    always = CredibleVerifier(rate=1.0)
    here = always.judge([said(0, trust=KNOWN, laboratory=FakeLaboratory({"wasm3": TRUE}))])
    lying = always.judge(
        [said(0, trust=KNOWN, laboratory=FakeLaboratory({"wasm3": attrs.evolve(TRUE, gas_used=2)}))]
    )
    later = always.judge([said(0, trust=KNOWN)])

    assert here.checked == (peer(0),)
    assert lying.false == (peer(0),)
    assert (later.decision, later.check_within_s) == (Decision.ACCEPT, 600)


def test_a_job_that_cannot_be_re_executed_stays_undecided() -> None:
    idle = claim(receipt(outcome=Outcome(kind="timed_out")))
    opinion = NO_DRAW.judge([idle])

    assert (opinion.decision, opinion.more) == (Decision.UNDECIDED, 0)


def test_without_a_local_engine_a_job_runs_on_as_many_nodes_as_needed() -> None:
    elsewhere = CredibleVerifier(gas_here=0)
    known = [NodeHistory(peer=peer(0), trust=KNOWN)]
    strangers = [NodeHistory(peer=peer(node)) for node in range(1, 8)]

    assert NO_DRAW.plan_among(manifest(), strangers) == Plan()
    assert elsewhere.plan_among(manifest(), [*strangers, *known]) == Plan()
    assert elsewhere.plan_among(manifest(), strangers) == Plan(executions=5, nodes=5)
    assert elsewhere.plan_among(manifest(), strangers[:2]) == Plan()
    assert elsewhere.plan_among(manifest(), []) == Plan()
