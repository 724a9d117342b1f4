"""Verify receipts that are right, wrong, forged and beside the point."""

import re
from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from plasm_core.errors import PluginBrokenError
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import (
    Claim,
    Decision,
    Envelope,
    JobInput,
    Manifest,
    Opinion,
    PeerId,
    Plan,
    Signature,
    Verdict,
    list_digest,
    sha256,
)
from plasm_core.records.history import NodeHistory
from plasm_core.records.output import OutputDigest, OutputStream
from plasm_core.testing.claims import FakeLaboratory
from plasm_core.testing.verifier_contract import VerifierContract
from plasm_core.verification import Answer, Expectation, judge_all, plan, settle, verify, verify_all
from plasm_signer_ed25519.verifier import SignatureVerifier
from tests.support.receipts import (
    MODULE,
    OTHER_SIGNER,
    SIGNER,
    STDOUT,
    countersigned,
    encoded,
    envelope,
    manifest,
    outputs_of,
    receipt,
)

ACCEPT, REJECT, UNDECIDED = Decision.ACCEPT, Decision.REJECT, Decision.UNDECIDED
ME, OTHER = SIGNER.peer_id, OTHER_SIGNER.peer_id
INPUTS = JobInput(args=(b"a",), stdin=b"in")
MANIFEST = manifest(inputs=INPUTS, args=sha256(b"x"), stdin=sha256(b"in"))
SIGNED = envelope(receipt(of=MANIFEST, stderr=b"err"))
WHOLE = Expectation(
    trusted=frozenset({ME}),
    peer=ME,
    manifest_json=MANIFEST.to_json(),
    module=sha256(MODULE),
    args=sha256(b"x"),
    env=list_digest(()),
    stdin=sha256(b"in"),
    outputs=outputs_of(stderr=b"err"),
)
TRUST = Expectation(trusted=frozenset({ME}))


@attrs.frozen
class Says(Verifier):
    """Answers what it is told to, whatever it is shown."""

    name = "says"

    answer: Any

    def judge(self, claims: Sequence[Claim]) -> Opinion:
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, Decision):
            return Opinion(verifier=self.name, decision=self.answer, reasons=(f"says {self.answer.value}",))
        return self.answer  # type: ignore[no-any-return]


def judged(
    signed: Envelope | bytes = SIGNED,
    expectation: Expectation = WHOLE,
    verifiers: Sequence[Verifier] = (SignatureVerifier(),),
) -> Verdict:
    data = signed if isinstance(signed, bytes) else signed.to_json()
    return verify(data, expectation, verifiers)[1]


def test_a_receipt_that_is_all_that_was_expected_is_accepted() -> None:
    found, verdict = verify(SIGNED.to_json(), WHOLE, [SignatureVerifier()])

    assert found == receipt(of=MANIFEST, stderr=b"err")
    assert verdict.decision is ACCEPT
    assert verdict.signer == ME
    assert verdict.established == (
        *("peer that answered", "module", "args", "env", "stdin", "stdout", "stderr", "job", "task"),
        "signature",
    )


def test_only_what_was_compared_is_established() -> None:
    assert judged(expectation=TRUST).established == ("signature",)


def test_the_peer_that_was_dialled_is_a_trusted_key() -> None:
    assert judged(expectation=Expectation(peer=ME)).decision is ACCEPT


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"peer": OTHER}, "the peer that answered"),
        ({"module": sha256(b"other")}, "the module"),
        ({"args": list_digest((b"other",))}, "args"),
        ({"env": list_digest((b"A=b",))}, "env"),
        ({"stdin": sha256(b"other")}, "stdin"),
    ],
)
def test_each_binding_rejects_the_claims_of_another_task(change: dict[str, Any], what: str) -> None:
    (expected,) = change.values()

    for expectation in (attrs.evolve(WHOLE, **change), Expectation(trusted=frozenset({ME}), **change)):
        verdict = judged(expectation=expectation)
        assert verdict.decision is REJECT
        (reason,) = verdict.reasons
        assert reason.startswith(
            f"{what} is not what the receipt says: expected {expected}, the receipt says "
        )


@pytest.mark.parametrize(
    ("outputs", "what", "expected"),
    [
        (outputs_of(STDOUT[::-1], b"err"), "stdout", sha256(STDOUT[::-1])),
        (outputs_of(stderr=b"ERR"), "stderr", sha256(b"ERR")),
    ],
)
def test_each_output_is_bound(outputs: dict[OutputStream, OutputDigest], what: str, expected: str) -> None:
    for expectation in (attrs.evolve(WHOLE, outputs=outputs), attrs.evolve(TRUST, outputs=outputs)):
        verdict = judged(expectation=expectation)
        assert verdict.decision is REJECT
        (reason,) = verdict.reasons
        assert reason.startswith(
            f"{what} is not what the receipt says: expected {expected}, the receipt says "
        )


@pytest.mark.parametrize(
    ("change", "whats"),
    [
        ({"nonce": "cd" * 16}, ["the job"]),
        ({"wall_time_s": 1}, ["the job"]),
        ({"seed": "11" * 32}, ["the job", "the task"]),
        ({"args": sha256(b"y")}, ["the job", "the task"]),
        ({"env": sha256(b"y")}, ["the job", "the task"]),
        ({"module": sha256(b"y")}, ["the job", "the task"]),
        ({"capabilities": ("clock.real",)}, ["the job", "the task"]),
    ],
)
def test_the_manifest_that_was_sent_is_the_one_the_receipt_answers(
    change: dict[str, Any], whats: list[str]
) -> None:
    sent = attrs.evolve(MANIFEST, **change).to_json()
    verdict = judged(expectation=attrs.evolve(TRUST, manifest_json=sent))

    assert verdict.decision is REJECT
    assert [reason.partition(" is not")[0] for reason in verdict.reasons] == whats


def test_the_job_is_the_manifests_bytes_not_its_meaning() -> None:
    sent = MANIFEST.to_json() + b" "

    assert judged(expectation=attrs.evolve(TRUST, manifest_json=sent)).decision is REJECT


@pytest.mark.parametrize("sent", [b"{}", b"not JSON", b""])
def test_an_invalid_manifest_is_rejected(sent: bytes) -> None:
    verdict = judged(expectation=attrs.evolve(TRUST, manifest_json=sent))

    assert verdict.decision is REJECT
    assert verdict.reasons[0].startswith("not a valid manifest: ")


def test_every_mismatch_is_named_at_once() -> None:
    wrong = attrs.evolve(WHOLE, outputs=outputs_of(STDOUT[::-1], b"err"), module=sha256(b"x"))

    assert len(judged(expectation=wrong).reasons) == 2


@pytest.mark.parametrize(
    ("answers", "decision"),
    [
        ([ACCEPT], ACCEPT),
        ([ACCEPT, ACCEPT], ACCEPT),
        ([ACCEPT, REJECT], REJECT),
        ([REJECT, ACCEPT], REJECT),
        ([UNDECIDED, REJECT], REJECT),
        ([ACCEPT, UNDECIDED], UNDECIDED),
        ([], UNDECIDED),
        ([RuntimeError("why")], UNDECIDED),
        ([ACCEPT, RuntimeError("why")], UNDECIDED),
        ([RuntimeError("why"), REJECT], REJECT),
        ([None], UNDECIDED),
        ([True], UNDECIDED),
        (["accept"], UNDECIDED),
        ([Opinion(verifier="says", decision="accept")], UNDECIDED),  # type: ignore[arg-type]
    ],
)
def test_one_rejection_rejects_and_an_undecided_opinion_does_not_accept(
    answers: list[Any], decision: Decision
) -> None:
    signed = [SignatureVerifier()] if answers else []

    verdict = judged(expectation=TRUST, verifiers=[*signed, *(Says(answer) for answer in answers)])

    assert verdict.decision is decision


def test_a_verdict_without_verifiers_gives_that_as_its_reason() -> None:
    assert judged(verifiers=[]).reasons == ("no verifier was asked",)


@pytest.mark.parametrize("error", [RuntimeError("why"), NotImplementedError("why"), OSError("why")])
def test_a_verifier_that_fails_is_named_with_its_failure(error: Exception) -> None:
    expected = f"the verifier says failed: {type(error).__name__}: why"

    (reason,) = judged(verifiers=[Says(error)]).reasons
    assert re.fullmatch(re.escape(expected) + r" \(.*test_verification\.py:[0-9]+\)", reason)


def test_what_a_verifier_gives_in_place_of_an_opinion_is_shown() -> None:
    (reason,) = judged(verifiers=[Says(None)]).reasons

    assert reason == "the verifier says gave no opinion: judge() returned None"


def test_the_contract_catches_a_verifier_that_gives_no_opinion() -> None:
    class Silent(VerifierContract):
        @classmethod
        def verifier(cls) -> Verifier:
            return Says(None)

    with pytest.raises(AssertionError):
        Silent().test_it_gives_an_opinion_on_whatever_it_is_shown("honest")


@pytest.mark.parametrize("verifiers", [[], [Says(RuntimeError("why"))], [Says(ACCEPT)]])
def test_a_failed_binding_rejects_even_if_the_verifiers_accept(verifiers: list[Verifier]) -> None:
    wrong = attrs.evolve(WHOLE, outputs=outputs_of(b"x"))

    assert judged(expectation=wrong, verifiers=verifiers).decision is REJECT


def test_a_key_that_is_not_trusted_decides_nothing() -> None:
    for trusted in (frozenset[PeerId](), frozenset({OTHER})):
        verdict = judged(expectation=Expectation(trusted=trusted))
        assert verdict.decision is UNDECIDED
        assert verdict.reasons == (f"signed by {ME}, a key that is not trusted here",)


def test_a_receipt_signed_by_another_than_the_node_it_names_is_rejected() -> None:
    """Even if the signer is trusted."""
    forged = envelope(receipt(node=ME), signer=OTHER_SIGNER)
    verdict = judged(forged, Expectation(trusted=frozenset({ME, OTHER})))

    assert verdict.decision is REJECT
    assert verdict.reasons == (f"no signature of {ME}, the node it names, is valid",)


def test_a_forged_receipt_has_no_signer() -> None:
    forged = envelope(receipt(node=ME), signer=OTHER_SIGNER)

    assert judged(forged, TRUST).signer is None


def test_a_key_id_is_a_hint_and_never_trust() -> None:
    (signature,) = SIGNED.signatures
    for hint in ("", "x", "00" * 32):
        relabelled = attrs.evolve(SIGNED, signatures=(attrs.evolve(signature, key_id=hint),))
        assert judged(relabelled).decision is ACCEPT
    forged = envelope(receipt(of=MANIFEST, stderr=b"err"), signer=OTHER_SIGNER)
    disguised = attrs.evolve(forged.signatures[0], key_id=signature.key_id)
    assert judged(attrs.evolve(forged, signatures=(disguised,))).decision is REJECT


def test_co_signatures_are_allowed_in_any_order() -> None:
    both = countersigned(SIGNED, OTHER_SIGNER)

    assert judged(both).decision is ACCEPT
    assert judged(attrs.evolve(both, signatures=both.signatures[::-1])).decision is ACCEPT


def test_a_bad_signature_does_not_invalidate_a_good_one() -> None:
    junk = tuple(Signature(key_id="", sig=sig) for sig in (b"", b"x", bytes(64), bytes(65)))

    assert judged(attrs.evolve(SIGNED, signatures=(*junk, *SIGNED.signatures))).decision is ACCEPT
    assert judged(attrs.evolve(SIGNED, signatures=junk)).decision is REJECT


@pytest.mark.parametrize(
    "kind", ["application/json", "", "application/vnd.in-toto+json ", "APPLICATION/VND.IN-TOTO+JSON"]
)
def test_another_payload_type_is_rejected(kind: str) -> None:
    """Even if the signature over it is good: what it says means something else."""
    signed = countersigned(attrs.evolve(SIGNED, payload_type=kind), SIGNER)
    verdict = judged(signed, TRUST)

    assert verdict.decision is REJECT
    assert "payloadType: expected application/vnd.in-toto+json" in verdict.reasons[0]


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"null", b"\xff", b"[" * 90_000, encoded(SIGNED.to_json(), payload="e30=")]
)
def test_an_invalid_receipt_is_rejected_without_an_exception(data: bytes) -> None:
    found, verdict = verify(data, TRUST, [Says(ACCEPT)])

    assert found is None
    assert verdict.decision is REJECT
    assert verdict.reasons[0].startswith("not a valid ")


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
