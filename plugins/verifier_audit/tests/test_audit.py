"""An audit cannot be foretold, is surer the less is known of a node, and convicts by a run of the task."""

from __future__ import annotations

import attrs
import pytest

from plasm_core.errors import ConfigError
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import Claim, Decision, Observables, credibility
from plasm_core.records.credibility import check_probability
from plasm_core.records.history import NodeHistory
from plasm_core.testing.claims import OTHER_SIGNER, SIGNER, FakeLaboratory, claim, manifest, receipt
from plasm_core.testing.contract import VerifierContract
from plasm_verifier_audit import AuditVerifier

TRUE = Observables.of(receipt())
NODE = SIGNER.peer_id
NEVER, ALWAYS = AuditVerifier(rate=0.0), AuditVerifier(rate=1.0)


class TestAudit(VerifierContract):
    @classmethod
    def verifier(cls) -> Verifier:
        return AuditVerifier()


def told(
    *, trust: float = 0.0, here: bool = True, gas_used: int = TRUE.gas_used, number: int = 0
) -> tuple[Claim, FakeLaboratory]:
    """Return a claim of one of many jobs, with a laboratory that agrees with it."""
    of = receipt(of=attrs.evolve(manifest(), nonce=f"{number:032x}"), gas_used=gas_used)
    laboratory = FakeLaboratory(dict.fromkeys(("wasmtime", "wasm3"), Observables.of(of)))
    history = NodeHistory(peer=NODE, trust=trust, checked=round(trust), accepted=round(trust) * 2)
    made = attrs.evolve(claim(of), laboratory=laboratory if here else None, history=history)
    return made, laboratory


def test_a_result_that_is_drawn_is_run_again_on_another_engine_before_it_is_accepted() -> None:
    shown, laboratory = told()
    opinion = ALWAYS.judge([shown])

    assert opinion.decision is Decision.ACCEPT
    assert (opinion.established, opinion.checked, opinion.error) == (("audit",), (NODE,), 0.0)
    assert opinion.reasons == ("audited: re-executed on wasm3",)
    assert laboratory.runs == ["wasm3"]


def test_a_false_result_that_is_drawn_is_rejected_and_its_node_named() -> None:
    shown = attrs.evolve(told()[0], laboratory=FakeLaboratory({"wasm3": attrs.evolve(TRUE, gas_used=7)}))
    opinion = ALWAYS.judge([shown])

    assert (opinion.decision, opinion.false) == (Decision.REJECT, (NODE,))
    assert opinion.reasons == ("audited: re-executed on wasm3: gas used is 7, not 5650",)


def test_a_result_that_is_not_drawn_is_accepted_at_once_and_says_how_sure_it_is() -> None:
    shown, laboratory = told(trust=23)
    opinion = NEVER.judge([shown])

    assert opinion.decision is Decision.ACCEPT
    assert (opinion.checked, opinion.check_within_s, laboratory.runs) == ((), 0, [])
    assert opinion.reasons == ("audited 23 of 47, error ≤ 4e-3",)
    assert opinion.error == pytest.approx(0.004, rel=0.01)


@pytest.mark.parametrize(
    "shown", [told(here=False)[0], told(gas_used=2 * 10**10)[0]], ids=["no input", "much gas"]
)
def test_a_job_that_cannot_run_here_is_checked_by_another_node_later(shown: Claim) -> None:
    opinion = ALWAYS.judge([shown])

    assert opinion.decision is Decision.ACCEPT
    assert (opinion.check_within_s, opinion.checked) == (600, ())
    assert opinion.reasons[-1].endswith("to be audited by another node within 600 s")


def test_a_machine_without_an_engine_for_it_has_another_node_check_it() -> None:
    shown = attrs.evolve(told()[0], laboratory=FakeLaboratory({}))
    opinion = ALWAYS.judge([shown])

    assert (opinion.decision, opinion.check_within_s) == (Decision.ACCEPT, 600)


def test_the_first_result_of_a_node_is_always_checked_and_later_ones_at_the_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(credibility, "_SECRET", bytes(32))  # a draw that each run of the test repeats

    def share(trust: float, rate: float) -> float:
        verifier, drawn = AuditVerifier(rate=rate), 0
        for number in range(2000):
            drawn += bool(verifier.judge([told(trust=trust, number=number)[0]]).checked)
        return drawn / 2000

    assert share(0, 0.05) == 1
    assert 0.2 < share(4, 0.05) < 0.3  # 0.24
    assert 0.03 < share(1e6, 0.05) < 0.08
    assert share(1e6, 0.0) == 0


def test_the_probability_rises_with_newness_worth_and_sameness() -> None:
    known = NodeHistory(peer=NODE, trust=99)

    def probability(history: NodeHistory = known, gas_used: int = 0) -> float:
        return check_probability(history, rate=0.05, gas_used=gas_used)

    assert probability() == pytest.approx(0.05 * 1.19)
    assert probability(attrs.evolve(known, trust=9)) > probability()
    assert probability(gas_used=10**10) == pytest.approx(2 * probability())
    assert probability(attrs.evolve(known, network="n", network_nodes=5)) == pytest.approx(2 * probability())


def test_one_false_claim_of_several_is_found_by_the_run_for_another() -> None:
    honest = told()[0]
    other = claim(receipt(node=OTHER_SIGNER.peer_id, gas_used=9), signer=OTHER_SIGNER)
    opinion = ALWAYS.judge([honest, attrs.evolve(other, laboratory=honest.laboratory)])

    assert (opinion.decision, opinion.false) == (Decision.REJECT, (OTHER_SIGNER.peer_id,))


@pytest.mark.parametrize("table", [{"rate": 1.5}, {"rate": -0.1}, {"rate": "often"}, {"liars": 1.0}])
def test_a_share_is_a_number_from_0_to_1(table: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"^verifier\.audit\.(rate|liars): expected a number from "):
        loading.create(Verifier, "audit", table)  # type: ignore[type-abstract]


def test_an_integer_is_a_number_too() -> None:
    assert loading.create(Verifier, "audit", {"rate": 1}) == ALWAYS  # type: ignore[type-abstract]
