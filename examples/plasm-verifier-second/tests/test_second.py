import attrs
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


def test_a_node_that_is_known_well_does_not():
    known = claim()
    known = attrs.evolve(known, history=NodeHistory(peer=known.receipt.node, trust=10))
    assert Second().judge([known]).decision is Decision.ACCEPT
