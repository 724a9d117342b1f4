"""Hold quorum to its contract: who is counted, what is compared, and who is found to be wrong."""

from __future__ import annotations

import pytest

from plasm_core import plugins
from plasm_core.abc import Verifier
from plasm_core.errors import ConfigError
from plasm_core.records import Claim, Decision, Outcome, Plan
from plasm_core.testing.claims import SeedSigner, claim, manifest, receipt
from plasm_core.testing.contract import VerifierContract
from plasm_verifier_quorum import QuorumVerifier

NODES = [SeedSigner(bytes([number]) * 32) for number in range(4)]
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
    assert QuorumVerifier().plan(manifest()) == Plan(executions=3, nodes=3)
    assert QuorumVerifier(nodes=5, agree=4).plan(manifest()) == Plan(executions=5, nodes=5)


@pytest.mark.parametrize(
    ("claims", "decision"),
    [
        ([said(0), said(1), said(2)], Decision.ACCEPT),
        ([said(0), said(1)], Decision.ACCEPT),
        ([said(0), said(1), said(2, outcome=TIMED_OUT)], Decision.ACCEPT),
        ([said(0), said(1), said(2, gas_used=6)], Decision.REJECT),
        ([said(0), said(1), said(1, gas_used=6)], Decision.REJECT),
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
        "of 3 nodes that must agree, 2 do",
    )
    assert QuorumVerifier().judge([said(0), said(1), said(2, gas_used=6)]).reasons == (
        f"{NODES[2].peer_id} differs from 2 nodes that agree: gas used is 6, not 5",
    )


@pytest.mark.parametrize(("nodes", "agree"), [(4, 2), (3, 4), (2, 1), (1, 1), (65, 40)])
def test_two_answers_can_never_both_have_a_quorum(nodes: int, agree: int) -> None:
    with pytest.raises(ConfigError, match=r"^verifier\.quorum"):
        plugins.create(Verifier, "quorum", {"nodes": nodes, "agree": agree})  # type: ignore[type-abstract]
