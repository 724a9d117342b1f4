"""Verify receipts that are right, wrong, forged and beside the point."""

import re
from typing import Any

import attrs
import pytest

from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import (
    Decision,
    Opinion,
    PeerId,
    Signature,
    list_digest,
    sha256,
)
from plasm_core.records.output import OutputDigest, OutputStream
from plasm_core.testing.verifier_contract import VerifierContract
from plasm_core.verification import Expectation, verify
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
    SIGNER,
    STDOUT,
    countersigned,
    encoded,
    envelope,
    outputs_of,
    receipt,
)


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
    assert re.fullmatch(re.escape(expected) + r" \(.*judged\.py:[0-9]+\)", reason)


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
