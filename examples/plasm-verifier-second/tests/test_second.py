import attrs
import pytest
from plasm_verifier_second import Second

from plasm_core.records import Decision
from plasm_core.records.history import NodeHistory
from plasm_core.testing.claims import OTHER_SIGNER, claim
from plasm_core.testing.contract import VerifierContract


class TestSecond(VerifierContract):
    @classmethod
    def verifier(cls):
        return Second()


def test_a_stranger_needs_a_second_node():
    assert Second().judge([claim()]).more == 1
    opinion = Second().judge([claim(), claim(signer=OTHER_SIGNER)])
    assert (opinion.decision, len(opinion.checked)) == (Decision.ACCEPT, 2)


@pytest.mark.parametrize(
    ("trust", "decision"), [(9, Decision.UNDECIDED), (9.999, Decision.ACCEPT), (10, Decision.ACCEPT)]
)
def test_a_node_is_known_well_by_ten_results(trust, decision):
    """Each counts for a little less than 1 from the next second on."""
    known = claim()
    known = attrs.evolve(known, history=NodeHistory(peer=known.receipt.node, trust=trust))
    assert Second().judge([known]).decision is decision


def test_one_result_is_enough_if_one_is_asked_for():
    known = claim()
    known = attrs.evolve(known, history=NodeHistory(peer=known.receipt.node, trust=0.999))
    assert Second(checks=1).judge([known]).decision is Decision.ACCEPT
    assert Second(checks=1).judge([claim()]).decision is Decision.UNDECIDED
