from plasm_verifier_budget import Budget

from plasm_core.records import Decision
from plasm_core.testing.claims import claim, receipt
from plasm_core.testing.contract import VerifierContract


class TestBudget(VerifierContract):
    @classmethod
    def verifier(cls):
        return Budget()


def test_a_job_within_its_budget_is_accepted():
    assert Budget(gas=10).judge([claim(receipt(gas_used=10))]).decision is Decision.ACCEPT


def test_a_job_beyond_its_budget_is_rejected():
    assert Budget(gas=10).judge([claim(receipt(gas_used=11))]).decision is Decision.REJECT
