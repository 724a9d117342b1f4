"""Several answers to one task, and several verifiers with their plans, make one verdict."""

from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from plasm_core.errors import PluginBrokenError
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import (
    Claim,
    Manifest,
    Opinion,
    Plan,
    Verdict,
)
from plasm_core.records.history import NodeHistory
from plasm_core.testing.claims import FakeLaboratory
from plasm_core.verification import Answer, Expectation, judge_all, plan, settle, verify_all
from plasm_signer_ed25519.verifier import SignatureVerifier
from tests.support.judged import (
    ACCEPT,
    MANIFEST,
    ME,
    OTHER,
    REJECT,
    SIGNED,
    TRUST,
    UNDECIDED,
    WHOLE,
    Says,
    judged,
)
from tests.support.receipts import (
    OTHER_SIGNER,
    envelope,
    manifest,
    outputs_of,
    receipt,
)


@attrs.frozen
class Sees(Verifier):
    """Accepts, and keeps what it was shown."""

    name = "sees"

    shown: list[tuple[Claim, ...]] = attrs.field(factory=list)

    def judge(self, claims: Sequence[Claim]) -> Opinion:
        self.shown.append(tuple(claims))
        return Opinion(verifier=self.name, decision=ACCEPT, established=("sight",))


THEIRS = envelope(receipt(of=MANIFEST, node=OTHER, stderr=b"err"), signer=OTHER_SIGNER)


MINE = Answer(envelope_json=SIGNED.to_json(), expectation=WHOLE)


ANSWERS = (
    MINE,
    Answer(
        envelope_json=THEIRS.to_json(),
        expectation=attrs.evolve(WHOLE, trusted=frozenset(), peer=OTHER, stdin=None),
    ),
)


def test_every_verifier_is_shown_all_answers_at_once() -> None:
    sees, laboratory = Sees(), FakeLaboratory({})
    receipts, verdict = verify_all(ANSWERS, [SignatureVerifier(), sees], laboratory=laboratory)

    assert verdict.decision is ACCEPT
    assert verdict.signers == (ME, OTHER)
    ((first, second),) = sees.shown
    assert (first.receipt, second.receipt) == receipts
    assert first.trusted == frozenset({ME})
    assert second.trusted == frozenset({OTHER})
    assert first.laboratory is second.laboratory is laboratory


def test_only_facts_compared_for_all_answers_are_established() -> None:
    found = verify_all(ANSWERS, [SignatureVerifier()])[1].established

    assert "stdout" in found
    assert "stdin" not in found


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"outputs": outputs_of(b"x")}, "receipt 2 of 2: stdout is not what the receipt says"),
        ({"peer": ME}, "receipt 2 of 2: the peer that answered is not"),
        ({"manifest_json": b"{}"}, "receipt 2 of 2: not a valid manifest"),
    ],
)
def test_one_answer_that_is_not_what_was_expected_rejects_all(change: dict[str, Any], reason: str) -> None:
    wrong = attrs.evolve(ANSWERS[1], expectation=attrs.evolve(ANSWERS[1].expectation, **change))
    verdict = verify_all([ANSWERS[0], wrong], [SignatureVerifier()])[1]

    assert verdict.decision is REJECT
    assert verdict.reasons[0].startswith(reason)


def test_one_answer_that_is_no_receipt_rejects_all_and_is_shown_to_nobody() -> None:
    sees = Sees()
    nothing = Answer(envelope_json=b"{}", expectation=TRUST)
    receipts, verdict = verify_all([MINE, nothing], [sees])

    assert verdict.decision is REJECT
    assert receipts[0] is not None
    assert receipts[1] is None
    assert not sees.shown


def test_answers_to_different_tasks_are_rejected_and_shown_to_nobody() -> None:
    """A verifier may take them for answers to one question."""
    sees = Sees()
    other = envelope(receipt(of=manifest(seed="11" * 32)))
    answers = [Answer(envelope_json=item.to_json(), expectation=TRUST) for item in (SIGNED, other)]
    verdict = verify_all(answers, [sees])[1]

    assert verdict.decision is REJECT
    assert verdict.reasons == ("the receipts are not all of one task",)
    assert not sees.shown


def test_one_signature_of_several_that_is_not_trusted_is_not_acceptance() -> None:
    stranger = attrs.evolve(ANSWERS[1], expectation=Expectation())

    assert verify_all([MINE, stranger], [SignatureVerifier()])[1].decision is UNDECIDED


def test_no_answer_at_all_is_not_acceptance() -> None:
    receipts, verdict = verify_all(
        [], [Says(Opinion(verifier="s", decision=ACCEPT, established=("signature",)))]
    )

    assert receipts == ()
    assert verdict.decision is UNDECIDED
    assert verdict.reasons == ("there is no receipt",)


@attrs.frozen
class Plans(Sees):
    """Plans what it is told to."""

    name = "plans"

    answer: Any = None

    def plan(self, manifest: Manifest) -> Plan:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


def test_the_plan_of_several_verifiers_satisfies_each() -> None:
    assert plan([], MANIFEST) == plan([Sees()], MANIFEST) == Plan(executions=1, nodes=1, runtimes=1)
    found = plan(
        [Sees(), Plans(answer=Plan(executions=3, nodes=2)), Plans(answer=Plan(executions=2, runtimes=2))],
        MANIFEST,
    )

    assert found == Plan(executions=3, nodes=2, runtimes=2)


@pytest.mark.parametrize("answer", [None, 3, ValueError("why")])
def test_a_verifier_that_cannot_plan_is_named_before_anything_is_sent(answer: Any) -> None:
    with pytest.raises(
        PluginBrokenError,
        match=r"^the verifier plans (gave no plan: plan\(\) returned |cannot plan: ValueError: why \()",
    ):
        plan([Sees(), Plans(answer=answer)], MANIFEST)


@pytest.mark.parametrize(
    "fields", [{"executions": 0}, {"nodes": 2}, {"executions": 2, "runtimes": 3}, {"executions": 65}]
)
def test_a_plan_that_cannot_be_is_no_plan(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"execution|expected"):
        Plan(**fields)


@attrs.frozen
class Remembers(Sees):
    """Plans by what was learnt of the candidates, and asks for more until there are as many claims as it wants."""

    name = "remembers"

    wants: int = 2
    reported: list[Verdict] = attrs.field(factory=list)

    def plan_among(self, manifest: Manifest, candidates: Sequence[NodeHistory]) -> Plan:
        known = any(history.trust >= 1 for history in candidates)
        return Plan() if known else Plan(executions=2, nodes=2, networks=2, apart_s=5)

    def judge(self, claims: Sequence[Claim]) -> Opinion:
        if len(claims) < self.wants:
            return self.undecided("too few", more=self.wants - len(claims))
        return self.accept("memory", checked=[ME, OTHER], error=0.01)

    def settled(self, claims: Sequence[Claim], verdict: Verdict) -> None:
        self.reported.append(verdict)
        raise ValueError("no memory")


def test_a_plan_may_depend_on_what_was_learnt_of_the_candidates() -> None:
    unknown, known = NodeHistory(peer=ME), NodeHistory(peer=OTHER, trust=3)

    assert plan([Remembers()], MANIFEST, [unknown]) == Plan(executions=2, nodes=2, networks=2, apart_s=5)
    assert plan([Remembers()], MANIFEST, [unknown, known]) == Plan()
    assert plan([Plans(answer=Plan(executions=3))], MANIFEST, [known]) == Plan(executions=3)
    assert Plan(executions=2, networks=2) | Plan(apart_s=7) == Plan(executions=2, networks=2, apart_s=7)
    assert Plan(at_random=True) | Plan(executions=2) == Plan(executions=2, at_random=True)


def test_more_is_asked_for_only_if_every_undecided_verifier_could_use_it() -> None:
    asks = judged(verifiers=[SignatureVerifier(), Remembers(wants=4)])
    stuck = judged(verifiers=[SignatureVerifier(), Remembers(wants=4), Says(answer=UNDECIDED)])
    rejected = judged(verifiers=[SignatureVerifier(), Remembers(wants=4), Says(answer=REJECT)])
    greedy = judged(verifiers=[SignatureVerifier(), Remembers(wants=10**9)])

    assert (asks.decision, asks.more) == (UNDECIDED, 3)
    assert (stuck.more, rejected.decision, rejected.more) == (0, REJECT, 0)
    assert greedy.more == 63


def test_an_opinion_counts_for_and_against_no_node_that_it_was_not_asked_about() -> None:
    accepted = judged(verifiers=[SignatureVerifier(), Remembers(wants=1)])
    accused = Opinion(verifier="says", decision=REJECT, reasons=("no",), false=(OTHER, ME), checked=(ME,))
    rejected = judged(verifiers=[Remembers(wants=1), Says(answer=accused)])

    assert (accepted.checked, accepted.error) == ((ME,), 0.01)
    assert (rejected.false, rejected.checked, rejected.error) == ((ME,), (), None)


def test_a_rejection_that_names_nobody_lets_nobody_off() -> None:
    """Without the accused nodes the others could be accepted; but who else is meant is not known."""
    accused = Opinion(verifier="says", decision=REJECT, reasons=("no",), false=(ME,))
    verdict = judged(verifiers=[Says(answer=accused), Says(answer=REJECT)])

    assert (verdict.decision, verdict.false) == (REJECT, ())


def test_the_verdict_is_reported_back_and_a_failure_to_take_note_changes_nothing() -> None:
    verifier = Remembers(wants=1)
    answer = Answer(
        envelope_json=SIGNED.to_json(), expectation=WHOLE, history=NodeHistory(peer=ME, checked=3)
    )
    (claim,), verdict = judge_all([answer], [SignatureVerifier(), verifier])
    assert claim is not None
    settle([SignatureVerifier(), verifier], [claim], verdict)

    assert (verdict.decision, claim.history) == (ACCEPT, NodeHistory(peer=ME, checked=3))
    assert verifier.reported == [verdict]
