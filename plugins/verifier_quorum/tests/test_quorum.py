"""Hold quorum to its contract: who is counted, what is compared, and who is found to be wrong."""

from __future__ import annotations

import attrs
import pytest

from plasm_core.errors import ConfigError
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import Claim, Decision, Outcome, Plan
from plasm_core.records.history import NodeHistory
from plasm_core.testing.claims import SeedSigner, claim, manifest, receipt
from plasm_core.testing.contract import VerifierContract
from plasm_verifier_quorum import QuorumVerifier

NODES = [SeedSigner(bytes([number]) * 32) for number in range(5)]
TIMED_OUT = Outcome(kind="timed_out")


class TestQuorum(VerifierContract):
    @classmethod
    def verifier(cls) -> Verifier:
        return QuorumVerifier()


def said(node: int, gas_used: int = 5, outcome: Outcome | None = None) -> Claim:
    """Return the claim of a node, by its number."""
    outcome = outcome or Outcome(kind="exited", code=0)
    of = receipt(node=NODES[node].peer_id, gas_used=gas_used, outcome=outcome)
    return claim(of, signer=NODES[node])


def test_it_plans_for_as_many_nodes_as_it_is_told() -> None:
    """The nodes are on as many networks, and are asked separately, unless keys are configured to be enough."""
    assert QuorumVerifier().plan(manifest()) == Plan(
        executions=3, nodes=3, networks=3, apart_s=2, at_random=True
    )
    lenient = QuorumVerifier(nodes=5, agree=4, networks=False, apart_s=0)
    assert lenient.plan(manifest()) == Plan(executions=5, nodes=5, at_random=True)


@pytest.mark.parametrize(
    ("claims", "decision"),
    [
        ([said(0), said(1), said(2)], Decision.ACCEPT),
        ([said(0), said(1)], Decision.ACCEPT),
        ([said(0), said(1), said(2, outcome=TIMED_OUT)], Decision.ACCEPT),
        ([said(0), said(1), said(2, gas_used=6)], Decision.REJECT),
        ([said(0), said(1), said(1, gas_used=6)], Decision.REJECT),
        ([said(0), said(1), said(2), said(3, gas_used=6)], Decision.REJECT),
        ([said(0)], Decision.UNDECIDED),
        ([said(0), said(0), said(0)], Decision.UNDECIDED),
        ([said(0), said(1, gas_used=6), said(2, gas_used=7)], Decision.UNDECIDED),
        ([said(node, outcome=TIMED_OUT) for node in range(3)], Decision.UNDECIDED),
        ([], Decision.UNDECIDED),
    ],
)
def test_enough_distinct_nodes_must_say_the_same(claims: list[Claim], decision: Decision) -> None:
    assert QuorumVerifier().judge(claims).decision is decision


def test_a_job_that_nobody_can_repeat_has_no_quorum() -> None:
    """That two clocks agree is chance."""
    of = manifest(capabilities=("clock.real",))
    claims = [claim(receipt(of=of, node=NODES[node].peer_id), signer=NODES[node]) for node in range(3)]

    assert QuorumVerifier().judge(claims).decision is Decision.UNDECIDED


def test_it_says_how_many_agree_and_who_does_not() -> None:
    assert QuorumVerifier().judge([said(0), said(1)]).reasons == ("agreed on by 2 nodes",)
    assert QuorumVerifier(nodes=4, agree=3).judge([said(0), said(1)]).reasons == (
        "3 nodes must agree, and 2 did",
    )
    assert QuorumVerifier().judge([said(0), said(1), said(2, gas_used=6)]).reasons == (
        f"{NODES[2].peer_id} differs from 2 nodes that agree: gas used is 6, not 5",
    )


@pytest.mark.parametrize(("nodes", "agree"), [(4, 2), (3, 4), (2, 1), (1, 1), (65, 40)])
def test_two_answers_can_never_both_have_a_quorum(nodes: int, agree: int) -> None:
    with pytest.raises(ConfigError, match=r"^verifier\.quorum"):
        loading.create(Verifier, "quorum", {"nodes": nodes, "agree": agree})  # type: ignore[type-abstract]


def at(node: int, network: str | None, gas_used: int = 5) -> Claim:
    """Return the claim of a node on a network."""
    history = NodeHistory(peer=NODES[node].peer_id, network=network)
    return attrs.evolve(said(node, gas_used), history=history)


def test_one_answer_copied_within_a_network_counts_once() -> None:
    """Keys cost nothing: three of one prefix that copy a lie are no quorum, and no majority over two honest nodes."""
    copied = [at(0, "a", 6), at(1, "a", 6), at(2, "a", 6)]
    honest = [at(3, "b"), at(4, "c")]

    opinion = QuorumVerifier().judge(copied)
    assert (opinion.decision, opinion.more) == (Decision.UNDECIDED, 1)
    assert opinion.reasons == ("2 networks must agree, and 1 did",)
    opinion = QuorumVerifier().judge([*copied, *honest])
    assert opinion.decision is Decision.REJECT
    assert set(opinion.false) == {claim.receipt.node for claim in copied}
    assert QuorumVerifier(networks=False).judge(copied).decision is Decision.ACCEPT


def test_nodes_whose_network_is_not_known_count_each_for_itself() -> None:
    """As of receipts that are verified from files."""
    opinion = QuorumVerifier().judge([at(0, None), at(1, None)])

    assert opinion.decision is Decision.ACCEPT
    assert opinion.reasons == ("agreed on by 2 nodes",)


def test_an_acceptance_says_on_how_many_networks_and_confirms_the_nodes() -> None:
    opinion = QuorumVerifier().judge([at(0, "a"), at(1, "a"), at(2, "b")])

    assert opinion.reasons == ("agreed on by 3 nodes on 2 networks",)
    assert set(opinion.checked) == {node.peer_id for node in NODES[:3]}


def test_a_rejection_names_the_nodes_that_differ_and_none_else() -> None:
    opinion = QuorumVerifier().judge([at(0, "a"), at(1, "b"), at(2, "c", 6)])

    assert opinion.false == (NODES[2].peer_id,)


def test_more_nodes_are_asked_for_while_they_can_decide_it() -> None:
    assert QuorumVerifier().judge([said(0), said(1, 6), said(2, 7)]).more == 1
    assert QuorumVerifier(nodes=5, agree=4).judge([said(0), said(1, 6), said(2, 7)]).more == 3
    assert QuorumVerifier().judge([said(node, outcome=TIMED_OUT) for node in range(3)]).more == 0
